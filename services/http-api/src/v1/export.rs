//! The whole directory in one request: everybody goes out as a file.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{self, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use futures::stream::{self, StreamExt as _};
use im_directory_file::{Format, Writer};
use im_proto_rpc::v1::{FindUsersRequest, UserRecord};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::MAX_LIMIT;
use super::import::NDJSON;
use crate::caller::Caller;
use crate::db_proxy::Admin;
use crate::extract::Query;
use crate::problem::Problem;
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(export))
}

/// Forms in which people go out.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    #[default]
    Csv,
    Yaml,
    Ndjson,
}

impl Form {
    const fn format(self) -> Format {
        match self {
            Self::Csv => Format::Table,
            Self::Yaml => Format::Yaml,
            Self::Ndjson => Format::Ndjson,
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Yaml => "application/yaml",
            Self::Ndjson => NDJSON,
        }
    }
}

/// What goes out.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportQuery {
    /// Form of the file: `csv` unless it is given.
    #[serde(default)]
    #[param(required = false, inline)]
    format: Form,
}

/// Gives everybody as a file that can be imported again: all fields but passwords, by login name.
///
/// It is read page by page: who is renamed meanwhile may be missing or come twice.
#[utoipa::path(get, path = "/api/v1/users:export", operation_id = "exportUsers", tag = "people", params(ExportQuery),
    security(("token" = ["users:read"])),
    responses((status = 200, description = "The file.", content((String = "text/csv"), (serde_json::Value = "application/yaml"), (String = "application/x-ndjson")))))]
async fn export(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Problem> {
    let mut pages = Pages {
        admin: api.admin.clone(),
        caller,
        cursor: Some(String::new()),
    };
    // The first page tells whether there is a file at all.
    let first = pages.next().await?.unwrap_or_default();
    let form = query.format;
    let mut writer = Writer::new(form.format());
    let first = writer.part(&first);
    let rest = stream::unfold((pages, writer), |(mut pages, mut writer)| async move {
        // A file that breaks off is not taken for a whole one: the connection ends in the middle.
        let part = match pages.next().await {
            Ok(page) => writer.part(&page?).map_err(std::io::Error::other),
            Err(problem) => {
                pages.cursor = None;
                Err(std::io::Error::other(problem.detail))
            }
        };
        Some((part, (pages, writer)))
    });
    let parts = stream::iter([first.map_err(std::io::Error::other)]).chain(rest);
    let mut answer = Body::from_stream(parts).into_response();
    let kind = HeaderValue::from_static(form.media_type());
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(answer)
}

/// Everybody, page by page.
struct Pages {
    admin: Admin,
    caller: Caller,
    /// Of the next page, if there is one.
    cursor: Option<String>,
}

impl Pages {
    async fn next(&mut self) -> Result<Option<Vec<UserRecord>>, Problem> {
        let Some(cursor) = self.cursor.take() else {
            return Ok(None);
        };
        let wanted = self.caller.call(FindUsersRequest {
            limit: MAX_LIMIT,
            cursor,
            ..FindUsersRequest::default()
        });
        let found = self.admin.find_users(wanted).await;
        let found = found
            .map_err(|status| self.caller.refused(&status))?
            .into_inner();
        self.cursor = Some(found.next).filter(|next| !next.is_empty());
        Ok(Some(found.users))
    }
}
