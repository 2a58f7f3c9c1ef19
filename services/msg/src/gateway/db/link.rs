//! The link to db-proxy: one at a time, batches out, results in.

use std::sync::Arc;

use im_proto_rpc::v1::{DbCalls, DbResults};
use im_rpc::{Link, PeerEvent};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{results, sessions};
use crate::gateway::calls::Caller;
use crate::gateway::handle;
use crate::gateway::inbox::Input;
use crate::gateway::state::Gateway;
use crate::metrics::Refusal;

/// Keeps one link in use; others that are up stand by.
pub(crate) async fn run(
    gateway: Arc<Gateway>,
    mut events: mpsc::Receiver<PeerEvent<DbCalls, DbResults>>,
) {
    let mut standby: Vec<Link<DbCalls, DbResults>> = Vec::new();
    let mut active = None;
    loop {
        if active.is_none()
            && let Some(link) = standby.pop()
        {
            let serving = serve(Arc::clone(&gateway), link);
            active = Some(gateway.env.tasks.spawn(serving));
        }
        let over = async {
            match &mut active {
                // A panic in the serving task ends the link like any other end.
                Some(task) => drop(task.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = gateway.env.stop.cancelled() => return,
            () = over => active = None,
            event = events.recv() => match event {
                Some(PeerEvent::Up(link)) => standby.insert(0, link),
                Some(PeerEvent::Down { .. }) => standby.retain(|link| !link.closed.is_cancelled()),
                None => return,
            },
        }
    }
}

async fn serve(gateway: Arc<Gateway>, link: Link<DbCalls, DbResults>) {
    let Link {
        tx,
        mut rx,
        peer,
        closed,
    } = link;
    info!(%peer, "db-proxy is linked");
    gateway.db.set_up(true);
    gateway
        .env
        .readiness
        .dependency(crate::env::DB_PROXY_LINK, true);
    gateway.load_changed();
    // What was published while there was no link may have passed by unseen.
    gateway.inbox.send(Input::WriterLinked).await;
    let over = closed.child_token();
    let sender = gateway
        .env
        .tasks
        .spawn(send_batches(Arc::clone(&gateway), tx, over.clone()));
    let telling = sessions::tell(Arc::clone(&gateway), over.clone());
    let telling = gateway.env.tasks.spawn(telling);
    gateway.db.wake();
    loop {
        let batch = tokio::select! {
            biased;
            batch = rx.recv() => batch,
            () = gateway.env.stop.cancelled() => None,
        };
        let Some(batch) = batch else { break };
        results::work(&gateway, batch).await;
    }
    over.cancel();
    drop(sender.await);
    drop(telling.await);
    if !gateway.env.stop.is_cancelled() {
        closed.cancel();
    }
    drop(rx);
    lost(&gateway).await;
}

/// Sends whatever gathers, as fast as the window and the link allow.
async fn send_batches(gateway: Arc<Gateway>, tx: mpsc::Sender<DbCalls>, over: CancellationToken) {
    loop {
        if over.run_until_cancelled(gateway.db.woken()).await.is_none() {
            return;
        }
        // Connections that are ready now add theirs to the same batch.
        tokio::task::yield_now().await;
        loop {
            let Some(Ok(permit)) = over.run_until_cancelled(tx.reserve()).await else {
                return;
            };
            let Some(batch) = gateway.db.take_batch() else {
                break;
            };
            permit.send(batch);
        }
    }
}

async fn lost(gateway: &Arc<Gateway>) {
    gateway.db.set_up(false);
    gateway
        .env
        .readiness
        .dependency(crate::env::DB_PROXY_LINK, false);
    gateway.load_changed();
    let (mut sendings, callers) = gateway.db.link_lost();
    warn!(
        given_up = sendings.len(),
        unanswered = callers.len(),
        "the link to db-proxy is lost"
    );
    for sending in &mut sendings {
        gateway.env.refuse(&mut sending.line, Refusal::NoDbProxy);
        gateway.db.release(sending);
    }
    for caller in callers {
        // Whatever was in flight on a lost link is never answered.
        gateway.db.done(&caller);
        match caller {
            Caller::Client { .. }
            | Caller::Told { .. }
            | Caller::Nobody
            | Caller::File { .. }
            | Caller::Sessions(_) => {}
            Caller::Login(mut attempt) => {
                if let Some(conn) = attempt.conn.upgrade() {
                    handle::refuse_no_db(gateway, &conn, &mut attempt);
                }
            }
            Caller::CatchUp => drop(gateway.inbox.send(Input::CatchUp(None)).await),
            Caller::Log => drop(gateway.inbox.send(Input::PageFailed).await),
            Caller::Related => drop(gateway.inbox.send(Input::RelatedFailed).await),
        }
    }
}
