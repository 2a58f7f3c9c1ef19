//! Leaving: first nobody is sent here any more, then connections are closed at a bounded rate.
//!
//! Clients see nothing but the end of the stream: no invented frame, no kick (after which original
//! clients stay offline), no failing login answer.

use std::sync::Arc;

use tokio::time::{Duration, Instant};
use tracing::{info, warn};

use crate::connection::{CloseReason, Conn, Phase};
use crate::gateway::Gateway;

/// Connections are closed in portions this far apart.
const STEP: Duration = Duration::from_millis(50);

/// Slots looked at in one go.
const SLICE: usize = 1_024;

/// Says that this server is going away and waits until the login servers have heard it.
pub(super) async fn announce(gateway: &Gateway) {
    info!(sessions = gateway.sessions.len(), "draining");
    gateway.drain.begin();
    gateway.load_changed();
    let bound = gateway.env.config.drain_notice.duration();
    if tokio::time::timeout(bound, gateway.drain.all_have_seen())
        .await
        .is_err()
    {
        warn!("not every login server has seen that this server is going away");
    }
}

/// Closes all connections, each after its messages are acknowledged: `drain_rate` a second, or as
/// many more as `drain_time` asks for.
pub(super) async fn close_all(gateway: &Arc<Gateway>) {
    let config = &gateway.env.config;
    let total = gateway.connections.len();
    let least = total / config.drain_time.as_seconds_u32().max(1) + 1;
    let rate = f64::from(config.drain_rate.max(least));
    let start = Instant::now();
    let end = start + config.drain_time.duration();
    let patience = config.drain_pending.duration();
    let mut open = Open::default();
    let mut leaving: Vec<(Arc<Conn>, Instant)> = Vec::new();
    let mut closed = 0.0;
    loop {
        let due = rate * (start.elapsed() + STEP).as_secs_f64();
        while closed < due
            && let Some(conn) = open.next(gateway)
        {
            closed += 1.0;
            // One that is being shed waits for its messages already.
            if conn.step(Phase::Online, Phase::Draining) || conn.phase() == Phase::Draining {
                leaving.push((conn, Instant::now() + patience));
            } else {
                gateway.finish(&conn, None, CloseReason::Finish);
            }
        }
        let now = Instant::now();
        leaving.retain(|(conn, until)| {
            let is_waiting = conn.messages() > 0 && now < *until;
            if !is_waiting {
                gateway.finish(conn, None, CloseReason::Finish);
            }
            is_waiting
        });
        let is_done = open.is_over && leaving.is_empty();
        if is_done || now >= end + patience {
            break;
        }
        tokio::time::sleep(STEP).await;
    }
    // The last bytes and the clients' own ends.
    let last = Instant::now() + config.close_grace.duration() + Duration::from_millis(200);
    while gateway.connections.len() > 0 && Instant::now() < last {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut from = 0;
    loop {
        let Some(slice) = gateway.connections.slice(from, SLICE) else {
            break;
        };
        for conn in &slice {
            conn.cut();
        }
        from += SLICE;
    }
    // Route servers hear of every session that ended, so that nobody looks online any longer.
    let heard = Instant::now() + Duration::from_millis(200);
    while Instant::now() < heard
        && gateway
            .routes
            .table()
            .links()
            .iter()
            .any(|link| link.waiting() > 0)
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The open connections, each once.
#[derive(Default)]
struct Open {
    from: usize,
    slice: Vec<Arc<Conn>>,
    is_over: bool,
}

impl Open {
    fn next(&mut self, gateway: &Gateway) -> Option<Arc<Conn>> {
        while self.slice.is_empty() {
            let Some(slice) = gateway.connections.slice(self.from, SLICE) else {
                self.is_over = true;
                return None;
            };
            self.from += SLICE;
            self.slice = slice;
        }
        self.slice.pop()
    }
}
