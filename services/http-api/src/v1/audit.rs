//! The audit log.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use im_proto_rpc::v1::{AuditRecord, ListAuditRequest, VerifyAuditRequest};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::words::{hex, time};
use super::{Page, rows};
use crate::caller::Caller;
use crate::extract::Query;
use crate::problem::Problem;
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(verify))
}

/// A row of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Entry {
    /// From 1, without gaps.
    number: u64,
    /// When (RFC 3339).
    time: String,
    actor: String,
    /// What they showed, such as `token 17`.
    credential: String,
    address: String,
    /// Number of the request.
    request_id: String,
    /// The call, such as `AddUser`.
    action: String,
    /// Such as `user ann` or `group 7`.
    target: String,
    /// What was changed, as a JSON text; cut ones end in `…`.
    before: String,
    after: String,
    /// `done` or `refused`.
    outcome: String,
    /// BLAKE3 over this row and the hash of the one before, in hex.
    hash: String,
}

impl From<AuditRecord> for Entry {
    fn from(record: AuditRecord) -> Self {
        Self {
            number: record.number,
            time: time(record.time),
            actor: record.actor,
            credential: record.credential,
            address: record.address,
            request_id: record.request,
            action: record.action,
            target: record.target,
            before: record.before,
            after: record.after,
            outcome: record.outcome,
            hash: hex(&record.hash),
        }
    }
}

/// Which rows are asked for, as they are written in them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Find {
    /// Who.
    #[serde(default)]
    #[param(required = false)]
    actor: String,
    /// What was changed, such as `user ann`.
    #[serde(default)]
    #[param(required = false)]
    target: String,
    /// The call, such as `AddUser`.
    #[serde(default)]
    #[param(required = false)]
    action: String,
    /// Most rows of the page: 1 to 1,000; 100 unless it is given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    #[param(required = false)]
    cursor: String,
}

/// Lists who has changed what, the newest first. A page may be short, or empty, and still have a `next`.
#[utoipa::path(get, path = "/api/v1/audit", operation_id = "listAudit", tag = "audit", params(Find),
    security(("token" = ["audit:read"])),
    responses((status = 200, description = "A page of rows.", body = Page<Entry>)))]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(find): Query<Find>,
) -> Result<Json<Page<Entry>>, Problem> {
    let wanted = caller.call(ListAuditRequest {
        actor: find.actor,
        target: find.target,
        action: find.action,
        limit: rows(find.limit)?,
        cursor: find.cursor,
    });
    let found = api.admin.clone().list_audit(wanted).await;
    let found = found
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    Ok(Json(Page::of(found.rows, found.next, Entry::from)))
}

/// What became of a look at the chain.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Verdict {
    /// Rows that were looked at.
    rows: u64,
    /// Number of the last one that is good.
    last: u64,
    /// Whether all were.
    good: bool,
    /// Number of the first row that was edited or removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    bad: Option<u64>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Where the next look begins: the log is longer than one request may look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Where a look begins.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Start {
    /// `next` of the look before; from the oldest row without it.
    #[serde(default)]
    #[param(required = false)]
    cursor: String,
}

/// Steps in which db-proxy looks at rows, for one request.
const STEPS: usize = 16;

/// Follows the chain of the audit log and names the first row that was edited or removed.
#[utoipa::path(get, path = "/api/v1/audit:verify", operation_id = "verifyAudit", tag = "audit", params(Start),
    security(("token" = ["audit:read"])),
    responses((status = 200, description = "What was found.", body = Verdict)))]
async fn verify(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(from): Query<Start>,
) -> Result<Json<Verdict>, Problem> {
    let (mut after, mut hash) = place(&from.cursor)?;
    let mut rows = 0;
    for _ in 0..STEPS {
        let wanted = VerifyAuditRequest {
            after,
            hash: hash.clone(),
        };
        let verdict = api.admin.clone().verify_audit(caller.call(wanted)).await;
        let verdict = verdict.map_err(|status| caller.refused(&status))?;
        let verdict = verdict.into_inner();
        rows += verdict.rows;
        (after, hash) = (verdict.last, verdict.hash);
        let is_bad = verdict.bad != 0;
        if is_bad || !verdict.more {
            return Ok(Json(Verdict {
                rows,
                last: after,
                good: !is_bad,
                bad: Some(verdict.bad).filter(|_| is_bad),
                reason: Some(verdict.reason).filter(|_| is_bad),
                next: None,
            }));
        }
    }
    Ok(Json(Verdict {
        rows,
        last: after,
        good: true,
        bad: None,
        reason: None,
        next: Some(format!("{after}.{}", hex(&hash))),
    }))
}

/// Reads `next` of a look: the number of a row and its hash.
fn place(cursor: &str) -> Result<(u64, Bytes), Problem> {
    if cursor.is_empty() {
        return Ok((0, Bytes::new()));
    }
    let parse = || {
        let (number, hash) = cursor.split_once('.')?;
        let hash = blake3::Hash::from_hex(hash).ok()?;
        Some((number.parse().ok()?, hash.as_bytes().to_vec().into()))
    };
    let wrong = || Problem::new(crate::problem::Kind::MalformedRequest, "cursor is not one");
    parse().ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_goes_on_where_the_one_before_ended() {
        let hash = blake3::hash(b"row");
        let cursor = format!("17.{}", hex(hash.as_bytes()));
        let (after, found) = place(&cursor).unwrap();
        assert_eq!((after, &found[..]), (17, &hash.as_bytes()[..]));
        assert_eq!(place("").unwrap(), (0, Bytes::new()));
        for wrong in [
            "17",
            "17.",
            "x.00",
            cursor.trim_end_matches(char::is_alphanumeric),
        ] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
