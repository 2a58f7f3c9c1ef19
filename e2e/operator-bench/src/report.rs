//! The table and the JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use im_e2e::figures::{Machine, short};
use serde_json::{Value, json};

use crate::bench::Sizes;
use crate::scenario::Scenario;

/// What a scenario found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Figures by key.
    pub(crate) figures: BTreeMap<&'static str, f64>,
    /// What helps to understand them.
    pub(crate) notes: Vec<String>,
}

/// A figure of a scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Key in [`Outcome`] and JSON.
    pub(crate) key: &'static str,
    /// What it is.
    pub(crate) label: &'static str,
    /// Unit of the figure.
    pub(crate) unit: &'static str,
    /// What it should be at most.
    pub(crate) most: Option<f64>,
}

impl Row {
    /// A figure without target.
    pub(crate) const fn plain(key: &'static str, label: &'static str, unit: &'static str) -> Self {
        Self {
            key,
            label,
            unit,
            most: None,
        }
    }

    /// The same with a target.
    #[must_use]
    pub(crate) const fn at_most(mut self, most: f64) -> Self {
        self.most = Some(most);
        self
    }

    fn target(&self) -> String {
        let most = self
            .most
            .map(|most| format!("≤ {} {}", short(most), self.unit));
        most.unwrap_or_default().trim_end().to_owned()
    }
}

/// One scenario.
pub(crate) struct Entry {
    scenario: Scenario,
    outcome: Outcome,
    failure: Option<String>,
}

impl Entry {
    pub(crate) fn new(scenario: Scenario, outcome: anyhow::Result<Outcome>) -> Self {
        let (outcome, failure) = match outcome {
            Ok(outcome) => (outcome, None),
            Err(error) => (Outcome::default(), Some(format!("{error:#}"))),
        };
        Self {
            scenario,
            outcome,
            failure,
        }
    }

    /// Each figure that was measured, and whether its target is met.
    fn figures(&self) -> impl Iterator<Item = (&'static Row, f64, Option<bool>)> {
        self.scenario.rows().iter().filter_map(|row| {
            let value = *self.outcome.figures.get(row.key)?;
            Some((row, value, row.most.map(|most| value <= most)))
        })
    }

    /// Label, target, measured value and verdict of each figure.
    fn lines(&self) -> impl Iterator<Item = [String; 4]> {
        self.figures().map(|(row, value, met)| {
            let measured = format!("{} {}", short(value), row.unit);
            let verdict = match met {
                None => "",
                Some(true) => "yes",
                Some(false) => "**no**",
            };
            [
                row.label.to_owned(),
                row.target(),
                measured.trim_end().to_owned(),
                verdict.to_owned(),
            ]
        })
    }

    fn json(&self) -> Value {
        let figures: BTreeMap<&str, Value> = self
            .figures()
            .map(|(row, value, met)| {
                let figure = json!({
                    "label": row.label,
                    "unit": row.unit,
                    "measured": value,
                    "atMost": row.most,
                    "met": met,
                });
                (row.key, figure)
            })
            .collect();
        json!({
            "scenario": self.scenario.name(),
            "figures": figures,
            "notes": self.outcome.notes,
            "failure": self.failure,
        })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(failure) = &self.failure {
            writeln!(f, "  FAILED: {failure}")?;
        }
        for [label, target, measured, met] in self.lines() {
            writeln!(f, "  {label}: {measured} {target} {met}")?;
        }
        for note in &self.outcome.notes {
            writeln!(f, "  ({note})")?;
        }
        Ok(())
    }
}

/// Everything that was measured.
pub(crate) struct Report {
    pub(crate) entries: Vec<Entry>,
    machine: String,
    sizes: Sizes,
}

impl Report {
    pub(crate) fn new(sizes: &Sizes) -> Self {
        Self {
            entries: Vec::new(),
            machine: machine(),
            sizes: *sizes,
        }
    }

    /// A table in Markdown, and notes below it.
    pub(crate) fn table(&self) -> Result<String, fmt::Error> {
        let mut out = format!("machine: {}\n\n", self.machine);
        out.push_str("| Scenario | Figure | Target | Measured | Met? |\n|---|---|---|---|---|\n");
        for entry in &self.entries {
            let scenario = entry.scenario.name();
            if entry.failure.is_some() {
                writeln!(
                    out,
                    "| {scenario} | {} | | failed | **no** |",
                    entry.scenario.describe()
                )?;
            }
            for line in entry.lines() {
                writeln!(out, "| {scenario} | {} |", line.join(" | "))?;
            }
        }
        for entry in &self.entries {
            for note in entry.failure.iter().chain(&entry.outcome.notes) {
                writeln!(out, "\n{}: {note}", entry.scenario.name())?;
            }
        }
        Ok(out)
    }

    /// All figures.
    pub(crate) fn json(&self) -> anyhow::Result<String> {
        let results: Vec<Value> = self.entries.iter().map(Entry::json).collect();
        let all = json!({
            "machine": self.machine,
            "sizes": {
                "idleSeconds": self.sizes.idle.as_secs(),
                "clusters": self.sizes.clusters,
                "changes": self.sizes.changes,
                "pauseSeconds": self.sizes.pause.as_secs_f64(),
                "thousand": self.sizes.thousand,
                "touches": self.sizes.touches,
                "pods": self.sizes.pods,
            },
            "results": results,
        });
        serde_json::to_string_pretty(&all).context("write JSON")
    }

    /// Fails when a scenario could not be run. A missed target is no failure.
    pub(crate) fn verdict(&self) -> anyhow::Result<()> {
        let failed = self.entries.iter().filter(|entry| entry.failure.is_some());
        let failed: Vec<&str> = failed.map(|entry| entry.scenario.name()).collect();
        if !failed.is_empty() {
            bail!("scenarios failed: {}", failed.join(", "));
        }
        Ok(())
    }
}

/// What the figures were measured on.
fn machine() -> String {
    let machine = Machine::this();
    format!("{}, {}", machine.cpu, machine.kernel)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sizes() -> Sizes {
        Sizes {
            idle: Duration::from_secs(1),
            clusters: 1,
            changes: 1,
            pause: Duration::from_secs(1),
            thousand: 1,
            touches: 1,
            pods: 2,
        }
    }

    #[test]
    fn a_failed_scenario_fails_the_report_and_a_missed_target_does_not() {
        let mut report = Report::new(&sizes());
        let missed = Outcome {
            figures: BTreeMap::from([("message_s", 1_000.0)]),
            notes: vec!["slow".to_owned()],
        };
        report
            .entries
            .push(Entry::new(Scenario::Install, Ok(missed)));
        report.verdict().unwrap();
        let table = report.table().unwrap();
        assert!(table.contains("| ≤ 60 s | 1000 s | **no** |"), "{table}");
        assert!(table.contains("\ninstall: slow\n"), "{table}");
        let broken = Err(anyhow::anyhow!("lost"));
        report.entries.push(Entry::new(Scenario::Idle, broken));
        assert!(report.verdict().is_err());
        assert!(report.json().unwrap().contains("\"failure\": \"lost\""));
    }
}
