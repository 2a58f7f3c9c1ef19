//! From nothing but images to the first message.

use std::collections::BTreeMap;

use crate::bench::Bench;
use crate::installation::Installation;
use crate::report::{Outcome, Row};

/// Figures.
pub(super) const ROWS: &[Row] = &[
    Row::plain(
        "message_s",
        "helm install and manifest to the first message",
        "s",
    )
    .at_most(60.0),
    Row::plain("charts_s", "of these, until both charts are installed", "s"),
    Row::plain("people_s", "of these, until people are imported", "s"),
    Row::plain("ready_s", "until the ImCluster is Ready", "s"),
];

/// Runs it, and keeps the platform for other scenarios.
pub(super) async fn run(bench: &mut Bench) -> anyhow::Result<Outcome> {
    let cluster = bench.cluster().await?;
    let (installation, times) = Installation::measured(&cluster).await?;
    bench.keep(installation);
    Ok(Outcome {
        figures: BTreeMap::from([
            ("message_s", times.message.as_secs_f64()),
            ("charts_s", times.charts.as_secs_f64()),
            ("people_s", times.people.as_secs_f64()),
            ("ready_s", times.ready.as_secs_f64()),
        ]),
        notes: Vec::new(),
    })
}
