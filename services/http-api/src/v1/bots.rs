//! Bots: accounts that act through this API with a token of their own.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use im_proto_rpc::v1::{
    BotRecord, CreateBotRequest, CreatedBot, CreatedToken, GetBotRequest, ListBotsRequest,
    RemoveBotRequest, ReplaceBotTokenRequest, UpdateBotRequest,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::tokens::seconds_of;
use super::words::{some, time};
use super::{Change, Page, Part, made, rows};
use crate::caller::Caller;
use crate::extract::{Content, Path, Query};
use crate::problem::Problem;
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, remove))
        .routes(routes!(replace_token))
}

/// A bot.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Bot {
    /// Id, as that of a person.
    id: u32,
    /// Login name, with which nobody logs in.
    name: String,
    nick: String,
    /// Path of the department in which clients show it; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    department: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    department_id: Option<u32>,
    /// URL of the picture.
    avatar: String,
    signature: String,
    /// Whether it may act. Its tokens, of which the list of tokens tells, are those whose owner is `bot` and its
    /// name.
    active: bool,
}

impl From<BotRecord> for Bot {
    fn from(record: BotRecord) -> Self {
        Self {
            id: record.id,
            name: record.name,
            nick: record.nick,
            department: some(record.department),
            department_id: Some(record.department_id).filter(|id| *id != 0),
            avatar: record.avatar,
            signature: record.signature,
            active: record.active,
        }
    }
}

/// Lists bots by name.
#[utoipa::path(get, path = "/api/v1/bots", operation_id = "listBots", tag = "bots", params(Part),
    security(("token" = ["bots:read"])),
    responses((status = 200, description = "A page of bots.", body = Page<Bot>)))]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(part): Query<Part>,
) -> Result<Json<Page<Bot>>, Problem> {
    let wanted = caller.call(ListBotsRequest {
        limit: rows(part.limit)?,
        cursor: part.cursor.unwrap_or_default(),
    });
    let found = api.bots.clone().list_bots(wanted).await;
    let found = found
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    Ok(Json(Page::of(found.bots, found.next, Bot::from)))
}

/// A new bot.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBot {
    /// Login name that nobody has.
    #[schema(min_length = 1)]
    name: String,
    /// What clients show; the name unless it is given.
    nick: Option<String>,
    /// Path of a department that exists.
    department: Option<String>,
    avatar: Option<String>,
    signature: Option<String>,
    /// Days for which its token is good; 90 unless it is given.
    #[schema(minimum = 1, maximum = 3650)]
    days: Option<u32>,
    /// Addresses and networks such as `192.0.2.0/24` that its token is good from; none = everywhere.
    #[serde(default)]
    #[schema(required = false, max_items = 32)]
    addresses: Vec<String>,
}

/// A bot with its token.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeBot {
    #[serde(flatten)]
    bot: Bot,
    /// The token itself. Nobody is told it again; it is absent in a dry run and in an answer that is repeated
    /// under its idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// When it ends (RFC 3339).
    token_expires: String,
}

impl From<CreatedBot> for MadeBot {
    fn from(created: CreatedBot) -> Self {
        Self {
            bot: created.bot.unwrap_or_default().into(),
            token: some(created.secret),
            token_expires: time(created.expires),
        }
    }
}

/// Makes a bot and its token. Clients show it as they show people, and chat with it; what they write it reads with
/// its token, with which it writes as well.
#[utoipa::path(post, path = "/api/v1/bots", operation_id = "createBot", tag = "bots", params(Change),
    security(("token" = ["bots:write"])), request_body = NewBot,
    responses((status = 201, description = "The bot, with its token.", body = MadeBot), (status = 200, description = "A dry run: it could be made.", body = MadeBot), (status = 404, description = "There is no such department.")))]
async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(change): Query<Change>,
    Content(new): Content<NewBot>,
) -> Result<Response, Problem> {
    let wanted = caller.call(CreateBotRequest {
        name: new.name,
        nick: new.nick.unwrap_or_default(),
        department: new.department.unwrap_or_default(),
        avatar: new.avatar.unwrap_or_default(),
        signature: new.signature.unwrap_or_default(),
        token_seconds: seconds_of(new.days)?,
        token_addresses: new.addresses,
        dry_run: change.dry_run,
    });
    let created = api.bots.clone().create_bot(wanted).await;
    let created = created.map_err(|status| caller.refused(&status))?;
    Ok(made(created, change.dry_run, MadeBot::from))
}

