//! An operator that starts and finds very many ImClusters: first new ones, then the same when they are ready.

use std::collections::BTreeMap;
use std::time::Duration;

use im_e2e_kube::wait::until;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::bench::Bench;
use crate::fleet::Fleet;
use crate::measure::{count, cpu_seconds, peak_mib, resident_mib};
use crate::operator::{Counters, Operator, settled};
use crate::pods::Pods;
use crate::quiet::{control_plane_cpu, more, node};
use crate::report::{Outcome, Row};
use crate::writes;

/// Figures.
pub(super) const ROWS: &[Row] = &[
    Row::plain("observed_s", "cold start to all ImClusters observed", "s").at_most(180.0),
    Row::plain("peak_mib", "RSS of the operator at its peak", "MiB").at_most(150.0),
    Row::plain("rss_mib", "RSS of the operator at rest", "MiB"),
    Row::plain("cpu_s", "CPU of the operator until all are observed", "s"),
    Row::plain("written_s", "cold start to the last write", "s"),
    Row::plain(
        "ready_s",
        "then until all are Ready, as their pods say so",
        "s",
    ),
    Row::plain(
        "again_s",
        "another start over Ready ones, to a look at each",
        "s",
    )
    .at_most(20.0),
    Row::plain("again_cpu_ms", "CPU of that start per ImCluster", "ms"),
    Row::plain("again_writes", "API writes of that start", "").at_most(0.0),
    Row::plain("clusters", "ImClusters", ""),
];

/// Without a write for so long, everything is done.
const REST: Duration = Duration::from_secs(10);
/// Longest wait for each step.
const LIMIT: Duration = Duration::from_mins(20);

/// Runs it.
pub(super) async fn run(bench: &mut Bench) -> anyhow::Result<Outcome> {
    let cluster = bench.quiet_cluster().await?;
    let layout = node(&cluster)?.layout().clone();
    let size = count(bench.sizes.thousand);
    let fleet = Fleet::new(&cluster, "thousand", bench.sizes.thousand).await?;
    let name = fleet.namespace.name();

    let before = control_plane_cpu(&cluster).await?;
    let (from, start) = (Timestamp::now(), Instant::now());
    let operator = fleet.operator(&bench.operator)?;
    if let Err(error) = fleet.observed(LIMIT).await {
        return Err(error.context(operator.log_tail()));
    }
    let observed = start.elapsed().as_secs_f64();
    let cpu_s = cpu_seconds(operator.pid())?;
    let after = control_plane_cpu(&cluster).await?;
    let counters = settled(Operator::admin(), REST, LIMIT).await?;
    let first = writes::of_operator(&layout, name, from, Timestamp::now())?;
    let last = first.last().map_or(from, |write| write.at);
    let mut figures = BTreeMap::from([
        ("observed_s", observed),
        ("cpu_s", cpu_s),
        ("peak_mib", peak_mib(operator.pid())?),
        ("rss_mib", resident_mib(operator.pid())?),
        ("written_s", last.duration_since(from).as_secs_f64()),
        ("clusters", size),
    ]);
    let start = Instant::now();
    let pods = Pods::run(&fleet.namespace);
    if let Err(error) = fleet.ready(LIMIT).await {
        return Err(error.context(operator.log_tail()));
    }
    figures.insert("ready_s", start.elapsed().as_secs_f64());
    settled(Operator::admin(), REST, LIMIT).await?;
    operator.stop().await?;
    let mut notes = vec![
        format!(
            "CPU until all were observed, on {} cores: operator {cpu_s:.1} s, {}",
            std::thread::available_parallelism().map_or(1, usize::from),
            more(&before, &after),
        ),
        format!(
            "{} writes ({}), {} reconciles, {} of them failed",
            first.len(),
            writes::summary(&first),
            counters.reconciles,
            counters.errors,
        ),
    ];

    let (from, start) = (Timestamp::now(), Instant::now());
    let operator = fleet.operator(&bench.operator)?;
    let counters = until("a look at each ImCluster", LIMIT, async || {
        let now = Counters::read(Operator::admin()).await.ok()?;
        (now.reconciles >= size && now.waiting < 0.5).then_some(now)
    })
    .await?;
    let again = start.elapsed().as_secs_f64();
    let cpu = cpu_seconds(operator.pid())?;
    operator.stop().await?;
    let written = writes::of_operator(&layout, name, from, Timestamp::now())?;
    figures.insert("again_s", again);
    figures.insert("again_cpu_ms", cpu * 1000.0 / size);
    figures.insert("again_writes", count(written.len()));
    notes.push(format!("another start: {} reconciles", counters.reconciles));
    if !written.is_empty() {
        notes.push(format!(
            "another start wrote: {}",
            writes::summary(&written)
        ));
    }
    drop(pods);
    fleet.remove().await?;
    Ok(Outcome { figures, notes })
}
