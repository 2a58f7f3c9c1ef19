//! How soon a change of a specification reaches the first child.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use crate::bench::{Bench, Sizes};
use crate::fleet::{Fleet, owner};
use crate::measure::{count, percentile, resident_mib};
use crate::operator::{Operator, settled};
use crate::quiet::{control_plane_cpu, more, node};
use crate::report::{Outcome, Row};
use crate::writes::{self, Write};

/// Figures.
pub(super) const ROWS: &[Row] = &[
    Row::plain(
        "p99_ms",
        "specification changed to first child written, p99",
        "ms",
    )
    .at_most(1000.0),
    Row::plain("p50_ms", "the same, p50", "ms"),
    Row::plain("most_ms", "the same, longest", "ms"),
    Row::plain("changes", "changes", ""),
    Row::plain("clusters", "ImClusters", ""),
    Row::plain("rss_mib", "RSS of the operator", "MiB"),
];

/// Without a write for so long, everything is done.
const REST: Duration = Duration::from_secs(5);
/// Longest wait for that.
const LIMIT: Duration = Duration::from_mins(10);

/// A change of a specification.
#[derive(Clone, Debug)]
struct Change {
    cluster: String,
    /// Just before it was sent.
    at: Timestamp,
}

/// Runs it.
pub(super) async fn run(bench: &mut Bench) -> anyhow::Result<Outcome> {
    let cluster = bench.quiet_cluster().await?;
    let layout = node(&cluster)?.layout().clone();
    let fleet = Fleet::new(&cluster, "reaction", bench.sizes.clusters).await?;
    let operator = fleet.operator(&bench.operator)?;
    let came_to_rest = async {
        fleet.observed(LIMIT).await?;
        settled(Operator::admin(), REST, LIMIT).await
    };
    if let Err(error) = came_to_rest.await {
        return Err(error.context(operator.log_tail()));
    }
    let before = control_plane_cpu(&cluster).await?;
    let from = Timestamp::now();
    let changes = make(&fleet, &bench.sizes).await?;
    settled(Operator::admin(), REST, LIMIT).await?;
    let after = control_plane_cpu(&cluster).await?;
    let rss_mib = resident_mib(operator.pid())?;
    operator.stop().await?;
    let name = fleet.namespace.name();
    let writes = writes::of_operator(&layout, name, from, Timestamp::now())?;
    fleet.remove().await?;

    let times = reactions(&changes, &writes);
    anyhow::ensure!(!times.is_empty(), "no change led to a write");
    let mut notes = vec![format!(
        "{:.1} changes per second, {} writes of the operator; CPU meanwhile: {}",
        1.0 / bench.sizes.pause.as_secs_f64(),
        writes.len(),
        more(&before, &after),
    )];
    if times.len() < changes.len() {
        let lost = changes.len() - times.len();
        notes.push(format!("{lost} changes were followed by no write"));
    }
    Ok(Outcome {
        figures: BTreeMap::from([
            ("p99_ms", percentile(&times, 0.99)),
            ("p50_ms", percentile(&times, 0.5)),
            ("most_ms", percentile(&times, 1.0)),
            ("changes", count(changes.len())),
            ("clusters", count(bench.sizes.clusters)),
            ("rss_mib", rss_mib),
        ]),
        notes,
    })
}

/// Changes one ImCluster after the other, at a steady pace.
async fn make(fleet: &Fleet, sizes: &Sizes) -> anyhow::Result<Vec<Change>> {
    let mut ticks = interval(sizes.pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changes = Vec::new();
    for (number, name) in fleet.names.iter().cycle().take(sizes.changes).enumerate() {
        ticks.tick().await;
        let at = Timestamp::now();
        let round = number / fleet.names.len();
        let level = if round.is_multiple_of(2) {
            "warn"
        } else {
            "info"
        };
        fleet.change(name, level).await?;
        changes.push(Change {
            cluster: name.clone(),
            at,
        });
    }
    Ok(changes)
}

/// How long each change took to its first child; those that led to none are left out.
fn reactions(changes: &[Change], writes: &[Write]) -> Vec<Duration> {
    let mut by_cluster: BTreeMap<&str, Vec<Timestamp>> = BTreeMap::new();
    for write in writes.iter().filter(|write| write.child) {
        by_cluster
            .entry(owner(&write.name))
            .or_default()
            .push(write.at);
    }
    let reaction = |change: &Change| {
        let written = by_cluster.get(change.cluster.as_str())?;
        let first = written.iter().find(|at| **at > change.at)?;
        Duration::try_from(first.duration_since(change.at)).ok()
    };
    changes.iter().filter_map(reaction).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + millis).unwrap()
    }

    fn change(cluster: &str, millis: i64) -> Change {
        Change {
            cluster: cluster.to_owned(),
            at: at(millis),
        }
    }

    fn write(name: &str, millis: i64, child: bool) -> Write {
        Write {
            at: at(millis),
            what: "patch configmaps".to_owned(),
            name: name.to_owned(),
            child,
        }
    }

    #[test]
    fn a_change_is_held_against_the_first_child_of_its_own_cluster() {
        let writes = [
            write("c2-route", 5, true),
            write("c1", 10, false),
            write("c1-db-proxy", 150, true),
            write("c1-db-proxy", 170, true),
            write("c1-db-proxy", 1_300, true),
        ];
        let changes = [change("c1", 0), change("c1", 1_000), change("c2", 6)];
        let expected = [150, 300].map(Duration::from_millis);
        assert_eq!(reactions(&changes, &writes), expected);
    }
}
