//! Load of the msg servers, as the login servers know it.
//!
//! Every `statusIntervalSeconds` one task per cluster asks each login pod for its table over plain
//! HTTP and keeps the newest row of each msg server. A read that fails leaves the last rows to
//! grow old: unknown is never taken for zero.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use im_operator_api::labels;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::cache::{Cache, ClusterKey};
use crate::kinds::Kind;
use crate::work_queue::WorkQueue;

mod http;
mod table;

pub(crate) use table::Row;

/// Reads of login pods at the same time, over all clusters: bounds memory to this many answers.
const READS: usize = 16;

/// What is known of one cluster's load.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Load {
    /// The newest row of each msg server, by its name, which is its pod's.
    pub(crate) rows: BTreeMap<String, Row>,
    /// When a login server last answered.
    pub(crate) read_at: Option<Timestamp>,
    /// Since when this process reads it.
    pub(crate) since: Option<Timestamp>,
}

/// Whether what is told of a load can be relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Knowledge {
    /// This process has just begun to read: what was known before still holds.
    #[default]
    NotYet,
    /// A login server answered lately.
    Known,
    /// No login server answers, or none is there.
    Unknown,
}

/// How a cluster's load is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) interval: Duration,
    /// A report older than this counts as none.
    pub(crate) stale_after: Duration,
    /// Admin port of the login pods.
    pub(crate) port: u16,
}

/// The readers of all clusters. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Loads {
    cache: Cache,
    work_queue: WorkQueue,
    known: Arc<Mutex<HashMap<ClusterKey, Known>>>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Known {
    load: Load,
    /// What of it was last worth a look.
    shown: Option<Visible>,
    reading: Reading,
    stop: CancellationToken,
}

