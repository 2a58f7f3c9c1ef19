//! The table and the JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use serde_json::json;

use crate::bench::Plan;
use crate::scenario::Scenario;
use crate::servers::Topology;

/// Figures of one run by key.
pub(crate) type Figures = BTreeMap<&'static str, f64>;

/// A figure of a scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Key in [`Figures`] and JSON.
    pub(crate) key: &'static str,
    /// What it is.
    pub(crate) label: &'static str,
    /// Unit of the figure.
    pub(crate) unit: &'static str,
    /// What it should be.
    pub(crate) target: Target,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// Nothing in particular.
    None,
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

impl Row {
    /// A figure without target.
    pub(crate) const fn plain(key: &'static str, label: &'static str, unit: &'static str) -> Self {
        Self {
            key,
            label,
            unit,
            target: Target::None,
        }
    }

    /// The same with a target.
    #[must_use]
    pub(crate) const fn with(mut self, target: Target) -> Self {
        self.target = target;
        self
    }
}

impl Target {
    fn met(self, value: f64) -> Option<bool> {
        match self {
            Self::None => None,
            Self::AtLeast(least) => Some(value >= least),
            Self::AtMost(most) => Some(value <= most),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::AtLeast(value) => write!(f, "≥ {}", short(*value)),
            Self::AtMost(value) => write!(f, "≤ {}", short(*value)),
        }
    }
}

/// Median and range of a figure over the runs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(runs: &[Figures], key: &str) -> Option<Self> {
        let mut values: Vec<f64> = runs
            .iter()
            .filter_map(|run| run.get(key).copied())
            .collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let upper = *values.get(values.len() / 2)?;
        let lower = *values.get(last / 2)?;
        Some(Self {
            median: f64::midpoint(lower, upper),
            least: *values.first()?,
            most: *values.last()?,
        })
    }
}

/// One scenario on one topology.
pub(crate) struct Entry {
    scenario: Scenario,
    topology: Topology,
    runs: Vec<Figures>,
    failure: Option<String>,
}

impl Entry {
    pub(crate) fn new(
        scenario: Scenario,
        topology: Topology,
        outcome: anyhow::Result<Vec<Figures>>,
    ) -> Self {
        let (runs, failure) = match outcome {
            Ok(runs) => (runs, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        Self {
            scenario,
            topology,
            runs,
            failure,
        }
    }

    /// Label, median, range, target and verdict of each figure.
    fn lines(&self) -> Vec<[String; 5]> {
        self.scenario
            .rows()
            .iter()
            .filter_map(|row| {
                let spread = Spread::of(&self.runs, row.key)?;
                let verdict = match row.target.met(spread.median) {
                    None => "",
                    Some(true) => "met",
                    Some(false) => "missed",
                };
                Some([
                    row.label.to_owned(),
                    format!("{} {}", short(spread.median), row.unit),
                    format!("{} – {}", short(spread.least), short(spread.most)),
                    row.target.to_string(),
                    verdict.to_owned(),
                ])
            })
            .collect()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(failure) = &self.failure {
            writeln!(f, "  FAILED: {failure}")?;
        }
        for [label, median, range, target, verdict] in self.lines() {
            writeln!(f, "  {label}: {median} ({range}) {target} {verdict}")?;
        }
        Ok(())
    }
}

/// Everything that was measured.
pub(crate) struct Report {
    pub(crate) entries: Vec<Entry>,
    machine: BTreeMap<&'static str, String>,
    runs: u32,
    seconds: u64,
    small: bool,
}

impl Report {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            entries: Vec::new(),
            machine: machine(),
            runs: plan.runs,
            seconds: plan.seconds,
            small: plan.small,
        }
    }

    /// A table in Markdown.
    pub(crate) fn table(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        for (what, value) in &self.machine {
            writeln!(out, "{what}: {value}")?;
        }
        writeln!(
            out,
            "median (range) of {} runs of {} s{}\n",
            self.runs,
            self.seconds,
            if self.small { ", SMALL" } else { "" }
        )?;
        out.push_str("| Work | Figure | all-in-one | separate processes | Target |\n");
        out.push_str("|---|---|---|---|---|\n");
        for scenario in Scenario::ALL {
            let of = |topology| {
                self.entries
                    .iter()
                    .find(|entry| entry.scenario == scenario && entry.topology == topology)
            };
            let (one, separate) = (of(Topology::AllInOne), of(Topology::Separate));
            if one.is_none() && separate.is_none() {
                continue;
            }
            for row in scenario.rows() {
                writeln!(
                    out,
                    "| {} | {} | {} | {} | {} |",
                    scenario.describe(),
                    row.label,
                    cell(one, row),
                    cell(separate, row),
                    row.target
                )?;
            }
        }
        Ok(out)
    }

