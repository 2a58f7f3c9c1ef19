//! How far the figures of a run can be trusted: what the disk cost in the same seconds, what else used
//! the machine, whether the load generator kept up; and what the servers used meanwhile.

use std::path::Path;

use im_e2e::usage;
use tokio::time::Instant;

use crate::measure::{cpu_seconds, number};
use crate::probe::{Disk, Probe};
use crate::report::Figures;

/// Beyond these a run counts as disturbed and is repeated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// CPU that neither the servers nor the load generator used, percent of all cores.
    pub(crate) foreign_pct: f64,
    /// 99th percentile of how late messages with a fixed time were sent, milliseconds.
    pub(crate) late_ms: f64,
}

impl Bounds {
    /// What a machine with nothing else to do keeps. Interrupts that the kernel accounts to nobody are
    /// foreign too.
    pub(crate) const QUIET: Self = Self {
        foreign_pct: 10.0,
        late_ms: 1.0,
    };

    /// The same where the load itself takes most of the machine.
    pub(crate) const BUSY: Self = Self {
        foreign_pct: 10.0,
        late_ms: 5.0,
    };

    /// By how much a run went beyond the bounds: at most 1 is undisturbed.
    fn disturbance(self, run: &Figures) -> f64 {
        let part = |key: &str, most: f64| run.get(key).copied().unwrap_or_default() / most;
        part(FOREIGN, self.foreign_pct).max(part(LATE_P99, self.late_ms))
    }
}

/// Key of the foreign load, percent of all cores.
pub(crate) const FOREIGN: &str = "foreign_pct";
/// Key of the load generator's CPU, percent of one core.
pub(crate) const GENERATOR: &str = "generator_pct";
/// Key of the load generator's lateness, milliseconds.
pub(crate) const LATE_P99: &str = "late_p99_ms";
/// Keys of append + fdatasync in the same seconds, milliseconds.
pub(crate) const DISK_P50: &str = "fdatasync_p50_ms";
/// The 99th percentile of it.
pub(crate) const DISK_P99: &str = "fdatasync_p99_ms";

/// What has been used up to a moment, seconds of CPU, bytes and times.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    servers: f64,
    generator: f64,
    machine: f64,
    written: f64,
    sleeps: f64,
}

impl Usage {
    fn now(pids: &[u32], load: &[u32]) -> anyhow::Result<Self> {
        let mut usage = Self {
            generator: cpu_seconds(load)?,
            machine: usage::machine_cpu_seconds()?,
            ..Self::default()
        };
        for pid in pids {
            usage.written += number(usage::written_bytes(*pid)?);
            usage.sleeps += number(usage::sleeps(*pid)?);
        }
        // Last, so that reading the others is not part of what is measured from here on.
        usage.servers = cpu_seconds(pids)?;
        Ok(usage)
    }

    fn since(self, before: Self) -> Self {
        Self {
            servers: self.servers - before.servers,
            generator: self.generator - before.generator,
            machine: self.machine - before.machine,
            written: self.written - before.written,
            sleeps: self.sleeps - before.sleeps,
        }
    }
}

/// Watches the machine during a run.
#[derive(Debug)]
pub(crate) struct Watch {
    pids: Vec<u32>,
    /// This process and its helpers.
    load: Vec<u32>,
    probe: Probe,
    before: Usage,
    start: Instant,
}

impl Watch {
    /// Begins with the servers' processes and those that help to make the load; `dir` lies on the
    /// servers' disk.
    pub(crate) fn begin(pids: Vec<u32>, helpers: &[u32], dir: &Path) -> anyhow::Result<Self> {
        let load = [&[std::process::id()], helpers].concat();
        let probe = Probe::start(dir)?;
        let before = Usage::now(&pids, &load)?;
        Ok(Self {
            pids,
            load,
            probe,
            before,
            start: Instant::now(),
        })
    }

    /// What was used since.
    pub(crate) fn end(self) -> anyhow::Result<Conditions> {
        let seconds = self.start.elapsed().as_secs_f64();
        let used = Usage::now(&self.pids, &self.load)?.since(self.before);
        Ok(Conditions {
            seconds,
            used,
            disk: self.probe.end()?,
        })
    }
}

/// What was used in a run, and by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions {
    /// Length of the run.
    pub(crate) seconds: f64,
    used: Usage,
    disk: Disk,
}

impl Conditions {
    /// Percent of all cores that neither the servers nor this program used.
    fn foreign_pct(&self, cores: f64) -> f64 {
        let used = &self.used;
        let foreign = used.machine - used.servers - used.generator;
        foreign.max(0.0) / self.seconds.max(1e-3) / cores * 100.0
    }

    /// Adds them to the figures of a run that did so many operations.
    pub(crate) fn add_to(&self, figures: &mut Figures, operations: f64) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let each = |sum: f64| sum / operations.max(1.0);
        figures.extend([
            ("cpu_us", each(self.used.servers) * 1e6),
            ("written_b", each(self.used.written)),
            ("sleeps", each(self.used.sleeps)),
            ("generator_us", each(self.used.generator) * 1e6),
            (
                GENERATOR,
                self.used.generator / self.seconds.max(1e-3) * 100.0,
            ),
            (FOREIGN, self.foreign_pct(number(cores as u64))),
            (DISK_P50, self.disk.p50),
            (DISK_P99, self.disk.p99),
        ]);
    }
}

