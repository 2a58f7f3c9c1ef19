//! Announcements: messages to many people, and the jobs that send them.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use im_proto_rpc::v1::{
    self, AnnouncementRecord, CancelAnnouncementRequest, CreateAnnouncementRequest,
    GetAnnouncementRequest, ListAnnouncementsRequest,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::messages::CIPHER;
use super::words::{moment, some, time};
use super::{Change, Page, made};
use crate::caller::Caller;
use crate::extract::{Content, Path, Query};
use crate::problem::Problem;
use crate::service::Api;

/// Most characters of a notice's type.
const MAX_TYPE: usize = 128;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(cancel))
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JobState {
    /// Others are before it.
    Waiting,
    /// It is worked on.
    Running,
    /// Everybody had their turn.
    Done,
    /// It was cancelled: what was sent by then stays.
    Cancelled,
    /// It can never be done, `failure` says why; what was sent by then stays.
    Failed,
}

impl From<v1::AnnouncementState> for JobState {
    fn from(state: v1::AnnouncementState) -> Self {
        match state {
            v1::AnnouncementState::Waiting => Self::Waiting,
            v1::AnnouncementState::Running => Self::Running,
            v1::AnnouncementState::Done => Self::Done,
            v1::AnnouncementState::Cancelled => Self::Cancelled,
            v1::AnnouncementState::Failed => Self::Failed,
        }
    }
}

/// What is worked on in the background.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Job {
    id: u32,
    /// `announcement`.
    #[schema(example = "announcement")]
    kind: &'static str,
    state: JobState,
    /// For how many people it was when it was made.
    total: u32,
    /// How many have it.
    sent: u32,
    /// To how many it could not be sent.
    refused: u32,
    /// Id of the sender.
    sender: u32,
    /// When it was made (RFC 3339).
    created: String,
    /// When it was done or cancelled, or has failed (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
    /// Who made it.
    made_by: String,
    /// Why it has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

impl From<AnnouncementRecord> for Job {
    fn from(record: AnnouncementRecord) -> Self {
        Self {
            id: record.id,
            kind: "announcement",
            state: record.state().into(),
            total: record.total,
            sent: record.sent,
            refused: record.refused,
            sender: record.sender,
            created: time(record.created),
            ended: moment(record.ended),
            made_by: record.made_by,
            failure: some(record.failure),
        }
    }
}

/// A message to many people: to everybody, to a department or to people, of which one must be given.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAnnouncement {
    /// Login name of the sender: a person, or an account without a password, with which nobody logs in.
    #[schema(min_length = 1)]
    from: String,
    /// The text, unless it is a notice.
    #[schema(min_length = 1)]
    text: Option<String>,
    /// Instead of a text: something for the programs that people use.
    notice: Option<Notice>,
    /// To everybody.
    #[serde(default)]
    #[schema(required = false)]
    everybody: bool,
    /// To whoever is in this department, or in one below it; by its path.
    #[schema(example = "Company/Research")]
    department: Option<String>,
    /// To these people, by login name; `db_proxy.administration.announcement_people` at most.
    #[serde(default)]
    #[schema(required = false)]
    users: Vec<String>,
}

/// Something that happened elsewhere. Its message has the text `{"type": …, "content": …}`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Notice {
    /// What has happened, in a word of the caller's: 1 to 128 characters, not all of them blank.
    #[serde(rename = "type")]
    #[schema(min_length = 1, max_length = 128, pattern = r"\S", example = "comment")]
    kind: String,
    /// Any JSON.
    content: Value,
}

/// The text of the message.
fn text(text: Option<String>, notice: Option<Notice>) -> Result<String, Problem> {
    match (text, notice) {
        (Some(text), None) if text.is_empty() => Err(Problem::field("text", "must not be empty")),
        (Some(text), None) => Ok(text),
        (None, Some(notice)) => {
            let characters = notice.kind.chars().count();
            if notice.kind.trim().is_empty() || characters > MAX_TYPE {
                let bounds = format!("must be 1 to {MAX_TYPE} characters, not all of them blank");
                return Err(Problem::field("notice.type", bounds));
            }
            serde_json::to_string(&notice)
                .map_err(|error| Problem::field("notice.content", error.to_string()))
        }
        (Some(_), Some(_)) => Err(Problem::field("notice", "must not be given beside text")),
        (None, None) => Err(Problem::field("text", "must be given, or notice")),
    }
}

