//! Incoming hooks: paths at which whoever has them writes to one conversation, without a token.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use im_core::Network;
use im_proto_rpc::v1::{
    CheckIncomingHookRequest, CreateIncomingHookRequest, CreatedIncomingHook, IncomingHookRecord,
    ListIncomingHooksRequest, PostIncomingHookRequest, RemoveIncomingHookRequest,
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::messages::CIPHER;
use super::words::{some, time};
use super::{Change, Page, Part, made, rows};
use crate::caller::{self, Caller, Key, limited, slot};
use crate::db_proxy::{self, Asker};
use crate::extract::{Content, Path, Query, is_json, parse, whole};
use crate::metrics::Limited;
use crate::origin::Origin;
use crate::problem::{Kind, Problem};
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(remove))
}

/// What the path of every hook begins with.
pub(crate) const PREFIX: &str = "/hooks/";

/// The path of a hook.
pub(crate) const ROUTE: &str = "/hooks/{id}/{secret}";

/// An incoming hook, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IncomingHook {
    id: u32,
    /// Id of who its messages are from.
    sender: u32,
    /// Id of the receiver, unless it writes to a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    receiver: Option<u32>,
    /// Id of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<u32>,
    /// What for.
    label: String,
    /// When it was made (RFC 3339).
    created: String,
    /// Who made it.
    made_by: String,
}

impl From<IncomingHookRecord> for IncomingHook {
    fn from(record: IncomingHookRecord) -> Self {
        let id = |id: u32| Some(id).filter(|id| *id != 0);
        Self {
            id: record.id,
            sender: record.sender,
            receiver: id(record.receiver),
            group: id(record.group),
            label: record.label,
            created: time(record.created),
            made_by: record.made_by,
        }
    }
}

/// Lists incoming hooks, the newest first.
#[utoipa::path(get, path = "/api/v1/incoming-hooks", operation_id = "listIncomingHooks", tag = "hooks", params(Part),
    security(("token" = ["hooks:read"])),
    responses((status = 200, description = "A page of hooks.", body = Page<IncomingHook>)))]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(part): Query<Part>,
) -> Result<Json<Page<IncomingHook>>, Problem> {
    let wanted = caller.call(ListIncomingHooksRequest {
        limit: rows(part.limit)?,
        cursor: part.cursor.unwrap_or_default(),
    });
    let found = api.incoming.clone().list_incoming_hooks(wanted).await;
    let found = found
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    Ok(Json(Page::of(found.hooks, found.next, IncomingHook::from)))
}

/// A new incoming hook.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewIncomingHook {
    /// Login name of who its messages are from: a person, or an account without a password, with which nobody
    /// logs in; a member of the group, if it writes to one.
    #[schema(min_length = 1)]
    from: String,
    /// Login name of the receiver, unless it writes to a group.
    to: Option<String>,
    /// Id of the group.
    group: Option<u32>,
    /// What for.
    #[serde(default)]
    #[schema(required = false, max_length = 128)]
    label: String,
}

/// An incoming hook with its path.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeIncomingHook {
    #[serde(flatten)]
    hook: IncomingHook,
    /// Where `{"text": "…"}` is posted. Who has it can write, and nobody is told it again; it is absent in a dry
    /// run and in an answer that is repeated under its idempotency key.
    #[schema(example = "/hooks/7/0123456789abcdefghijklmnopqrstuvwxyzABCDEFG")]
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

impl From<CreatedIncomingHook> for MadeIncomingHook {
    fn from(created: CreatedIncomingHook) -> Self {
        let hook = created.hook.unwrap_or_default();
        let path = some(created.secret).map(|secret| format!("{PREFIX}{}/{secret}", hook.id));
        Self {
            hook: hook.into(),
            path,
        }
    }
}

/// Makes an incoming hook: whoever posts `{"text": "…"}` to its path writes as its sender to its conversation, and
/// to no other.
#[utoipa::path(post, path = "/api/v1/incoming-hooks", operation_id = "createIncomingHook", tag = "hooks", params(Change),
    security(("token" = ["hooks:write", "messages:write"])), request_body = NewIncomingHook,
    responses((status = 201, description = "The hook, with its path.", body = MadeIncomingHook), (status = 200, description = "A dry run: it could be made.", body = MadeIncomingHook), (status = 404, description = "")))]
async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(change): Query<Change>,
    Content(new): Content<NewIncomingHook>,
) -> Result<Response, Problem> {
    let wanted = caller.call(CreateIncomingHookRequest {
        sender: new.from,
        receiver: new.to.unwrap_or_default(),
        group: new.group.unwrap_or(0),
        label: new.label,
        dry_run: change.dry_run,
    });
    let created = api.incoming.clone().create_incoming_hook(wanted).await;
    let created = created.map_err(|status| caller.refused(&status))?;
    Ok(made(created, change.dry_run, MadeIncomingHook::from))
}

