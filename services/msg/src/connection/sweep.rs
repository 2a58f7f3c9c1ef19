//! One timer for all connections: login and idle timeouts, and graces.

use std::sync::Arc;

use im_core::TerminalClass;
use tokio::time::{Duration, Instant, MissedTickBehavior};

use super::conn::{Conn, Phase};
use super::read::Upper;
use super::table::Connections;
use crate::clock::is_due;
use crate::env::Env;
use crate::metrics::Refusal;

/// Graces are looked at this often at least: the list is short.
const GRACE_TICK: Duration = Duration::from_millis(100);

/// Connections looked at before other tasks get a turn.
const SLICE: usize = 4_096;

/// Runs until the server stops.
pub(crate) async fn run<U: Upper>(upper: Arc<U>, connections: Arc<Connections>) {
    let env = &connections.output.env;
    let full = env.config.sweep_interval.duration();
    let mut ticks = tokio::time::interval(full.min(GRACE_TICK));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        tokio::select! {
            () = env.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        for conn in connections.output.closes.due(env.now()) {
            conn.cut();
        }
        if last.elapsed() < full {
            continue;
        }
        last = Instant::now();
        upper.swept(env.now());
        let mut shard = 0;
        while upper.meters().retire(shard, &env.config.meter, env.now()) {
            shard += 1;
            tokio::task::yield_now().await;
        }
        let mut from = 0;
        loop {
            let slice = connections.slice(from, SLICE);
            let Some(conns) = slice else { break };
            let now = env.now();
            for conn in &conns {
                check(env, conn, now);
            }
            from += SLICE;
            tokio::task::yield_now().await;
        }
    }
}

fn check(env: &Env, conn: &Conn, now: u32) {
    let config = &env.config;
    let (limit, reason) = match (conn.phase(), conn.session()) {
        (Phase::Fresh | Phase::Asking, _) => (config.login_timeout, Refusal::LoginTimeout),
        (Phase::Online, Some(session)) => {
            if conn.is_paused() && !conn.is_stalled() {
                // Whoever is not read cannot show that they are there.
                conn.touch(now);
                return;
            }
            match session.class() {
                TerminalClass::Pc => (config.idle_pc, Refusal::Idle),
                TerminalClass::Mobile => (config.idle_mobile, Refusal::Idle),
            }
        }
        _ => return,
    };
    if is_due(now, conn.last().wrapping_add(limit.as_millis_u32())) {
        env.metrics.refused(reason);
        conn.cut();
    }
}