/// Sends a message to many people, in the background: each of them finds it once in the conversation with the
/// sender, unread until they read it, whoever is away too. Left out are the sender and people who are not
/// active. The answer is the job that sends it.
#[utoipa::path(post, path = "/api/v1/announcements", operation_id = "createAnnouncement", tag = "messages", params(Change),
    security(("token" = ["messages:write"])), request_body = NewAnnouncement,
    responses((status = 201, description = "The job that sends it.", body = Job), (status = 200, description = "A dry run: it could be sent, to so many.", body = Job), (status = 404, description = "")))]
async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(change): Query<Change>,
    Content(new): Content<NewAnnouncement>,
) -> Result<Response, Problem> {
    let text = text(new.text, new.notice)?;
    let body = CIPHER.encrypt(text.as_bytes());
    let body = body.map_err(|error| Problem::field("text", error.to_string()))?;
    let wanted = caller.call(CreateAnnouncementRequest {
        sender: new.from,
        everybody: new.everybody,
        department: new.department.unwrap_or_default(),
        people: new.users,
        body: body.into(),
        dry_run: change.dry_run,
    });
    let created = api.announcements.clone().create_announcement(wanted).await;
    let created = created.map_err(|status| caller.refused(&status))?;
    Ok(made(created, change.dry_run, Job::from))
}

/// Lists jobs, the newest first: those that are open, and the newest of those that have ended
/// (`db_proxy.administration.ended_announcements`).
#[utoipa::path(get, path = "/api/v1/jobs", operation_id = "listJobs", tag = "messages",
    security(("token" = ["messages:read"])),
    responses((status = 200, description = "All jobs.", body = Page<Job>)))]
async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Result<Json<Page<Job>>, Problem> {
    let wanted = caller.call(ListAnnouncementsRequest {});
    let found = api.announcements.clone().list_announcements(wanted).await;
    let found = found
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    let rows = found.announcements;
    Ok(Json(Page::of(rows, String::new(), Job::from)))
}

/// Reads a job.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", operation_id = "getJob", tag = "messages",
    params(("id" = u32, Path, minimum = 1, description = "Its id.")),
    security(("token" = ["messages:read"])),
    responses((status = 200, description = "The job.", body = Job), (status = 404, description = "")))]
async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<NonZeroU32>,
) -> Result<Json<Job>, Problem> {
    let wanted = caller.call(GetAnnouncementRequest { id: id.get() });
    let found = api.announcements.clone().get_announcement(wanted).await;
    let found = found.map_err(|status| caller.refused(&status))?;
    Ok(Json(found.into_inner().into()))
}

/// Cancels a job: it sends to nobody more, but for those few whose turn it is at this moment. What was sent
/// stays.
#[utoipa::path(put, path = "/api/v1/jobs/{id}/cancellation", operation_id = "cancelJob", tag = "messages",
    params(("id" = u32, Path, minimum = 1, description = "Its id."), Change),
    security(("token" = ["messages:write"])),
    responses((status = 200, description = "The job as it is now.", body = Job), (status = 404, description = ""), (status = 409, description = "It has ended.")))]
async fn cancel(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<NonZeroU32>,
    Query(change): Query<Change>,
) -> Result<Json<Job>, Problem> {
    let wanted = caller.call(CancelAnnouncementRequest {
        id: id.get(),
        dry_run: change.dry_run,
    });
    let cancelled = api.announcements.clone().cancel_announcement(wanted).await;
    let cancelled = cancelled.map_err(|status| caller.refused(&status))?;
    Ok(Json(cancelled.into_inner().into()))
}
