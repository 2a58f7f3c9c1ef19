//! The link to db-proxy: one at a time, batches out, results in.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use im_proto_rpc::v1::{DbCalls, DbResults};
use im_rpc::{Link, PeerEvent};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Bounds, Caller};
use crate::delivery::Input;
use crate::handle;
use crate::metrics::Refusal;
use crate::shared::Shared;

/// Keeps one link in use; others that are up stand by.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut events: mpsc::Receiver<PeerEvent<DbCalls, DbResults>>,
    delivery: mpsc::Sender<Input>,
) {
    let mut standby: Vec<Link<DbCalls, DbResults>> = Vec::new();
    let mut active = None;
    loop {
        if active.is_none()
            && let Some(link) = standby.pop()
        {
            let serving = serve(Arc::clone(&shared), link, delivery.clone());
            active = Some(shared.tasks.spawn(serving));
        }
        let over = async {
            match &mut active {
                // A panic in the serving task ends the link like any other end.
                Some(task) => drop(task.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = over => active = None,
            event = events.recv() => match event {
                Some(PeerEvent::Up(link)) => standby.insert(0, link),
                Some(PeerEvent::Down { .. }) => standby.retain(|link| !link.closed.is_cancelled()),
                None => return,
            },
        }
    }
}

async fn serve(shared: Arc<Shared>, link: Link<DbCalls, DbResults>, delivery: mpsc::Sender<Input>) {
    let Link {
        tx,
        mut rx,
        peer,
        closed,
    } = link;
    info!(%peer, "db-proxy is linked");
    shared.db.is_up.store(true, Ordering::Release);
    shared.readiness.dependency(crate::DB_PROXY_LINK, true);
    shared.load_changed();
    // What was published while there was no link may have passed by unseen.
    drop(delivery.send(Input::WriterLinked).await);
    let over = closed.child_token();
    let sender = shared
        .tasks
        .spawn(send_batches(Arc::clone(&shared), tx, over.clone()));
    shared.db.wake.notify_one();
    loop {
        let batch = tokio::select! {
            biased;
            batch = rx.recv() => batch,
            () = shared.stop.cancelled() => None,
        };
        let Some(batch) = batch else { break };
        shared.results(batch, &delivery).await;
    }
    over.cancel();
    drop(sender.await);
    if !shared.stop.is_cancelled() {
        closed.cancel();
    }
    drop(rx);
    lost(&shared, &delivery).await;
}

/// Sends whatever gathers, as fast as the window and the link allow.
async fn send_batches(shared: Arc<Shared>, tx: mpsc::Sender<DbCalls>, over: CancellationToken) {
    let bounds = Bounds {
        messages: shared.config.send_batch as usize,
        bytes: shared.config.send_batch_bytes as usize,
        window: shared.config.send_batches_in_flight as usize,
    };
    loop {
        if over
            .run_until_cancelled(shared.db.wake.notified())
            .await
            .is_none()
        {
            return;
        }
        // Connections that are ready now add theirs to the same batch.
        tokio::task::yield_now().await;
        loop {
            let Some(Ok(permit)) = over.run_until_cancelled(tx.reserve()).await else {
                return;
            };
            let Some(batch) = shared.db.take_batch(bounds) else {
                break;
            };
            permit.send(batch);
        }
    }
}

async fn lost(shared: &Arc<Shared>, delivery: &mpsc::Sender<Input>) {
    shared.db.is_up.store(false, Ordering::Release);
    shared.readiness.dependency(crate::DB_PROXY_LINK, false);
    shared.load_changed();
    let (sendings, callers) = shared.db.link_lost();
    warn!(
        given_up = sendings.len(),
        unanswered = callers.len(),
        "the link to db-proxy is lost"
    );
    for sending in &sendings {
        shared.metrics.refused(Refusal::NoDbProxy);
        shared.db.release(sending);
    }
    for caller in callers {
        match caller {
            // Whatever was in flight on a lost link is never answered.
            Caller::Client { conn, .. } => conn.query_done(),
            Caller::Login(attempt) => handle::refuse_no_db(shared, &attempt.conn, attempt.seq),
            Caller::Log => drop(delivery.send(Input::PageFailed).await),
            Caller::Related => drop(delivery.send(Input::RelatedFailed).await),
            Caller::Nobody => {}
        }
    }
}

impl Shared {
    /// Gives up messages that have waited too long for a link.
    pub(crate) fn expire_sends(&self, now: u32) {
        let wait = self.config.send_wait_ms;
        if self.db.is_up() {
            return;
        }
        let expired = self
            .db
            .expired(|since| Self::is_due(now, since.wrapping_add(wait)));
        if expired.is_empty() {
            return;
        }
        warn!(
            messages = expired.len(),
            "gave up messages without a link to db-proxy"
        );
        for sending in &expired {
            self.metrics.refused(Refusal::NoDbProxy);
            self.db.release(sending);
        }
    }
}
