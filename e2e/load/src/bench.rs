//! Running the plan.

use crate::report::{Entry, Report};
use crate::scenario::{Scenario, Setting};
use crate::servers::Topology;

/// What to run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) topologies: Vec<Topology>,
    pub(crate) runs: u32,
    pub(crate) repeats: u32,
    pub(crate) seconds: u64,
    pub(crate) small: bool,
}

/// Runs every scenario on every topology. A scenario that fails is part of the report.
pub(crate) async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let mut report = Report::new(plan);
    for scenario in &plan.scenarios {
        for topology in &plan.topologies {
            if !scenario.fits(*topology) {
                continue;
            }
            eprintln!("{} ({}) …", scenario.name(), topology.name());
            let setting = Setting {
                topology: *topology,
                runs: plan.runs,
                repeats: plan.repeats,
                seconds: plan.seconds,
                small: plan.small,
            };
            let outcome = scenario.run(&setting).await;
            let entry = Entry::new(*scenario, *topology, outcome);
            eprintln!("{entry}");
            report.entries.push(entry);
        }
    }
    Ok(report)
}
