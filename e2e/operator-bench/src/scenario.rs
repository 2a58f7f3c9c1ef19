//! What is measured.

mod idle;
mod install;
mod noop;
mod planner;
mod reaction;
mod thousand;

use crate::bench::Bench;
use crate::report::{Outcome, Row};

/// One kind of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    Planner,
    Install,
    Idle,
    Noop,
    Reaction,
    Thousand,
}

impl Scenario {
    /// In the order in which they are run: those with a whole platform before those that stop parts of
    /// the node.
    pub(crate) const ALL: [Self; 6] = [
        Self::Planner,
        Self::Install,
        Self::Idle,
        Self::Noop,
        Self::Reaction,
        Self::Thousand,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Planner => "planner",
            Self::Install => "install",
            Self::Idle => "idle",
            Self::Noop => "noop",
            Self::Reaction => "reaction",
            Self::Thousand => "thousand",
        }
    }

    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Planner => "plans for the msg pods of one large cluster",
            Self::Install => "charts and a manifest of six lines, images present",
            Self::Idle => "a platform that is left alone",
            Self::Noop => "looks at a platform with nothing to do",
            Self::Reaction => "changes of specifications among many ImClusters",
            Self::Thousand => "cold start with very many ImClusters",
        }
    }

    pub(crate) const fn rows(self) -> &'static [Row] {
        match self {
            Self::Planner => planner::ROWS,
            Self::Install => install::ROWS,
            Self::Idle => idle::ROWS,
            Self::Noop => noop::ROWS,
            Self::Reaction => reaction::ROWS,
            Self::Thousand => thousand::ROWS,
        }
    }

    /// Runs it.
    pub(crate) async fn run(self, bench: &mut Bench) -> anyhow::Result<Outcome> {
        match self {
            Self::Planner => planner::run(bench.sizes.pods),
            Self::Install => install::run(bench).await,
            Self::Idle => idle::run(bench).await,
            Self::Noop => noop::run(bench).await,
            Self::Reaction => reaction::run(bench).await,
            Self::Thousand => thousand::run(bench).await,
        }
    }
}
