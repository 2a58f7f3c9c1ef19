//! One timer for all connections: login and idle timeouts, graces, and messages that wait too long.

use std::sync::Arc;

use im_core::TerminalClass;
use tokio::time::{Duration, Instant, MissedTickBehavior};

use crate::conn::{Conn, Phase};
use crate::metrics::Refusal;
use crate::shared::Shared;

/// Graces are looked at this often at least, milliseconds: the list is short.
const GRACE_TICK: u32 = 100;

/// Connections looked at before other tasks get a turn.
const SLICE: usize = 4_096;

/// Runs until the server stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let full = Duration::from_millis(shared.config.sweep_ms.into());
    let mut ticks = tokio::time::interval(Duration::from_millis(
        shared.config.sweep_ms.min(GRACE_TICK).into(),
    ));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        shared.cut_due(shared.now());
        if last.elapsed() < full {
            continue;
        }
        last = Instant::now();
        shared.expire_sends(shared.now());
        show_sizes(&shared);
        let mut from = 0;
        loop {
            let slice = shared.conns().slice(from, SLICE);
            let Some(conns) = slice else { break };
            let now = shared.now();
            for conn in &conns {
                check(&shared, conn, now);
            }
            from += SLICE;
            tokio::task::yield_now().await;
        }
    }
}

fn check(shared: &Shared, conn: &Conn, now: u32) {
    let config = &shared.config;
    let (limit, reason) = match (conn.phase(), conn.session()) {
        (Phase::Fresh | Phase::Asking, _) => (config.login_timeout_ms, Refusal::LoginTimeout),
        (Phase::Online, Some(session)) => {
            if conn.is_paused() {
                // Whoever is not read cannot show that he is there.
                conn.touch(now);
                return;
            }
            match session.class() {
                TerminalClass::Pc => (config.idle_pc_ms, Refusal::Idle),
                TerminalClass::Mobile => (config.idle_mobile_ms, Refusal::Idle),
            }
        }
        _ => return,
    };
    if Shared::is_due(now, conn.last().wrapping_add(limit)) {
        shared.metrics.refused(reason);
        conn.cut();
    }
}

fn show_sizes(shared: &Shared) {
    let (pending, in_flight) = shared.db.sizes();
    shared
        .metrics
        .pending_messages
        .set(i64::try_from(pending).unwrap_or(i64::MAX));
    shared
        .metrics
        .in_flight_calls
        .set(i64::try_from(in_flight).unwrap_or(i64::MAX));
}
