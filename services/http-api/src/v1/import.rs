//! The whole directory in one request: a file of people comes in.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use futures::stream::{self, Stream, StreamExt as _};
use im_directory_file::{BadLine, Encoding, Format, Reading};
use im_proto_rpc::v1::{
    DirectoryRow, ImportItem, ImportOptions, ImportProgress, ImportReport, PersonChange,
    import_item::Item,
};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Streaming;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::caller::Caller;
use crate::extract::{Query, whole};
use crate::metrics::Limited;
use crate::problem::{FieldError, Kind, Problem};
use crate::service::Api;

/// Where files come in: its requests have a time and a size of their own.
pub(crate) const IMPORT: &str = "/api/v1/users:import";

/// Media type of answers that come by lines.
pub(super) const NDJSON: &str = "application/x-ndjson";

/// Bad lines that a refusal names.
const MAX_ERRORS: usize = 100;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(import))
}

/// How a file is meant.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ImportQuery {
    /// Judges the whole file and changes nothing.
    #[serde(default)]
    #[param(required = false)]
    dry_run: bool,
    /// Takes passwords that look like hashes for passwords.
    #[serde(default)]
    #[param(required = false)]
    clear_passwords: bool,
}

/// A line of the answer. The last one has a report, or a problem if the import has failed.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct ImportLine {
    /// Passwords that are hashed so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    hashed: Option<u32>,
    /// Passwords to hash in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    to_hash: Option<u32>,
    /// What happens to people; nothing of those who stay as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<Person>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Report>,
    /// Why it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Somebody whom an import adds or changes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Person {
    line: u32,
    name: String,
    /// They were not there before.
    added: bool,
    /// What is new.
    fields: Vec<Field>,
}

/// A field of somebody.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Field {
    field: String,
    /// Of a password only whether there is one.
    before: String,
    after: String,
}

impl From<PersonChange> for Person {
    fn from(change: PersonChange) -> Self {
        let fields = change.fields.into_iter().map(|field| Field {
            field: field.field,
            before: field.before,
            after: field.after,
        });
        Self {
            line: change.line,
            name: change.name,
            added: change.added,
            fields: fields.collect(),
        }
    }
}

/// What an import has done, or would do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Report {
    /// Everything was stored; otherwise nothing was.
    applied: bool,
    dry_run: bool,
    added: u32,
    updated: u32,
    unchanged: u32,
    departments_added: u32,
    /// Lines that have become wrong while it went on.
    errors: Vec<LineError>,
    /// Errors beyond those.
    errors_left_out: u32,
    /// Names of different people that differ only in case or form, such as `Ned` and `ned`.
    twins: Vec<Vec<String>>,
}

/// A line of the file that cannot be taken.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LineError {
    line: u32,
    message: String,
}

impl From<ImportReport> for Report {
    fn from(report: ImportReport) -> Self {
        let errors = report.errors.into_iter().map(|error| LineError {
            line: error.line,
            message: error.message,
        });
        Self {
            applied: report.applied,
            dry_run: report.dry_run,
            added: report.added,
            updated: report.updated,
            unchanged: report.unchanged,
            departments_added: report.departments_added,
            errors: errors.collect(),
            errors_left_out: report.errors_left_out,
            twins: report.twins.into_iter().map(|twins| twins.names).collect(),
        }
    }
}

/// A file of people, whole.
#[derive(Debug)]
struct File {
    bytes: Bytes,
    format: Format,
    encoding: Option<&'static Encoding>,
    /// Nobody else's file is here while it is held.
    turn: OwnedSemaphorePermit,
}

impl FromRequest<Arc<Api>> for File {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let (format, encoding) = form(&parts.headers)?;
        // A file may be large: one at a time is in memory.
        let turn = Arc::clone(&api.imports).try_acquire_owned();
        let turn =
            turn.map_err(|_| Problem::new(Kind::Conflict, "another import is under way").after(5))?;
        let most = api.config.max_import.as_usize();
        let bytes = whole(&parts.headers, body, most)
            .await
            .inspect_err(|problem| {
                if problem.kind == Kind::BodyTooLarge {
                    api.metrics.limit(Limited::Body);
                }
            })?;
        Ok(Self {
            bytes,
            format,
            encoding,
            turn,
        })
    }
}