/// Removes an incoming hook: its path is none from then on.
#[utoipa::path(delete, path = "/api/v1/incoming-hooks/{id}", operation_id = "removeIncomingHook", tag = "hooks",
    params(("id" = u32, Path, minimum = 1, description = "Its id."), Change),
    security(("token" = ["hooks:write"])),
    responses((status = 200, description = "The hook as it was.", body = IncomingHook), (status = 404, description = "")))]
async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<NonZeroU32>,
    Query(change): Query<Change>,
) -> Result<Json<IncomingHook>, Problem> {
    let wanted = caller.call(RemoveIncomingHookRequest {
        id: id.get(),
        dry_run: change.dry_run,
    });
    let removed = api.incoming.clone().remove_incoming_hook(wanted).await;
    let removed = removed.map_err(|status| caller.refused(&status))?;
    Ok(Json(removed.into_inner().into()))
}

/// What is posted to a hook; other fields are left alone, since senders have their own.
#[derive(Deserialize)]
struct Posted {
    text: String,
}

/// The message that was written.
#[derive(Serialize)]
struct Written {
    /// Its place in the log; digits.
    position: String,
    /// Its number in the conversation.
    id: u32,
}

/// Writes through a hook. The body is read for a good path only, within the rate of its hook.
pub(crate) async fn post(
    State(api): State<Arc<Api>>,
    Path((id, secret)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let limit = api.config.request_timeout.duration();
    let written = timeout(limit, write(&api, &id, secret, request)).await;
    written.unwrap_or_else(|_| {
        api.metrics.limit(Limited::Time);
        Err(Problem::new(Kind::Timeout, db_proxy::UNKNOWN))
    })
}

async fn write(api: &Api, id: &str, secret: String, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let Some(origin) = parts.extensions.get::<Origin>() else {
        return Err(Problem::new(Kind::Internal, ""));
    };
    if !origin.secret {
        // It may have been read on its way.
        let detail = "the hook is to be removed if it is in use: its path came over plain HTTP";
        return Err(Problem::new(Kind::TlsRequired, detail));
    }
    let _slot = slot(api, Key::Address(Network::host(origin.address)))?;
    let missing = || Problem::new(Kind::NotFound, "there is no such hook");
    let id: u32 = id.parse().map_err(|_| missing())?;
    let asker = Asker {
        actor: format!("incoming hook {id}"),
        credential: format!("incoming hook {id}"),
        address: origin.address.to_string(),
        request_id: origin.request_id.clone(),
    };
    let check = CheckIncomingHookRequest {
        id,
        secret: secret.clone(),
    };
    let mut hooks = api.incoming.clone();
    let checked = hooks.check_incoming_hook(asker.call(check, None)).await;
    checked.map_err(|status| db_proxy::problem(&status, true))?;
    let taken = api.hook_rate.try_take(id, Instant::now());
    taken.map_err(|wait| {
        api.metrics.limit(Limited::Hook);
        limited("of this hook", wait)
    })?;
    let text = read(api, &parts.headers, body).await?;
    let key = caller::hook_key(&parts.headers)?;
    let body = CIPHER.encrypt(text.as_bytes());
    let body = body.map_err(|error| Problem::field("text", error.to_string()))?;
    let wanted = PostIncomingHookRequest {
        id,
        secret,
        body: body.into(),
    };
    let wanted = asker.call(wanted, key.as_deref());
    let posted = hooks.post_incoming_hook(wanted).await;
    let posted = posted.map_err(|status| db_proxy::problem(&status, false))?;
    let posted = posted.into_inner();
    let written = Written {
        position: posted.position.to_string(),
        id: posted.id,
    };
    Ok((StatusCode::CREATED, Json(written)).into_response())
}

/// The text that was posted.
async fn read(api: &Api, headers: &HeaderMap, body: axum::body::Body) -> Result<String, Problem> {
    if !is_json(headers) {
        let detail = "Content-Type must be application/json";
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    let most = api.config.max_hook_body.as_usize();
    let bytes = whole(headers, body, most).await.inspect_err(|problem| {
        if problem.kind == Kind::BodyTooLarge {
            api.metrics.limit(Limited::Body);
        }
    })?;
    let posted: Posted = parse(&bytes)?;
    if posted.text.is_empty() {
        return Err(Problem::field("text", "must not be empty"));
    }
    Ok(posted.text)
}