/// The runs of a scenario.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// Figures of those that count.
    pub(crate) kept: Vec<Figures>,
    /// Further ones that were disturbed and left out.
    pub(crate) repeated: usize,
    /// How many count although they were disturbed, since there were no better ones.
    pub(crate) disturbed: usize,
}

impl From<Vec<Figures>> for Runs {
    fn from(kept: Vec<Figures>) -> Self {
        Self {
            kept,
            ..Self::default()
        }
    }
}

impl Runs {
    /// Repeats until so many runs were undisturbed, at most as many times again; then the least
    /// disturbed ones count.
    pub(crate) async fn undisturbed(
        wanted: u32,
        repeats: u32,
        bounds: Bounds,
        mut once: impl AsyncFnMut() -> anyhow::Result<Figures>,
    ) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        let mut quiet = 0;
        for _ in 0..wanted + repeats {
            let run = once().await?;
            let disturbance = bounds.disturbance(&run);
            if disturbance <= 1.0 {
                quiet += 1;
            }
            all.push((disturbance, run));
            if quiet == wanted {
                break;
            }
        }
        Ok(Self::least_disturbed(all, wanted as usize))
    }

    fn least_disturbed(mut all: Vec<(f64, Figures)>, wanted: usize) -> Self {
        all.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let repeated = all.len().saturating_sub(wanted);
        all.truncate(wanted);
        let disturbed = all.iter().filter(|(by, _)| *by > 1.0).count();
        Self {
            kept: all.into_iter().map(|(_, run)| run).collect(),
            repeated,
            disturbed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(foreign: f64, late: f64) -> Figures {
        Figures::from([(FOREIGN, foreign), (LATE_P99, late), ("foreign", foreign)])
    }

    async fn repeat(outcomes: &[(f64, f64)], wanted: u32, repeats: u32) -> (Runs, usize) {
        let mut made = 0;
        let runs = Runs::undisturbed(wanted, repeats, Bounds::QUIET, async || {
            let (foreign, late) = outcomes[made];
            made += 1;
            Ok(run(foreign, late))
        })
        .await
        .unwrap();
        (runs, made)
    }

    #[tokio::test]
    async fn a_quiet_machine_repeats_nothing() {
        let (runs, made) = repeat(&[(1.0, 0.1), (10.0, 1.0)], 2, 2).await;
        assert_eq!((made, runs.repeated, runs.disturbed), (2, 0, 0));
    }

    #[tokio::test]
    async fn a_disturbed_run_is_repeated_and_left_out() {
        let outcomes = [(50.0, 0.1), (2.0, 0.2), (2.0, 9.0), (3.0, 0.3)];
        let (runs, made) = repeat(&outcomes, 2, 2).await;
        assert_eq!((made, runs.repeated, runs.disturbed), (4, 2, 0));
        assert!(runs.kept.iter().all(|run| run["foreign"] < 10.0));
    }

    #[tokio::test]
    async fn where_it_is_never_quiet_the_least_disturbed_count_and_say_so() {
        let outcomes = [(50.0, 0.0), (20.0, 0.0), (5.0, 0.5), (90.0, 0.0)];
        let (runs, made) = repeat(&outcomes, 2, 2).await;
        assert_eq!((made, runs.repeated, runs.disturbed), (4, 2, 1));
        let kept: Vec<f64> = runs.kept.iter().map(|run| run["foreign"]).collect();
        assert_eq!(kept, [5.0, 20.0]);
    }

    #[test]
    fn what_nobody_here_used_is_foreign() {
        let conditions = Conditions {
            seconds: 10.0,
            used: Usage {
                servers: 4.0,
                generator: 2.0,
                machine: 9.0,
                written: 4_000.0,
                sleeps: 50.0,
            },
            disk: Disk { p50: 0.2, p99: 0.4 },
        };
        assert!((conditions.foreign_pct(2.0) - 15.0).abs() < 1e-9);
        let mut figures = Figures::new();
        conditions.add_to(&mut figures, 100.0);
        let near = |key: &str, value: f64| (figures[key] - value).abs() < 1e-6;
        assert!(near("cpu_us", 40_000.0) && near("written_b", 40.0) && near("sleeps", 0.5));
        assert!(near(GENERATOR, 20.0) && near(DISK_P50, 0.2) && near(DISK_P99, 0.4));
    }

    #[test]
    fn more_used_than_the_machine_has_counted_is_no_foreign_load() {
        let conditions = Conditions {
            seconds: 1.0,
            used: Usage {
                servers: 1.0,
                ..Usage::default()
            },
            disk: Disk::default(),
        };
        assert!(conditions.foreign_pct(2.0).abs() < 1e-9);
    }

    #[tokio::test]
    async fn a_process_that_computes_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let this = std::process::id();
        let watch = Watch::begin(vec![this], &[], dir.path()).unwrap();
        let enough = usage::cpu_seconds(this).unwrap() + 0.03;
        while usage::cpu_seconds(this).unwrap() < enough {}
        let mut figures = Figures::new();
        watch.end().unwrap().add_to(&mut figures, 1.0);
        assert!(figures["cpu_us"] >= 29_000.0, "{figures:?}");
        assert!(figures[GENERATOR] > 0.0 && figures[DISK_P50] > 0.0);
    }
}
