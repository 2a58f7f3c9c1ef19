//! The table and the JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use im_e2e::figures::{Machine, short};
use serde_json::json;

use crate::bench::Plan;
use crate::conditions::{self, Runs};
use crate::scenario::Scenario;
use crate::servers::Topology;

mod row;
#[cfg(test)]
mod tests;

use row::Spread;
pub(crate) use row::{Figures, Row, Target};

/// Columns of what the figures were measured under: medians, and the range of the foreign load.
const CONDITIONS: &str = "foreign CPU, of all cores | append + fdatasync p50 / p99 | load generator, of a core \
    | late p99 | disturbed runs";

/// One scenario on one topology.
pub(crate) struct Entry {
    scenario: Scenario,
    topology: Topology,
    runs: Runs,
    failure: Option<String>,
}

impl Entry {
    pub(crate) fn new(
        scenario: Scenario,
        topology: Topology,
        outcome: anyhow::Result<Runs>,
    ) -> Self {
        let (runs, failure) = match outcome {
            Ok(runs) => (runs, None),
            Err(error) => (Runs::default(), Some(format!("{error:#}"))),
        };
        Self {
            scenario,
            topology,
            runs,
            failure,
        }
    }

    fn spread(&self, key: &str) -> Option<Spread> {
        Spread::of(&self.runs.kept, key)
    }

    /// Under which conditions it ran, where they were watched.
    fn conditions(&self) -> Option<String> {
        let median = |key, unit| match self.spread(key) {
            Some(spread) => format!("{} {unit}", short(spread.median)),
            None => "–".to_owned(),
        };
        let foreign = self.spread(conditions::FOREIGN)?;
        let disk = [conditions::DISK_P50, conditions::DISK_P99].map(|key| median(key, "ms"));
        Some(format!(
            "{} % ({} – {}) | {} | {} | {} | {}",
            short(foreign.median),
            short(foreign.least),
            short(foreign.most),
            disk.join(" / "),
            median(conditions::GENERATOR, "%"),
            median(conditions::LATE_P99, "ms"),
            match (self.runs.repeated, self.runs.disturbed) {
                (0, 0) => "–".to_owned(),
                (repeated, disturbed) => format!("{repeated} repeated, {disturbed} kept"),
            },
        ))
    }

    /// Label, median, range, target and verdict of each figure.
    fn lines(&self) -> Vec<[String; 5]> {
        self.scenario
            .rows()
            .iter()
            .filter_map(|row| {
                let spread = self.spread(row.key)?;
                let target = row.target_of(self.topology);
                let verdict = match target.met(spread.median) {
                    None => "",
                    Some(true) => "met",
                    Some(false) => "missed",
                };
                Some([
                    row.label.to_owned(),
                    format!("{} {}", short(spread.median), row.unit),
                    format!("{} – {}", short(spread.least), short(spread.most)),
                    target.to_string(),
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
        if let Some(conditions) = self.conditions() {
            writeln!(f, "  {CONDITIONS}: {conditions}")?;
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
                    row.targets()
                )?;
            }
        }
        self.add_conditions(&mut out)?;
        Ok(out)
    }

    fn add_conditions(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "\n| Work | Processes | {CONDITIONS} |")?;
        out.push_str("|---|---|---|---|---|---|---|\n");
        for entry in &self.entries {
            if let Some(conditions) = entry.conditions() {
                let (scenario, topology) = (entry.scenario.name(), entry.topology.name());
                writeln!(out, "| {scenario} | {topology} | {conditions} |")?;
            }
        }
        Ok(())
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
                        let spread = entry.spread(row.key)?;
                        let target = row.target_of(entry.topology);
                        let met = target.met(spread.median);
                        let value = json!({
                            "label": row.label,
                            "unit": row.unit,
                            "median": spread.median,
                            "min": spread.least,
                            "max": spread.most,
                            "target": target.to_string(),
                            "met": met,
                        });
                        Some((row.key, value))
                    })
                    .collect();
                json!({
                    "scenario": entry.scenario.name(),
                    "topology": entry.topology.name(),
                    "figures": figures,
                    "runs": entry.runs.kept,
                    "repeated": entry.runs.repeated,
                    "disturbed": entry.runs.disturbed,
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
    let Some(spread) = entry.spread(row.key) else {
        return "–".to_owned();
    };
    let mark = match row.target_of(entry.topology).met(spread.median) {
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

/// What the figures were measured on.
fn machine() -> BTreeMap<&'static str, String> {
    let Machine { cpu, kernel } = Machine::this();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    BTreeMap::from([
        ("cpu", cpu),
        ("kernel", kernel),
        ("disk", file_system(&mounts)),
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