    /// All figures of all runs.
    pub(crate) fn json(&self) -> anyhow::Result<String> {
        let results: Vec<serde_json::Value> = self
            .entries
            .iter()
            .map(|entry| {
                let figures: BTreeMap<&str, serde_json::Value> = entry
                    .scenario
                    .rows()
                    .iter()
                    .filter_map(|row| {
                        let spread = Spread::of(&entry.runs, row.key)?;
                        let met = row.target.met(spread.median);
                        let value = json!({
                            "label": row.label,
                            "unit": row.unit,
                            "median": spread.median,
                            "min": spread.least,
                            "max": spread.most,
                            "target": row.target.to_string(),
                            "met": met,
                        });
                        Some((row.key, value))
                    })
                    .collect();
                json!({
                    "scenario": entry.scenario.name(),
                    "topology": entry.topology.name(),
                    "figures": figures,
                    "runs": entry.runs,
                    "failure": entry.failure,
                })
            })
            .collect();
        let all = json!({
            "machine": self.machine,
            "runs": self.runs,
            "seconds": self.seconds,
            "small": self.small,
            "results": results,
        });
        serde_json::to_string_pretty(&all).context("write JSON")
    }

    /// Fails when a scenario could not be run or broke a promise. A missed target is no failure.
    pub(crate) fn verdict(&self) -> anyhow::Result<()> {
        let failed: Vec<String> = self
            .entries
            .iter()
            .filter(|entry| entry.failure.is_some())
            .map(|entry| format!("{} ({})", entry.scenario.name(), entry.topology.name()))
            .collect();
        if !failed.is_empty() {
            bail!("scenarios failed: {}", failed.join(", "));
        }
        Ok(())
    }
}

fn cell(entry: Option<&Entry>, row: &Row) -> String {
    let Some(entry) = entry else {
        return "–".to_owned();
    };
    if entry.failure.is_some() {
        return "failed".to_owned();
    }
    let Some(spread) = Spread::of(&entry.runs, row.key) else {
        return "–".to_owned();
    };
    let mark = match row.target.met(spread.median) {
        Some(false) => " **missed**",
        Some(true) | None => "",
    };
    format!(
        "{} {} ({} – {}){mark}",
        short(spread.median),
        row.unit,
        short(spread.least),
        short(spread.most)
    )
}

/// Three significant digits, whole numbers from a hundred on.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.9995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// What the figures were measured on.
fn machine() -> BTreeMap<&'static str, String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map(|(_, name)| name.trim().to_owned())
        .unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
    BTreeMap::from([
        ("cpu", format!("{cores} × {cpu}")),
        ("kernel", format!("Linux {kernel}")),
        ("disk", file_system(&read("/proc/mounts"))),
    ])
}

/// The file system below the temporary directory: the longest mount point that holds it.
fn file_system(mounts: &str) -> String {
    let dir = std::env::temp_dir();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let (point, kind) = (fields.next()?, fields.next()?);
            dir.starts_with(point).then_some((point.len(), kind))
        })
        .max()
        .map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(values: &[f64]) -> Vec<Figures> {
        values
            .iter()
            .map(|value| Figures::from([("rate", *value)]))
            .collect()
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let spread = Spread::of(&runs(&[4.0, 1.0, 3.0, 2.0]), "rate").unwrap();
        assert!((spread.median - 2.5).abs() < 1e-9);
        let spread = Spread::of(&runs(&[9.0, 1.0, 3.0]), "rate").unwrap();
        assert!((spread.median - 3.0).abs() < 1e-9);
        assert!((spread.least - 1.0).abs() < 1e-9 && (spread.most - 9.0).abs() < 1e-9);
        assert_eq!(Spread::of(&[], "rate"), None);
    }

    #[test]
    fn targets_are_judged_by_the_median() {
        assert_eq!(Target::AtLeast(3.0).met(3.0), Some(true));
        assert_eq!(Target::AtMost(3.0).met(3.1), Some(false));
        assert_eq!(Target::None.met(3.0), None);
    }

    #[test]
    fn a_failed_scenario_fails_the_report_and_a_missed_target_does_not() {
        let plan = Plan {
            scenarios: Vec::new(),
            topologies: Vec::new(),
            runs: 1,
            seconds: 1,
            small: true,
        };
        let mut report = Report::new(&plan);
        let missed = Figures::from([("ready_ms", 10_000.0)]);
        let entry = Entry::new(Scenario::Startup, Topology::AllInOne, Ok(vec![missed]));
        report.entries.push(entry);
        report.verdict().unwrap();
        assert!(report.table().unwrap().contains("**missed**"));
        let broken = Err(anyhow::anyhow!("lost"));
        report
            .entries
            .push(Entry::new(Scenario::PingPong, Topology::AllInOne, broken));
        assert!(report.verdict().is_err());
        assert!(report.json().unwrap().contains("\"failure\": \"lost\""));
    }

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount_point() {
        let dir = std::env::temp_dir();
        let mounts = format!(
            "a / ext4 rw\nb {} tmpfs rw\nc /nowhere xfs rw\n",
            dir.display()
        );
        assert_eq!(file_system(&mounts), "tmpfs");
    }
}
