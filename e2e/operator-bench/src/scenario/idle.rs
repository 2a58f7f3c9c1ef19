//! What the operator does when there is nothing to do.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::bench::Bench;
use crate::installation::Replica;
use crate::measure::{self, count};
use crate::operator::settled;
use crate::quiet::node;
use crate::report::{Outcome, Row};
use crate::writes;

/// Figures.
pub(super) const ROWS: &[Row] = &[
    Row::plain("writes", "API writes, renewals of the Lease aside", "").at_most(0.0),
    Row::plain("cpu_mcore", "CPU of the operator", "mcore").at_most(1.0),
    Row::plain("rss_mib", "RSS of the operator", "MiB").at_most(25.0),
    Row::plain("peak_mib", "RSS of the operator at its peak", "MiB"),
    Row::plain(
        "waiting_cpu_mcore",
        "CPU of the replica without the Lease",
        "mcore",
    ),
    Row::plain(
        "waiting_rss_mib",
        "RSS of the replica without the Lease",
        "MiB",
    ),
    Row::plain("minutes", "time", "min"),
];

/// Without a write for so long, a new platform has come to rest.
const REST: Duration = Duration::from_secs(30);
/// Longest wait for that.
const LIMIT: Duration = Duration::from_mins(5);

/// Runs it.
pub(super) async fn run(bench: &mut Bench) -> anyhow::Result<Outcome> {
    let cluster = bench.cluster().await?;
    let layout = node(&cluster)?.layout().clone();
    let time = bench.sizes.idle;
    let installation = bench.installation().await?;
    let leader = installation.leader().await?;
    settled(leader.admin, REST, LIMIT).await?;
    let replicas = installation.operator().await?;
    let before = cpu(&replicas)?;
    let (from, start) = (Timestamp::now(), Instant::now());
    tokio::time::sleep(time).await;
    let (to, seconds) = (Timestamp::now(), start.elapsed().as_secs_f64());
    let after = cpu(&replicas)?;
    let still = installation.operator().await?;
    anyhow::ensure!(
        still
            .iter()
            .map(|it| (it.pid, it.leads))
            .eq(replicas.iter().map(|it| (it.pid, it.leads))),
        "an operator was restarted or lost its Lease"
    );
    let writes = writes::of_operator(&layout, installation.namespace.name(), from, to)?;
    let mut figures =
        BTreeMap::from([("writes", count(writes.len())), ("minutes", seconds / 60.0)]);
    for ((replica, before), after) in replicas.iter().zip(before).zip(after) {
        let mcore = (after - before) / seconds * 1000.0;
        let rss = measure::resident_mib(replica.pid)?;
        if replica.leads {
            figures.insert("cpu_mcore", mcore);
            figures.insert("rss_mib", rss);
            figures.insert("peak_mib", measure::peak_mib(replica.pid)?);
        } else {
            figures.insert("waiting_cpu_mcore", mcore);
            figures.insert("waiting_rss_mib", rss);
        }
    }
    figures
        .get("cpu_mcore")
        .context("no operator holds the Lease")?;
    let mut notes = Vec::new();
    if !writes.is_empty() {
        notes.push(format!("written: {}", writes::summary(&writes)));
    }
    Ok(Outcome { figures, notes })
}

fn cpu(replicas: &[Replica]) -> anyhow::Result<Vec<f64>> {
    replicas
        .iter()
        .map(|replica| measure::cpu_seconds(replica.pid))
        .collect()
}
