//! The API of our own, under `/api/v1`: one file per subject.

mod about;
mod announcements;
mod audit;
mod bots;
mod deliveries;
mod departments;
mod devices;
mod discovery_items;
mod events;
mod export;
mod files;
mod groups;
mod import;
pub(crate) mod incoming;
mod lockouts;
mod members;
mod messages;
mod people;
mod servers;
mod sessions;
mod subscriptions;
mod tokens;
mod traces;
mod updates;
mod words;

pub(crate) use import::IMPORT;
pub(crate) use updates::{MAX_WAIT, UPDATES};

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::HeaderName;
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, OpenApi as _, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use crate::caller::admit;
use crate::db_proxy::is_replayed;
use crate::discovery::{self, DISCOVERY};
use crate::document::{Base, complete};
use crate::original;
use crate::problem::{Kind, Problem};
use crate::service::{Api, no_endpoint, no_method};

pub(crate) use words::hex;

/// Routes whose state is not there yet.
#[derive(Debug)]
pub(crate) struct Routes {
    /// Those that ask for a token.
    guarded: Router<Arc<Api>>,
    open: Router<Arc<Api>>,
}

/// The routes that ask for a token, by subject.
fn guarded() -> Vec<OpenApiRouter<Arc<Api>>> {
    vec![
        people::router(),
        lockouts::router(),
        import::router(),
        export::router(),
        departments::router(),
        discovery_items::router(),
        groups::router(),
        members::router(),
        messages::router(),
        announcements::router(),
        sessions::router(),
        devices::router(),
        subscriptions::router(),
        incoming::router(),
        bots::router(),
        updates::router(),
        deliveries::router(),
        servers::router(),
        events::router(),
        traces::router(),
        files::router(),
        tokens::router(),
        audit::router(),
        about::router(),
    ]
}

/// All routes and the document that they make.
pub(crate) fn router() -> (Routes, Value) {
    let base = OpenApiRouter::with_openapi(Base::openapi());
    let guarded = guarded().into_iter().fold(base, OpenApiRouter::merge);
    let (guarded, mut document) = guarded.split_for_parts();
    let (open, rest) = about::open().split_for_parts();
    document.merge(rest);
    (Routes { guarded, open }, complete(&document))
}

/// The routes with their state, and those of the original calls beside them.
pub(crate) fn with_api(routes: Routes, api: Arc<Api>) -> Router {
    let Routes { guarded, open } = routes;
    let admission = middleware::from_fn_with_state(Arc::clone(&api), admit);
    let mut router = guarded.route_layer(admission).merge(open);
    router = router
        .route(incoming::ROUTE, post(incoming::post))
        .route(DISCOVERY, get(discovery::show));
    if api.config.original.enabled {
        router = router
            .route(original::CREATE_GROUP, any(original::create_group))
            .route(original::CHANGE_MEMBERS, any(original::change_members));
    }
    router
        .fallback(no_endpoint)
        .method_not_allowed_fallback(no_method)
        .with_state(api)
}

/// Most rows of a page.
const MAX_LIMIT: u32 = 1_000;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The rows, in the order of the list.
    items: Vec<T>,
    /// Cursor of what follows; absent when nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl<T> Page<T> {
    /// What db-proxy has listed.
    fn of<R>(rows: Vec<R>, next: String, row: impl Fn(R) -> T) -> Self {
        Self {
            items: rows.into_iter().map(row).collect(),
            next: Some(next).filter(|next| !next.is_empty()),
        }
    }
}

/// Which part of a list is asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// Most rows of the page: 1 to 1,000; 100 unless it is given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Rows that a page may have; 0 leaves it to db-proxy.
fn rows(limit: Option<u32>) -> Result<u32, Problem> {
    match limit {
        None => Ok(100),
        Some(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::new(
            Kind::MalformedRequest,
            "limit must be 1 to 1,000",
        )),
    }
}

/// A place in the log, as answers spell it.
fn position(digits: &str) -> Result<u64, Problem> {
    let is_number = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
    let position = digits.parse().ok().filter(|_| is_number);
    position.ok_or_else(|| Problem::field("position", "must be digits: a place in the log"))
}

/// How a change is meant.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Change {
    /// Judges the change in full and does not make it.
    #[serde(default)]
    #[param(required = false)]
    dry_run: bool,
}

/// Header of an answer that was given before under the same idempotency key.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The answer to a request that makes something.
fn made<R, T: Serialize>(
    answer: tonic::Response<R>,
    dry_run: bool,
    shown: impl FnOnce(R) -> T,
) -> Response {
    let status = if dry_run {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    done(answer, status, shown)
}

/// The answer to a request that may have been answered before.
fn done<R, T: Serialize>(
    answer: tonic::Response<R>,
    status: StatusCode,
    shown: impl FnOnce(R) -> T,
) -> Response {
    let is_replayed = is_replayed(&answer);
    let mut answer = (status, axum::Json(shown(answer.into_inner()))).into_response();
    if is_replayed {
        let yes = axum::http::HeaderValue::from_static("true");
        answer.headers_mut().insert(REPLAYED, yes);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document has one schema of a name: of two the later would be told for both.
    #[test]
    fn no_two_schemas_have_one_name() {
        let mut known = std::collections::BTreeMap::<String, Value>::new();
        let open = about::open();
        for routes in guarded().into_iter().chain([open]) {
            let (_, document) = routes.split_for_parts();
            let schemas = document.components.map(|it| it.schemas);
            for (name, schema) in schemas.into_iter().flatten() {
                let schema = serde_json::to_value(&schema).unwrap();
                let other = known.insert(name.clone(), schema.clone());
                assert!(other.is_none_or(|it| it == schema), "{name} is two things");
            }
        }
        assert!(known.len() > 50, "{}", known.len());
    }

    #[test]
    fn a_page_has_one_to_a_thousand_rows() {
        assert_eq!(rows(None).unwrap(), 100);
        assert_eq!(rows(Some(1)).unwrap(), 1);
        assert_eq!(rows(Some(1_000)).unwrap(), 1_000);
        assert!(rows(Some(0)).is_err() && rows(Some(1_001)).is_err());
    }

    #[test]
    fn a_position_is_digits() {
        assert_eq!(position("0").unwrap(), 0);
        assert_eq!(position("18446744073709551615").unwrap(), u64::MAX);
        for wrong in ["", "+1", "-1", "1.0", "x", "18446744073709551616"] {
            assert!(position(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_end_of_a_list_has_no_cursor() {
        let page = Page::of(vec![1], String::new(), |row| row);
        let json = serde_json::to_value(&page).unwrap();
        assert_eq!(json, serde_json::json!({"items": [1]}));
        let page = Page::of(vec![1], "c".to_owned(), |row| row);
        let json = serde_json::to_value(&page).unwrap();
        assert_eq!(json, serde_json::json!({"items": [1], "next": "c"}));
    }
}