/// What `Content-Type` says of a file.
fn form(headers: &HeaderMap) -> Result<(Format, Option<&'static Encoding>), Problem> {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().unwrap_or("").to_ascii_lowercase();
    let wrong = |detail: String| Problem::new(Kind::UnsupportedMediaType, detail);
    let format = match essence.as_str() {
        "text/csv" | "text/tab-separated-values" => Format::Table,
        "application/yaml" | "application/x-yaml" | "text/yaml" => Format::Yaml,
        NDJSON | "application/jsonl" => Format::Ndjson,
        _ => {
            let detail = "Content-Type must be text/csv, application/yaml or application/x-ndjson";
            return Err(wrong(detail.to_owned()));
        }
    };
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.eq_ignore_ascii_case("charset")
            .then(|| value.trim_matches('"').to_owned())
    });
    let encoding = charset.map(|label| im_directory_file::encoding(&label).map_err(wrong));
    Ok((format, encoding.transpose()?))
}

/// Adds and updates people by name, from a file; never removes anybody. All or nothing.
///
/// The file is a table with a heading (separated by commas, semicolons or tabs), a YAML list of mappings, or
/// JSON by lines, with the columns `id`, `name`, `password`, `password_hash`, `nick`, `sex`, `department`,
/// `phone`, `email`, `domain`, `avatar`, `status`, `signature`, or usual words for them; all but `name` may be
/// missing. A file with bad lines is refused, and each is named. The answer comes by lines: how many
/// passwords are hashed, what changes, and at the end the report. Repeating it changes nothing, so that it
/// needs no `Idempotency-Key`, and takes none. One import at a time.
#[utoipa::path(post, path = "/api/v1/users:import", operation_id = "importUsers", tag = "people", params(ImportQuery),
    security(("token" = ["users:write"])),
    request_body(content((String = "text/csv"), (serde_json::Value = "application/yaml"), (String = "application/x-ndjson"))),
    responses((status = 200, description = "It goes on, or is done: one object per line, the last with a report or a problem.", content_type = "application/x-ndjson", body = ImportLine),
        (status = 409, description = "Another import is under way."),
        (status = 415, description = "The file is no table, YAML or JSON by lines by its Content-Type."),
        (status = 422, description = "The file has bad lines: each is named.")))]
async fn import(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<ImportQuery>,
    file: File,
) -> Result<Response, Problem> {
    let File {
        bytes,
        format,
        encoding,
        turn,
    } = file;
    let read = tokio::task::spawn_blocking(move || people(&bytes, format, encoding, query));
    let rows = read.await.map_err(|_| Problem::new(Kind::Internal, ""))??;
    let options = Item::Options(ImportOptions {
        dry_run: query.dry_run,
    });
    let items = std::iter::once(options).chain(rows.into_iter().map(Item::Row));
    let items = items.map(|item| ImportItem { item: Some(item) });
    let wanted = caller.plain_call(stream::iter(items));
    let begun = api.admin.clone().import_directory(wanted).await;
    let mut told = begun
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    let first = judged(&mut told, &caller).await?;
    let lines = lines(first, told, turn);
    let mut answer =
        Body::from_stream(lines.map(Ok::<_, std::convert::Infallible>)).into_response();
    let kind = HeaderValue::from_static(NDJSON);
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(answer)
}

/// Reads a file; its bad lines are a refusal.
fn people(
    bytes: &[u8],
    format: Format,
    encoding: Option<&'static Encoding>,
    query: ImportQuery,
) -> Result<Vec<DirectoryRow>, Problem> {
    let text = im_directory_file::decode(bytes, encoding)
        .map_err(|error| Problem::new(Kind::Invalid, error))?;
    let reading = Reading {
        clear_passwords: query.clear_passwords,
        ..Reading::default()
    };
    im_directory_file::rows(&text.text, format, &reading).map_err(|bad| {
        let lines = bad
            .into_iter()
            .map(|BadLine { line, message }| (line, message));
        bad_lines(lines.collect(), 0)
    })
}

