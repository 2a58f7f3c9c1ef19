//! Tells db-proxy of sessions that come and go, while it asks to be told.
//!
//! One message is under way at a time. What comes meanwhile waits with the registry, which remembers the newest
//! 512; beyond them it is counted, and db-proxy is told how many it were.

use std::sync::Arc;

use im_proto_rpc::v1::{SessionEvent, SessionsTold};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio_util::sync::CancellationToken;

use crate::gateway::state::Gateway;

/// Sessions of one message.
const MAX_BATCH: usize = 500;

/// Tells until the link is over.
pub(super) async fn tell(gateway: Arc<Gateway>, over: CancellationToken) {
    over.run_until_cancelled(tell_on(&gateway)).await;
}

async fn tell_on(gateway: &Gateway) {
    let mut wanted = gateway.db.sessions_wanted();
    while wanted.wait_for(|is_wanted| *is_wanted).await.is_ok() {
        let events = gateway.sessions.events();
        tokio::select! {
            () = tell_all(gateway, events) => return,
            _ = wanted.wait_for(|is_wanted| !is_wanted) => {}
        }
    }
}

/// Returns when db-proxy does not answer any more.
async fn tell_all(gateway: &Gateway, mut events: Receiver<SessionEvent>) {
    let mut told = SessionsTold::default();
    loop {
        match events.recv().await {
            Ok(event) => told.events.push(event),
            Err(RecvError::Lagged(missed)) => {
                told.left_out = told.left_out.saturating_add(missed);
                continue;
            }
            Err(RecvError::Closed) => return,
        }
        while told.events.len() < MAX_BATCH {
            match events.try_recv() {
                Ok(event) => told.events.push(event),
                Err(TryRecvError::Lagged(missed)) => {
                    told.left_out = told.left_out.saturating_add(missed);
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let known = gateway.db.tell_sessions(std::mem::take(&mut told));
        if known.await.is_err() {
            return;
        }
    }
}
