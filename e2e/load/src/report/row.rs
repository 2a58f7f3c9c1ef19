//! Figures, what they should be, and what became of them over the runs.

use std::collections::BTreeMap;
use std::fmt;

use im_e2e::figures::short;

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
    /// What it should be in one process.
    pub(crate) target: Target,
    /// What it should be in separate processes.
    pub(crate) separate: Target,
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
            separate: Target::None,
        }
    }

    /// The same with a target.
    #[must_use]
    pub(crate) const fn with(self, target: Target) -> Self {
        self.with_each(target, target)
    }

    /// The same with a target for one process and one for separate ones.
    #[must_use]
    pub(crate) const fn with_each(mut self, target: Target, separate: Target) -> Self {
        self.target = target;
        self.separate = separate;
        self
    }

    pub(super) fn target_of(&self, topology: Topology) -> Target {
        match topology {
            Topology::AllInOne => self.target,
            Topology::Separate => self.separate,
        }
    }

    /// The target, or both where they differ.
    pub(super) fn targets(&self) -> String {
        if self.target == self.separate {
            return self.target.to_string();
        }
        format!("{} / {}", self.target, self.separate)
    }
}

impl Target {
    pub(super) fn met(self, value: f64) -> Option<bool> {
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
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Spread {
    pub(super) fn of(runs: &[Figures], key: &str) -> Option<Self> {
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
    fn topologies_may_have_different_targets() {
        let row = Row::plain("cpu_us", "CPU", "µs");
        let row = row.with_each(Target::AtMost(200.0), Target::AtMost(260.0));
        assert_eq!(row.target_of(Topology::AllInOne).met(230.0), Some(false));
        assert_eq!(row.target_of(Topology::Separate).met(230.0), Some(true));
        assert_eq!(row.targets(), "≤ 200 / ≤ 260");
        assert_eq!(row.with(Target::AtMost(1.0)).targets(), "≤ 1");
    }
}
