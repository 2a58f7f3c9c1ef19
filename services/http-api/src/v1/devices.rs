//! Devices that are told of messages while their people are away, and what their providers say of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use im_proto_rpc::v1::{
    ListPushTargetsRequest, PushOutcome, PushTargetRecord, PushTestRecord, PushVerdict,
    RemovePushTargetRequest, TestPushRequest,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::words::{client, some};
use super::{Change, Page, done};
use crate::caller::Caller;
use crate::extract::{Path, Query};
use crate::problem::Problem;
use crate::service::Api;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(remove))
        .routes(routes!(test))
}

/// A device that is told of messages, without the token under which its provider knows it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PushTarget {
    /// Names the device while it keeps its token.
    #[schema(example = "0123456789abcdef")]
    id: String,
    /// `ios` or `android`.
    client: &'static str,
    /// Id of the session that registered it; digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    /// Whether its owner wants no notices at night.
    night_shield: bool,
}

impl From<PushTargetRecord> for PushTarget {
    fn from(record: PushTargetRecord) -> Self {
        let session = Some(record.session).filter(|session| *session != 0);
        Self {
            id: record.id,
            client: client(record.client_type),
            session: session.map(|session| session.to_string()),
            night_shield: record.night_shield,
        }
    }
}

/// Lists somebody's devices that are told of messages, which are a few.
#[utoipa::path(get, path = "/api/v1/users/{name}/push-targets", operation_id = "listPushTargets", tag = "people",
    params(("name" = String, Path, description = "Login name.")),
    security(("token" = ["users:read"])),
    responses((status = 200, description = "All of them.", body = Page<PushTarget>), (status = 404, description = "")))]
async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(user): Path<String>,
) -> Result<Json<Page<PushTarget>>, Problem> {
    let wanted = caller.call(ListPushTargetsRequest { user });
    let found = api.devices.clone().list_push_targets(wanted).await;
    let found = found
        .map_err(|status| caller.refused(&status))?
        .into_inner();
    let rows = found.targets;
    Ok(Json(Page::of(rows, String::new(), PushTarget::from)))
}

/// Forgets a device. It registers itself again when its app logs in the next time.
#[utoipa::path(delete, path = "/api/v1/users/{name}/push-targets/{id}", operation_id = "removePushTarget", tag = "people",
    params(("name" = String, Path, description = "Login name."), ("id" = String, Path, description = "Id of the device."), Change),
    security(("token" = ["users:write"])),
    responses((status = 200, description = "The device as it was.", body = PushTarget), (status = 404, description = "")))]
async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((user, id)): Path<(String, String)>,
    Query(change): Query<Change>,
) -> Result<Json<PushTarget>, Problem> {
    let wanted = caller.call(RemovePushTargetRequest {
        user,
        id,
        dry_run: change.dry_run,
    });
    let removed = api.devices.clone().remove_push_target(wanted).await;
    let removed = removed.map_err(|status| caller.refused(&status))?;
    Ok(Json(removed.into_inner().into()))
}

/// What a provider says to a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The provider brings it.
    Taken,
    /// The token leads nowhere any more: the app was removed, or has another one.
    Gone,
    /// The provider never takes this notice.
    Rejected,
    /// The provider does not take it now, or does not answer. It is not sent again.
    NotNow,
}

impl From<PushOutcome> for Outcome {
    fn from(outcome: PushOutcome) -> Self {
        match outcome {
            PushOutcome::Taken => Self::Taken,
            PushOutcome::DeviceGone => Self::Gone,
            PushOutcome::Rejected => Self::Rejected,
            // Without a provider there is no test, but a refusal.
            PushOutcome::NotNow | PushOutcome::NoProvider => Self::NotNow,
        }
    }
}

/// What the provider of a device said to a test notice.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProviderVerdict {
    /// `apns`, `fcm` or `webhook`.
    provider: String,
    outcome: Outcome,
    /// HTTP status of its answer; absent where it has not answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u32>,
    /// What it gave as reason, or why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<PushVerdict> for ProviderVerdict {
    fn from(verdict: PushVerdict) -> Self {
        Self {
            outcome: verdict.outcome().into(),
            provider: verdict.provider,
            status: Some(verdict.status).filter(|status| *status != 0),
            reason: some(verdict.reason),
        }
    }
}

/// A device, and what its provider said.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PushTest {
    target: PushTarget,
    /// Absent in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<ProviderVerdict>,
}

impl From<PushTestRecord> for PushTest {
    fn from(record: PushTestRecord) -> Self {
        Self {
            target: record.target.unwrap_or_default().into(),
            verdict: record.verdict.map(ProviderVerdict::from),
        }
    }
}

/// Sends one test notice to a device, whoever is online and whatever the hour, and tells what its provider said.
#[utoipa::path(post, path = "/api/v1/users/{name}/push-targets/{id}/~test", operation_id = "testPush", tag = "people",
    params(("name" = String, Path, description = "Login name."), ("id" = String, Path, description = "Id of the device."), Change),
    security(("token" = ["users:write"])),
    responses((status = 200, description = "What the provider said, whatever that is.", body = PushTest), (status = 404, description = ""),
        (status = 409, description = "No provider is configured for such a device, or a request with the same idempotency key is under way."),
        (status = 503, description = "No push server has said in time what became of it, db-proxy does not answer, or too many requests are worked on.")))]
async fn test(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((user, id)): Path<(String, String)>,
    Query(change): Query<Change>,
) -> Result<Response, Problem> {
    let wanted = caller.call(TestPushRequest {
        user,
        id,
        dry_run: change.dry_run,
    });
    let tested = api.devices.clone().test_push(wanted).await;
    let tested = tested.map_err(|status| caller.refused(&status))?;
    Ok(done(tested, StatusCode::OK, PushTest::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_provider_says_has_its_word() {
        for (outcome, word) in [
            (PushOutcome::Taken, "taken"),
            (PushOutcome::DeviceGone, "gone"),
            (PushOutcome::Rejected, "rejected"),
            (PushOutcome::NotNow, "not-now"),
        ] {
            let verdict = ProviderVerdict::from(PushVerdict {
                outcome: outcome.into(),
                status: 410,
                ..PushVerdict::default()
            });
            let shown = serde_json::to_value(&verdict).unwrap();
            assert_eq!(shown["outcome"], word);
            assert_eq!(shown["status"], 410);
            assert!(shown.get("reason").is_none());
        }
    }
}
