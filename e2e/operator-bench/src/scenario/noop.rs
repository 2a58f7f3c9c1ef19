//! What a look at a platform costs that is as it should be.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use crate::bench::Bench;
use crate::measure::{self, count};
use crate::operator::{at_rest, settled};
use crate::quiet::node;
use crate::report::{Outcome, Row};
use crate::writes;

/// Figures.
pub(super) const ROWS: &[Row] = &[
    Row::plain(
        "cpu_ms",
        "CPU of a reconcile that finds nothing to do",
        "ms",
    )
    .at_most(10.0),
    Row::plain("writes", "API writes of all of them", "").at_most(0.0),
    Row::plain("reconciles", "reconciles", ""),
];

/// Between two touches: longer than the operator gathers changes, so that each makes it look.
const PAUSE: Duration = Duration::from_millis(300);
/// Without a write for so long, nothing is left to do.
const REST: Duration = Duration::from_secs(10);
/// Without a look for so long, the last touch was seen.
const LOOKED: Duration = Duration::from_secs(2);
/// Longest wait for each.
const LIMIT: Duration = Duration::from_mins(5);

/// Runs it.
pub(super) async fn run(bench: &mut Bench) -> anyhow::Result<Outcome> {
    let cluster = bench.cluster().await?;
    let layout = node(&cluster)?.layout().clone();
    let touches = bench.sizes.touches;
    let installation = bench.installation().await?;
    let leader = installation.leader().await?;
    let before = settled(leader.admin, REST, LIMIT).await?;
    let (from, cpu) = (Timestamp::now(), measure::cpu_seconds(leader.pid)?);
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0..touches {
        ticks.tick().await;
        installation.touch(&number.to_string())?;
    }
    let after = at_rest(leader.admin, LOOKED, LIMIT).await?;
    let cpu = measure::cpu_seconds(leader.pid)? - cpu;
    let to = Timestamp::now();
    let reconciles = after.reconciles - before.reconciles;
    let writes = writes::of_operator(&layout, installation.namespace.name(), from, to)?;
    let mut notes = Vec::new();
    if reconciles < count(touches) {
        notes.push(format!(
            "{touches} touches, some of which fell into one look"
        ));
    }
    if !writes.is_empty() {
        notes.push(format!("written: {}", writes::summary(&writes)));
    }
    Ok(Outcome {
        figures: BTreeMap::from([
            ("cpu_ms", cpu * 1000.0 / reconciles),
            ("writes", count(writes.len())),
            ("reconciles", reconciles),
        ]),
        notes,
    })
}
