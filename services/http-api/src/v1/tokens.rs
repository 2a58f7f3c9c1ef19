//! Tokens of this API.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use im_proto_rpc::v1::{
    CreateTokenRequest, CreatedToken, ListTokensRequest, RevokeTokenRequest, TokenRecord,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::words::{moment, some, time};
use super::{Change, Page, made, rows};
use crate::caller::Caller;
use crate::extract::{Content, Path, Query};
use crate::problem::{FieldError, Kind, Problem};
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(revoke))
}

/// A token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Token {
    id: u32,
    /// Whose it is.
    owner: String,
    /// What for.
    label: String,
    /// What it allows.
    scopes: Vec<String>,
    /// Addresses and networks that it is good from; empty = from everywhere.
    addresses: Vec<String>,
    /// When it was made (RFC 3339).
    created: String,
    /// When it ends to be good (RFC 3339).
    expires: String,
    /// When it was revoked (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
    /// The day on which it was used last (RFC 3339, its beginning by UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<String>,
    /// Who made it.
    made_by: String,
}

impl From<TokenRecord> for Token {
    fn from(record: TokenRecord) -> Self {
        Self {
            id: record.id,
            owner: record.owner,
            label: record.label,
            scopes: record.scopes,
            addresses: record.addresses,
            created: time(record.created),
            expires: time(record.expires),
            revoked: moment(record.revoked),
            used: moment(record.used),
            made_by: record.made_by,
        }
    }
}

/// Which tokens are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Find {
    /// Whose.
    #[serde(default)]
    #[param(required = false)]
    owner: String,
    /// Most rows of the page: 1 to 1,000; 100 unless it is given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    #[param(required = false)]
    cursor: String,
}

/// Lists tokens, the newest first; expired and revoked ones for a month.
#[utoipa::path(get, path = "/api/v1/tokens", operation_id = "listTokens", tag = "tokens", params(Find),
    security(("token" = ["tokens:read"])),
    responses((status = 200, description = "A page of tokens.", body = Page<Token>)))]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(find): Query<Find>,
) -> Result<Json<Page<Token>>, Problem> {
    let wanted = caller.call(ListTokensRequest {
        owner: find.owner,
        limit: rows(find.limit)?,
        cursor: find.cursor,
    });
    let found = api.admin.clone().list_tokens(wanted).await;
    let found = found
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    Ok(Json(Page::of(found.tokens, found.next, Token::from)))
}

/// A new token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    /// Whose, in words: a person or a program.
    #[schema(min_length = 1, max_length = 128)]
    owner: String,
    /// What for.
    #[serde(default)]
    #[schema(required = false, max_length = 128)]
    label: String,
    /// What it allows, such as `users:read`; nothing that the token which makes it does not allow.
    #[schema(min_items = 1)]
    scopes: Vec<String>,
    /// Days for which it is good; 90 unless it is given.
    #[schema(minimum = 1, maximum = 3650)]
    days: Option<u32>,
    /// Addresses and networks such as `192.0.2.0/24` that it is good from; none = everywhere.
    #[serde(default)]
    #[schema(required = false, max_items = 32)]
    addresses: Vec<String>,
}

/// Longest life of a token, days; db-proxy may be configured to allow less.
const MAX_DAYS: u32 = 3_650;

/// A token that was just made.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeToken {
    #[serde(flatten)]
    token: Token,
    /// The token itself. Nobody is told it again; it is absent in a dry run and in an answer that is repeated
    /// under its idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl From<CreatedToken> for MadeToken {
    fn from(created: CreatedToken) -> Self {
        Self {
            token: created.token.unwrap_or_default().into(),
            secret: some(created.secret),
        }
    }
}

/// Makes a token.
#[utoipa::path(post, path = "/api/v1/tokens", operation_id = "createToken", tag = "tokens", params(Change),
    security(("token" = ["tokens:write"])), request_body = NewToken,
    responses((status = 201, description = "The token, with its secret.", body = MadeToken), (status = 200, description = "A dry run: it could be made.", body = MadeToken)))]
async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(change): Query<Change>,
    Content(new): Content<NewToken>,
) -> Result<Response, Problem> {
    within(&caller, &new.scopes)?;
    let seconds = seconds_of(new.days)?;
    let wanted = caller.call(CreateTokenRequest {
        owner: new.owner,
        label: new.label,
        scopes: new.scopes,
        seconds,
        addresses: new.addresses,
        dry_run: change.dry_run,
    });
    let created = api.admin.clone().create_token(wanted).await;
    let created = created.map_err(|status| caller.refused(&status))?;
    Ok(made(created, change.dry_run, MadeToken::from))
}

/// How long a token is good for which so many days are asked for; 0 leaves that to db-proxy.
pub(super) fn seconds_of(days: Option<u32>) -> Result<u32, Problem> {
    match days {
        None => Ok(0),
        Some(days @ 1..=MAX_DAYS) => Ok(days * 86_400),
        Some(_) => Err(Problem::field("days", "must be 1 to 3,650")),
    }
}

/// No token makes one that allows more than itself.
fn within(caller: &Caller, scopes: &[String]) -> Result<(), Problem> {
    let beyond = |(_, scope): &(usize, &String)| !caller.grant.allows(scope);
    let errors: Vec<_> = { scopes.iter().enumerate() }
        .filter(beyond)
        .map(|(place, scope)| FieldError {
            field: format!("scopes[{place}]"),
            detail: format!("the token that asks lacks {scope}"),
        })
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    let mut problem = Problem::new(
        Kind::ScopeMissing,
        "a token makes none that allows more than itself",
    );
    problem.errors = errors;
    Err(problem)
}

/// Revokes a token: it is refused within seconds (`http_api.token_memory`).
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", operation_id = "revokeToken", tag = "tokens",
    params(("id" = u32, Path, minimum = 1, description = "Its id."), Change),
    security(("token" = ["tokens:write"])),
    responses((status = 200, description = "The token as it is now.", body = Token), (status = 404, description = "")))]
async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<NonZeroU32>,
    Query(change): Query<Change>,
) -> Result<Json<Token>, Problem> {
    let id = id.get();
    let wanted = caller.call(RevokeTokenRequest {
        id,
        dry_run: change.dry_run,
    });
    let revoked = api.admin.clone().revoke_token(wanted).await;
    let revoked = revoked.map_err(|status| caller.refused(&status))?;
    if !change.dry_run {
        // Here it is over at once.
        api.tokens.forget(id);
    }
    Ok(Json(revoked.into_inner().into()))
}
