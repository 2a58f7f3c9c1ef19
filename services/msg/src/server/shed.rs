//! Carrying out an order to shed sessions.
//!
//! As in a drain, clients see nothing but the end of the stream, on which every original client connects
//! again; a kick would keep it offline. Whoever has asked for nothing longest goes first, and nobody before
//! everything they have sent is acknowledged.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use tokio::time::{Duration, Instant, sleep};
use tracing::info;

use crate::clock::is_due;
use crate::connection::{CloseReason, Conn, Phase, Session};
use crate::gateway::Gateway;

/// Sessions are closed in portions this far apart.
const STEP: Duration = Duration::from_millis(50);

/// A session that is to go.
struct Candidate {
    conn: Weak<Conn>,
    /// When those with messages in flight are read no more, so that these come to an end.
    until: Option<Instant>,
}

/// What a look at a candidate says.
enum Look {
    /// It has ended by itself.
    Ended,
    /// Its messages are on their way: others go first.
    Busy,
    /// It is read no more.
    Leaves(Arc<Conn>),
}

impl Candidate {
    fn look(&mut self, now: Instant, patience: Duration) -> Look {
        let Some(conn) = self.conn.upgrade() else {
            return Look::Ended;
        };
        if conn.messages() > 0 && now < *self.until.get_or_insert(now + patience) {
            return Look::Busy;
        }
        if conn.step(Phase::Online, Phase::Draining) {
            Look::Leaves(conn)
        } else {
            Look::Ended
        }
    }
}

/// Carries out the order that was taken last.
pub(super) async fn run(gateway: Arc<Gateway>) {
    let Some(shedding) = gateway.sheds.last() else {
        return;
    };
    let order = shedding.order;
    let mut waiting = idlest(&gateway, order.sessions as usize).await;
    let chosen = u32::try_from(waiting.len()).unwrap_or(u32::MAX);
    gateway.sheds.change(|last| last.chosen = chosen);
    info!(
        key = order.key,
        chosen,
        per_second = order.per_second,
        "shedding sessions"
    );
    close(&gateway, &mut waiting, f64::from(order.per_second)).await;
    gateway.sheds.change(|last| last.is_over = true);
    gateway.env.metrics.shedding.set(0);
    if let Some(done) = gateway.sheds.last() {
        info!(
            key = order.key,
            gone = done.gone,
            ended = done.ended,
            "shed sessions"
        );
    }
}

/// Closes the waiting at a bounded rate, until all have gone, the order is stopped, or the server ends.
async fn close(gateway: &Arc<Gateway>, waiting: &mut VecDeque<Candidate>, rate: f64) {
    let patience = gateway.env.config.drain_pending.duration();
    // What a delayed step may catch up.
    let most = (rate * 2.0 * STEP.as_secs_f64()).max(1.0);
    let (mut allowance, mut last) = (1.0, Instant::now());
    let mut leaving: Vec<Arc<Conn>> = Vec::new();
    loop {
        let now = Instant::now();
        let since = now.saturating_duration_since(last).as_secs_f64();
        allowance = rate.mul_add(since, allowance).min(most);
        last = now;
        if gateway.sheds.last().is_some_and(|order| order.is_stopped) {
            waiting.clear();
        }
        let (mut looks, mut ended) = (waiting.len(), 0);
        while allowance >= 1.0
            && looks > 0
            && let Some(mut next) = waiting.pop_front()
        {
            looks -= 1;
            match next.look(now, patience) {
                Look::Ended => ended += 1,
                Look::Busy => waiting.push_back(next),
                Look::Leaves(conn) => {
                    allowance -= 1.0;
                    leaving.push(conn);
                }
            }
        }
        let before = leaving.len();
        leaving.retain(|conn| {
            let is_waiting = conn.messages() > 0;
            if !is_waiting {
                gateway.finish(conn, None, CloseReason::Finish);
            }
            is_waiting
        });
        let gone = u32::try_from(before - leaving.len()).unwrap_or(u32::MAX);
        gateway.env.metrics.shed_sessions.inc_by(gone.into());
        let rest = i64::try_from(waiting.len() + leaving.len()).unwrap_or(i64::MAX);
        gateway.env.metrics.shedding.set(rest);
        gateway.sheds.change(|order| {
            order.gone += gone;
            order.ended += ended;
        });
        if rest == 0 {
            return;
        }
        let stop = &gateway.env.stop;
        if stop.run_until_cancelled(sleep(STEP)).await.is_none() {
            return;
        }
    }
}

/// The sessions that have asked for nothing longest, so many at most, the longest first.
async fn idlest(gateway: &Gateway, most: usize) -> VecDeque<Candidate> {
    let now = gateway.env.now();
    let mut found: Vec<(u32, Weak<Conn>)> = Vec::new();
    let mut slice = 0;
    let add = |found: &mut Vec<(u32, Weak<Conn>)>, conn: &Arc<Conn>| {
        let active = conn.session().map_or(now, Session::active);
        // Whoever has just asked may be ahead of this clock's reading.
        let idle = if is_due(now, active) {
            now.wrapping_sub(active)
        } else {
            0
        };
        found.push((idle, Arc::downgrade(conn)));
    };
    while gateway.sessions.slice(slice, |conn| add(&mut found, conn)) {
        slice += 1;
        // Others get their turn between two slices.
        tokio::task::yield_now().await;
    }
    found.sort_unstable_by_key(|(idle, _)| Reverse(*idle));
    found.truncate(most);
    let candidate = |(_, conn)| Candidate { conn, until: None };
    found.into_iter().map(candidate).collect()
}
