//! One link: takes calls, answers each as soon as it can.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use im_proto_rpc::v1;
use im_proto_rpc::v1::follow_item::Item;
use im_rpc::Link;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Shared;
use super::answer::refused;
use super::holders::Hold;
use super::hooks::NAME;

/// What became of a call.
pub(super) struct Answered {
    pub(super) tag: u64,
    pub(super) item: Item,
    /// The name that it has taken.
    pub(super) hold: Option<Hold>,
}

/// Answers that go in one batch.
const ANSWERS: usize = 64;

/// Serves a link until its peer is gone or `stop`.
pub(super) async fn serve(
    shared: Arc<Shared>,
    link: Link<v1::FollowItems, v1::FollowCalls>,
    stop: CancellationToken,
) {
    let Link {
        tx,
        mut rx,
        peer,
        closed,
    } = link;
    info!(peer, "a follower is attached");
    let mut hold: Option<Arc<Hold>> = None;
    let mut open: FuturesUnordered<BoxFuture<'static, Answered>> = FuturesUnordered::new();
    loop {
        let items = tokio::select! {
            () = stop.cancelled() => break,
            () = closed.cancelled() => break,
            batch = rx.recv() => {
                let Some(batch) = batch else { break };
                let mut refusals = Vec::new();
                for call in batch.calls {
                    if open.len() >= shared.config().calls_per_link {
                        shared.metrics.refused();
                        refusals.push(item(call.tag, refused("too many calls are open")));
                        continue;
                    }
                    let (shared, hold) = (Arc::clone(&shared), hold.clone());
                    open.push(async move { shared.answer(call, hold).await }.boxed());
                }
                refusals
            }
            Some(first) = open.next(), if !open.is_empty() => {
                let mut items = vec![taken(first, &mut hold)];
                while items.len() < ANSWERS && !open.is_empty() {
                    match open.next().now_or_never() {
                        Some(Some(next)) => items.push(taken(next, &mut hold)),
                        _ => break,
                    }
                }
                items
            }
        };
        if items.is_empty() {
            continue;
        }
        tokio::select! {
            () = closed.cancelled() => break,
            sent = tx.send(v1::FollowItems { items }) => if sent.is_err() {
                break;
            },
        }
    }
    closed.cancel();
    if hold.as_ref().is_some_and(|hold| hold.name == NAME) {
        // Whoever holds it next says anew whether they want any.
        shared.comings.want(false);
    }
    info!(peer, holds = hold.is_some(), "a follower is detached");
}

fn taken(answered: Answered, hold: &mut Option<Arc<Hold>>) -> v1::FollowItem {
    if let Some(taken) = answered.hold {
        *hold = Some(Arc::new(taken));
    }
    item(answered.tag, answered.item)
}

fn item(tag: u64, item: Item) -> v1::FollowItem {
    v1::FollowItem {
        tag,
        item: Some(item),
    }
}