/// Shows a bot.
#[utoipa::path(get, path = "/api/v1/bots/{name}", operation_id = "getBot", tag = "bots",
    params(("name" = String, Path, description = "Its login name.")),
    security(("token" = ["bots:read"])),
    responses((status = 200, description = "The bot.", body = Bot), (status = 404, description = "")))]
async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Bot>, Problem> {
    let wanted = caller.call(GetBotRequest { name });
    let found = api.bots.clone().get_bot(wanted).await;
    let found = found.map_err(|status| caller.refused(&status))?;
    Ok(Json(found.into_inner().into()))
}

/// What changes of a bot. What is absent stays; an empty text empties the field, other than that of the nick.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BotPatch {
    nick: Option<String>,
    /// Path of a department that exists.
    department: Option<String>,
    avatar: Option<String>,
    signature: Option<String>,
    /// Once it is not, its tokens are revoked, and whoever waits with one is answered; another token makes it
    /// work again.
    active: Option<bool>,
}

/// Changes a bot.
#[utoipa::path(patch, path = "/api/v1/bots/{name}", operation_id = "updateBot", tag = "bots",
    params(("name" = String, Path, description = "Its login name."), Change),
    security(("token" = ["bots:write"])), request_body = BotPatch,
    responses((status = 200, description = "The bot as it is now.", body = Bot), (status = 404, description = "")))]
async fn update(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(change): Query<Change>,
    Content(patch): Content<BotPatch>,
) -> Result<Json<Bot>, Problem> {
    let wanted = caller.call(UpdateBotRequest {
        name,
        nick: patch.nick,
        department: patch.department,
        avatar: patch.avatar,
        signature: patch.signature,
        active: patch.active,
        dry_run: change.dry_run,
    });
    let updated = api.bots.clone().update_bot(wanted).await;
    let updated = updated.map_err(|status| caller.refused(&status))?;
    Ok(Json(updated.into_inner().into()))
}

/// Takes a bot out: its tokens are revoked, it leaves its groups, and its name is free. What it wrote stays.
#[utoipa::path(delete, path = "/api/v1/bots/{name}", operation_id = "removeBot", tag = "bots",
    params(("name" = String, Path, description = "Its login name."), Change),
    security(("token" = ["bots:write"])),
    responses((status = 200, description = "The bot as it was.", body = Bot), (status = 404, description = "")))]
async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(change): Query<Change>,
) -> Result<Json<Bot>, Problem> {
    let wanted = caller.call(RemoveBotRequest {
        name,
        dry_run: change.dry_run,
    });
    let removed = api.bots.clone().remove_bot(wanted).await;
    let removed = removed.map_err(|status| caller.refused(&status))?;
    Ok(Json(removed.into_inner().into()))
}

/// How the other token is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replacement {
    /// Days for which it is good; 90 unless it is given.
    #[schema(minimum = 1, maximum = 3650)]
    days: Option<u32>,
    /// Addresses and networks that it is good from; none = everywhere.
    #[serde(default)]
    #[schema(required = false, max_items = 32)]
    addresses: Vec<String>,
    /// Seconds for which the token so far stays good beside it.
    #[serde(default)]
    #[schema(required = false, maximum = 604_800)]
    overlap_seconds: u32,
}

/// A bot's token that was just made.
#[derive(Serialize, ToSchema)]
pub(crate) struct BotToken {
    /// The token itself, which nobody is told again; absent in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// When it ends (RFC 3339).
    token_expires: String,
}

impl From<CreatedToken> for BotToken {
    fn from(created: CreatedToken) -> Self {
        Self {
            token: some(created.secret),
            token_expires: time(created.token.unwrap_or_default().expires),
        }
    }
}

/// Gives a bot another token. The one so far ends: at once, or after the time that is asked for.
#[utoipa::path(put, path = "/api/v1/bots/{name}/token", operation_id = "replaceBotToken", tag = "bots",
    params(("name" = String, Path, description = "Its login name."), Change),
    security(("token" = ["bots:write"])), request_body = Replacement,
    responses((status = 200, description = "The token.", body = BotToken), (status = 404, description = ""), (status = 409, description = "The bot is not active, or there are too many tokens.")))]
async fn replace_token(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(change): Query<Change>,
    Content(new): Content<Replacement>,
) -> Result<Json<BotToken>, Problem> {
    let wanted = caller.call(ReplaceBotTokenRequest {
        name,
        seconds: seconds_of(new.days)?,
        addresses: new.addresses,
        overlap: new.overlap_seconds,
        dry_run: change.dry_run,
    });
    let replaced = api.bots.clone().replace_bot_token(wanted).await;
    let replaced = replaced.map_err(|status| caller.refused(&status))?;
    Ok(Json(replaced.into_inner().into()))
}