/// The refusal of a file, which names its first bad lines.
fn bad_lines(lines: Vec<(u32, String)>, left_out: u32) -> Problem {
    let all = lines.len() + usize::try_from(left_out).unwrap_or(usize::MAX - lines.len());
    let detail = match lines.first() {
        Some((line, message)) if all == 1 => format!("line {line}: {message}"),
        Some((line, message)) => format!("{all} bad lines; line {line}: {message}"),
        None => String::new(),
    };
    let mut problem = Problem::new(Kind::Invalid, detail);
    let errors = lines.into_iter().take(MAX_ERRORS);
    problem.errors = errors
        .map(|(line, detail)| FieldError {
            field: format!("line {line}"),
            detail,
        })
        .collect();
    problem
}

/// Waits until db-proxy has judged every line: what it says first after that, or why it refuses the file.
async fn judged(
    told: &mut Streaming<ImportProgress>,
    caller: &Caller,
) -> Result<Option<ImportProgress>, Problem> {
    loop {
        let item = told.message().await;
        let Some(item) = item.map_err(|status| caller.refused(&status))? else {
            return Ok(None);
        };
        let is_judging = item.to_hash == 0 && item.changes.is_empty();
        match &item.report {
            Some(report) if !report.errors.is_empty() => {
                let lines = report.errors.iter();
                let lines = lines.map(|error| (error.line, error.message.clone()));
                return Err(bad_lines(lines.collect(), report.errors_left_out));
            }
            None if is_judging => {}
            _ => return Ok(Some(item)),
        }
    }
}

/// The lines of the answer: what was told first, and what follows.
fn lines(
    first: Option<ImportProgress>,
    told: Streaming<ImportProgress>,
    turn: OwnedSemaphorePermit,
) -> impl Stream<Item = Vec<u8>> {
    let first = stream::iter(first.map(Ok));
    let items = first
        .chain(told)
        .chain(stream::once(async { Err(tonic::Status::internal(ENDED)) }));
    let state = (Box::pin(items), turn, false);
    stream::unfold(state, |(mut items, turn, done)| async move {
        if done {
            return None;
        }
        let line = match items.next().await? {
            Ok(item) => line_of(item),
            Err(status) => ImportLine {
                problem: Some(status.message().to_owned()),
                ..ImportLine::default()
            },
        };
        let done = line.report.is_some() || line.problem.is_some();
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        Some((text, (items, turn, done)))
    })
}

const ENDED: &str = "db-proxy ended the import without a report: whether it was done is not known";

fn line_of(item: ImportProgress) -> ImportLine {
    let hashes = item.to_hash > 0;
    ImportLine {
        hashed: hashes.then_some(item.hashed),
        to_hash: hashes.then_some(item.to_hash),
        changes: item.changes.into_iter().map(Person::from).collect(),
        report: item.report.map(Report::from),
        problem: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &str) -> Result<(Format, Option<&'static str>), Kind> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
        let form = form(&headers).map_err(|problem| problem.kind);
        form.map(|(format, encoding)| (format, encoding.map(Encoding::name)))
    }

    #[test]
    fn the_media_type_tells_the_form_and_the_encoding() {
        assert_eq!(of("text/csv"), Ok((Format::Table, None)));
        let gb18030 = Ok((Format::Table, Some("gb18030")));
        assert_eq!(of("Text/CSV; charset=\"gb18030\""), gb18030);
        assert_eq!(of("application/yaml"), Ok((Format::Yaml, None)));
        assert_eq!(of("application/x-ndjson"), Ok((Format::Ndjson, None)));
        assert_eq!(of("application/json"), Err(Kind::UnsupportedMediaType));
        assert_eq!(
            of("text/csv; charset=klingon"),
            Err(Kind::UnsupportedMediaType)
        );
    }

    #[test]
    fn a_refusal_names_the_first_hundred_bad_lines_and_counts_all() {
        let lines = (1..=150).map(|line| (line, "is bad".to_owned()));
        let problem = bad_lines(lines.collect(), 7);
        assert_eq!(problem.errors.len(), MAX_ERRORS);
        assert_eq!(problem.detail, "157 bad lines; line 1: is bad");
        let one = bad_lines(vec![(3, "is bad".to_owned())], 0);
        assert_eq!(one.detail, "line 3: is bad");
    }
}
