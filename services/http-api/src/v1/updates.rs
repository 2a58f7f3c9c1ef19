//! What bots are told of, as soon as there is something.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use im_http::Line;
use im_proto_rpc::v1::{ReadUpdatesRequest, UpdateList};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::messages::Message;
use super::position;
use crate::caller::Caller;
use crate::extract::Query;
use crate::metrics::Limited;
use crate::problem::{Kind, Problem};
use crate::service::Api;

/// The path, whose requests have places of their own.
pub(crate) const UPDATES: &str = "/api/v1/bot/updates";

/// The longest that a bot waits, seconds.
pub(crate) const MAX_WAIT: u32 = 30;

/// Most messages of an answer.
const MAX_LIMIT: u32 = 100;

pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(read))
}

/// Which updates are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Behind {
    /// `next` of the answer before; everything that is still there unless it is given.
    after: Option<String>,
    /// Most messages: 1 to 100; 100 unless it is given.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// Seconds to wait for the first one: 0 to 30; 0 unless it is given.
    #[param(minimum = 0, maximum = 30)]
    wait: Option<u32>,
}

/// Messages to a bot.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Updates {
    /// In the order of the log. Those in which nothing came may be none.
    items: Vec<Message>,
    /// What the next request says as `after`: a place in the log; digits.
    next: String,
}

impl From<UpdateList> for Updates {
    fn from(list: UpdateList) -> Self {
        Self {
            items: list.messages.into_iter().map(Message::from).collect(),
            next: list.next.to_string(),
        }
    }
}

/// Tells a bot what others have written to it, and in the groups that it is in, since a place in the log: at once,
/// or as soon as there is something. Whoever asks with the `next` of the answer before misses nothing, whatever
/// fails meanwhile; asking again with an earlier one gives the same again.
#[utoipa::path(get, path = "/api/v1/bot/updates", operation_id = "readUpdates", tag = "bots", params(Behind),
    security(("token" = ["bot"])),
    responses((status = 200, description = "Messages; none if nothing came in the time.", body = Updates)))]
async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    line: Option<Extension<Line>>,
    Query(behind): Query<Behind>,
) -> Result<Json<Updates>, Problem> {
    let malformed = |detail: &str| Problem::new(Kind::MalformedRequest, detail);
    let after = behind.after.as_deref().map_or(Ok(0), position);
    let after = after.map_err(|_| malformed("after must be digits: next of an answer"))?;
    let limit = behind.limit.unwrap_or(MAX_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(malformed("limit must be 1 to 100"));
    }
    let wait = behind.wait.unwrap_or(0);
    if wait > MAX_WAIT {
        return Err(malformed("wait must be 0 to 30"));
    }
    let wanted = caller.call(ReadUpdatesRequest {
        token: caller.grant.token.id,
        after,
        limit,
        wait_ms: wait * 1_000,
    });
    let mut bots = api.bots.clone();
    let read = bots.read_updates(wanted);
    let most = Duration::from_secs(wait.into()) + api.config.request_timeout.duration();
    let read = timeout(most, read);
    let hung_up = async {
        match line {
            Some(Extension(line)) => line.closed().await,
            None => std::future::pending().await,
        }
    };
    let read = tokio::select! {
        read = read => read,
        // Whoever hears this asks another server, from the same place.
        () = api.monitor.stop().cancelled() => return Ok(nothing_since(after)),
        () = hung_up => return Ok(nothing_since(after)),
    };
    let read = read.map_err(|_| {
        api.metrics.limit(Limited::Time);
        Problem::new(Kind::Timeout, "")
    })?;
    let list = read.map_err(|status| caller.refused(&status))?;
    Ok(Json(list.into_inner().into()))
}

fn nothing_since(after: u64) -> Json<Updates> {
    Json(Updates {
        items: Vec::new(),
        next: after.to_string(),
    })
}