impl Loads {
    pub(crate) fn new(
        cache: Cache,
        work_queue: WorkQueue,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            cache,
            work_queue,
            known: Arc::default(),
            permits: Arc::new(Semaphore::new(READS)),
            tasks,
            stop,
        }
    }

    /// What is known of a cluster, which is read from now on.
    pub(crate) fn follow(&self, cluster: &ClusterKey, reading: Reading) -> Load {
        let mut known = self.known();
        if let Some(known) = known.get_mut(cluster) {
            known.reading = reading;
            return known.load.clone();
        }
        let stop = self.stop.child_token();
        let load = Load {
            since: Some(Timestamp::now()),
            ..Load::default()
        };
        known.insert(
            cluster.clone(),
            Known {
                load: load.clone(),
                shown: None,
                reading,
                stop: stop.clone(),
            },
        );
        let loads = self.clone();
        let cluster = cluster.clone();
        self.tasks.spawn(async move {
            // Anything may be dropped here: it only reads.
            stop.run_until_cancelled(loads.read_for_ever(&cluster))
                .await;
        });
        load
    }

    /// Stops reading a cluster and forgets it.
    pub(crate) fn forget(&self, cluster: &ClusterKey) {
        if let Some(known) = self.known().remove(cluster) {
            known.stop.cancel();
        }
    }

    async fn read_for_ever(&self, cluster: &ClusterKey) {
        loop {
            let Some(reading) = self.known().get(cluster).map(|known| known.reading) else {
                return;
            };
            let started = Instant::now();
            let answers = self.read(cluster, reading).await;
            let now = Timestamp::now();
            let pods = self.msg_pods(cluster);
            let answered = !answers.is_empty();
            let news = self.known().get_mut(cluster).is_some_and(|known| {
                known.load.take(answers, now);
                known.load.rows.retain(|name, _| pods.contains_key(name));
                // What grows old between two reads is news as well.
                let visible = visible(&known.load, reading, now);
                let news = known.shown.as_ref() != Some(&visible);
                known.shown = Some(visible);
                news
            });
            if news {
                self.work_queue.add(cluster.clone());
            }
            // Clusters that started together drift apart.
            let spread = reading.interval.mul_f64(rand::random_range(0.95..1.05));
            // Until every ready msg pod is known, look a little sooner.
            let pause = if answered && self.is_complete(cluster, &pods) {
                spread
            } else {
                spread / 6
            };
            sleep(pause.saturating_sub(started.elapsed())).await;
        }
    }

    async fn read(&self, cluster: &ClusterKey, reading: Reading) -> Vec<Vec<table::Reported>> {
        let addresses: Vec<SocketAddr> = self
            .cache
            .children(cluster)
            .of(Kind::Pod)
            .filter_map(|(_, entry)| Some((entry, entry.detail.pod()?)))
            .filter(|(entry, pod)| {
                pod.labels
                    .get(labels::COMPONENT)
                    .is_some_and(|it| it == "login")
                    && pod.phase == "Running"
                    && !entry.seen.deleting
            })
            .filter_map(|(_, pod)| pod.ips.first()?.parse().ok())
            .map(|ip| SocketAddr::new(ip, reading.port))
            .collect();
        stream::iter(addresses)
            .map(|address| async move {
                let _permit = self.permits.acquire().await.ok()?;
                let answer = match http::get(address, "/debug/dump").await {
                    Ok(body) => table::parse(&body).map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                if let Err(error) = &answer {
                    debug!(%address, error, "load of a login server cannot be read");
                }
                answer.ok()
            })
            .buffer_unordered(READS)
            .filter_map(std::future::ready)
            .collect()
            .await
    }

    /// The msg pods, each with whether it is ready.
    fn msg_pods(&self, cluster: &ClusterKey) -> BTreeMap<String, bool> {
        self.cache
            .children(cluster)
            .of(Kind::Pod)
            .filter_map(|(name, entry)| Some((name, entry.detail.pod()?)))
            .filter(|(_, pod)| {
                pod.labels
                    .get(labels::COMPONENT)
                    .is_some_and(|it| it == "msg")
            })
            .map(|(name, pod)| (name.to_owned(), pod.ready))
            .collect()
    }

    fn is_complete(&self, cluster: &ClusterKey, pods: &BTreeMap<String, bool>) -> bool {
        let known = self.known();
        let Some(known) = known.get(cluster) else {
            return true;
        };
        let mut ready = pods.iter().filter(|(_, ready)| **ready);
        !known.load.rows.is_empty() && ready.all(|(name, _)| known.load.rows.contains_key(name))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<ClusterKey, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    /// Takes in what the login servers said at `now`.
    fn take(&mut self, answers: Vec<Vec<table::Reported>>, now: Timestamp) {
        if !answers.is_empty() {
            self.read_at = Some(now);
        }
        for reported in answers.into_iter().flatten() {
            let row = reported.row(now);
            match self.rows.get(&reported.server) {
                Some(old) if old.reported_at >= row.reported_at && old.state == row.state => {}
                Some(old) if old.reported_at > row.reported_at => {}
                _ => {
                    self.rows.insert(reported.server, row);
                }
            }
        }
    }

    /// Whether the load is known at `now`. It stops being so a little before its newest rows are
    /// too old, so that these are never taken for servers that have fallen silent.
    pub(crate) fn knowledge(&self, now: Timestamp, reading: Reading) -> Knowledge {
        let within = |since: Timestamp, limit: Duration| {
            jiff::SignedDuration::try_from(limit).is_ok_and(|it| now.duration_since(since) <= it)
        };
        let lately = reading.interval + reading.interval / 10 + reading.stale_after / 2;
        match (self.read_at, self.since) {
            (Some(read_at), _) if within(read_at, lately) => Knowledge::Known,
            (None, Some(since)) if within(since, reading.stale_after) => Knowledge::NotYet,
            _ => Knowledge::Unknown,
        }
    }

    /// The row of a msg server, if it is fresh.
    pub(crate) fn fresh(&self, server: &str, now: Timestamp, reading: Reading) -> Option<&Row> {
        // The row may be as old as the time between two reads on top.
        let limit = reading.stale_after + reading.interval + reading.interval / 10;
        let row = self.rows.get(server)?;
        let age = now.duration_since(row.reported_at);
        (age <= jiff::SignedDuration::try_from(limit).ok()?).then_some(row)
    }

    /// Connections of all fresh rows; `None` when none is fresh.
    pub(crate) fn connections(&self, now: Timestamp, reading: Reading) -> Option<i64> {
        let fresh: Vec<i64> = self
            .rows
            .keys()
            .filter_map(|server| self.fresh(server, now, reading))
            .map(|row| i64::from(row.connections))
            .collect();
        (!fresh.is_empty()).then(|| fresh.iter().sum())
    }
}

/// Rounds to two significant digits, so that an idle cluster is silent.
pub(crate) fn rounded(value: i64) -> i64 {
    let unit = unit(value);
    (value + unit / 2) / unit * unit
}

/// The same, but what is shown already stays until the value has left it by half of its last digit on top:
/// a value on the boundary between two rounded ones is silent as well.
pub(crate) fn steady(value: i64, shown: Option<i64>) -> i64 {
    let is_near = |shown: &i64| value.abs_diff(*shown) < unit(*shown).unsigned_abs();
    shown.filter(is_near).unwrap_or_else(|| rounded(value))
}

/// That of the second digit.
fn unit(value: i64) -> i64 {
    let mut unit = 1;
    while value / unit >= 100 {
        unit *= 10;
    }
    unit
}

/// What of a load shows somewhere.
type Visible = (Knowledge, Option<i64>, Vec<(String, String, i64)>);

/// What of a load shows somewhere: a change of it is worth a look.
fn visible(load: &Load, reading: Reading, now: Timestamp) -> Visible {
    let rows = load
        .rows
        .keys()
        .filter_map(|server| {
            let row = load.fresh(server, now, reading)?;
            let state = row.state.clone();
            Some((server.clone(), state, rounded(i64::from(row.connections))))
        })
        .collect();
    (
        load.knowledge(now, reading),
        load.connections(now, reading).map(rounded),
        rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const READING: Reading = Reading {
        interval: Duration::from_secs(30),
        stale_after: Duration::from_secs(10),
        port: 9090,
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn reported(server: &str, connections: u32, age_ms: u64) -> table::Reported {
        table::Reported::for_test(server, connections, age_ms)
    }

    #[test]
    fn two_significant_digits_are_kept() {
        for (value, expected) in [
            (0, 0),
            (7, 7),
            (99, 99),
            (104, 100),
            (105, 110),
            (41_234, 41_000),
        ] {
            assert_eq!(rounded(value), expected, "{value}");
        }
    }

    #[test]
    fn a_value_on_the_boundary_of_two_rounded_ones_is_written_once_at_most() {
        // 41,500 is the boundary; one percent around it, and one of the least values with a unit.
        for (low, high) in [(41_300, 41_700), (99, 101), (104, 106)] {
            let mut shown = None;
            let mut writes = 0;
            for read in 0..1_000 {
                let value = if read % 2 == 0 { low } else { high };
                let next = steady(value, shown);
                writes += u32::from(shown.is_some_and(|shown| shown != next));
                shown = Some(next);
            }
            assert!(writes <= 1, "{writes} writes around {low}");
        }
        for (value, shown, expected) in [
            (300, 290, 300),
            (299, 290, 290),
            (281, 290, 290),
            (280, 290, 280),
            (6, 5, 6),
            (0, 100, 0),
        ] {
            assert_eq!(steady(value, Some(shown)), expected, "{value} {shown}");
        }
    }

    #[test]
    fn the_newest_report_counts_and_failed_reads_are_not_zero() {
        let mut load = Load::default();
        load.take(
            vec![
                vec![reported("m-1", 5, 3_000)],
                vec![reported("m-1", 9, 1_000)],
            ],
            at(100),
        );
        assert_eq!(load.connections(at(100), READING), Some(9));
        load.take(vec![], at(110));
        assert_eq!(load.connections(at(110), READING), Some(9));
        assert_eq!(load.read_at, Some(at(100)));
        assert_eq!(load.connections(at(200), READING), None);
    }

    #[test]
    fn load_is_unknown_only_after_a_while_without_answers() {
        let mut load = Load {
            since: Some(at(100)),
            ..Load::default()
        };
        assert_eq!(load.knowledge(at(110), READING), Knowledge::NotYet);
        assert_eq!(load.knowledge(at(111), READING), Knowledge::Unknown);
        load.take(vec![vec![reported("m-1", 5, 2_000)]], at(120));
        assert_eq!(load.knowledge(at(120), READING), Knowledge::Known);
        // 30 s and a tenth, and half of 10 s.
        assert_eq!(load.knowledge(at(158), READING), Knowledge::Known);
        assert!(load.fresh("m-1", at(158), READING).is_some());
        assert_eq!(load.knowledge(at(159), READING), Knowledge::Unknown);
    }

    #[test]
    fn never_10_a_server_without_a_fresh_report_has_unknown_load() {
        let mut load = Load::default();
        load.take(vec![vec![reported("m-1", 5, 120_000)]], at(1_000));
        assert_eq!(load.fresh("m-1", at(1_000), READING), None);
        assert_eq!(load.fresh("m-2", at(1_000), READING), None);
        assert_eq!(load.connections(at(1_000), READING), None);
    }
}
