//! This API: who asks, which version answers, and the document.
#![allow(clippy::unused_async, reason = "handlers are asynchronous functions")]

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::words::time;
use crate::caller::Caller;
use crate::service::Api;

/// What asks for a token.
pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(me))
}

/// What anybody may know.
pub(super) fn open() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(version))
        .routes(routes!(openapi))
}

/// Whoever asks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Me {
    /// Id of the token.
    token: u32,
    /// Whose it is.
    owner: String,
    /// What for.
    label: String,
    /// What it allows.
    scopes: Vec<String>,
    /// When it ends to be good (RFC 3339).
    expires: String,
    /// Where the request came from, as it is judged.
    address: String,
}

/// Says what the token of the request is.
#[utoipa::path(get, path = "/api/v1/me", operation_id = "getMe", tag = "self",
    security(("token" = [])),
    responses((status = 200, description = "The token.", body = Me)))]
async fn me(caller: Caller) -> Json<Me> {
    let token = &caller.grant.token;
    Json(Me {
        token: token.id,
        owner: token.owner.clone(),
        label: token.label.clone(),
        scopes: token.scopes.clone(),
        expires: time(token.expires),
        address: caller.asker.address.clone(),
    })
}

/// What answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Version {
    /// Version of the program.
    version: &'static str,
}

/// Says which version answers.
#[utoipa::path(get, path = "/api/v1/version", operation_id = "getVersion", tag = "self",
    responses((status = 200, description = "The version.", body = Version)))]
async fn version() -> Json<Version> {
    Json(Version {
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// Shows this document.
#[utoipa::path(get, path = "/api/v1/openapi.json", operation_id = "getDocument", tag = "self",
    responses((status = 200, description = "OpenAPI 3.1.", body = serde_json::Value, content_type = "application/json")))]
async fn openapi(State(api): State<Arc<Api>>) -> ([(HeaderName, &'static str); 2], bytes::Bytes) {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "public, max-age=60"),
    ];
    (headers, api.document.clone())
}
