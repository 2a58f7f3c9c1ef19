//! `operator-bench`: measures the operator against its targets, on a real Kubernetes node.
//!
//! It runs inside the node of `e2e/kube` (`kube-node exec -- operator-bench`), which must have nothing
//! else to do: it installs the charts, makes ImClusters and stops parts of the node. Images are those
//! that `im_e2e_kube::testing` names. What the operator wrote comes from the API server's audit log,
//! what it used from `/proc`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool reports on its standard streams"
)]

mod bench;
mod charts;
mod fleet;
mod installation;
mod measure;
mod operator;
mod pods;
mod quiet;
mod report;
mod scenario;
mod writes;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

use bench::{Bench, Sizes};
use scenario::Scenario;

/// Figures of the operator.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    /// Scenarios to run; all by default.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Scenario>,
    /// The operator's program; by default `im-operator` beside this one.
    #[arg(long, value_name = "FILE")]
    operator: Option<PathBuf>,
    /// Writes all figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How long the cluster is left alone.
    #[arg(long, default_value = "10m", value_parser = duration)]
    idle: Duration,
    /// ImClusters whose specifications are changed.
    #[arg(long, default_value_t = 200)]
    clusters: usize,
    /// Changes of specifications.
    #[arg(long, default_value_t = 600)]
    changes: usize,
    /// Changes per second.
    #[arg(long, default_value_t = 5.0)]
    rate: f64,
    /// ImClusters of a cold start.
    #[arg(long, default_value_t = 1_000)]
    thousand: usize,
    /// Looks at a cluster with nothing to do.
    #[arg(long, default_value_t = 200)]
    touches: usize,
    /// Msg pods of a plan.
    #[arg(long, default_value_t = 1_000)]
    pods: u32,
}

fn duration(text: &str) -> anyhow::Result<Duration> {
    let duration: jiff::SignedDuration = text.parse()?;
    Ok(Duration::try_from(duration)?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let operator = match cli.operator {
        Some(operator) => operator,
        None => std::env::current_exe()?.with_file_name("im-operator"),
    };
    let sizes = Sizes {
        idle: cli.idle,
        clusters: cli.clusters.max(1),
        changes: cli.changes.max(1),
        pause: Duration::from_secs_f64(1.0 / cli.rate.clamp(0.01, 1_000.0)),
        thousand: cli.thousand.max(1),
        touches: cli.touches.max(1),
        pods: cli.pods.max(2),
    };
    let chosen = if cli.only.is_empty() {
        Scenario::ALL.to_vec()
    } else {
        // In the order that they need.
        let all = Scenario::ALL.into_iter();
        all.filter(|it| cli.only.contains(it)).collect()
    };
    let mut bench = Bench::new(sizes, operator);
    let report = bench.run(&chosen).await;
    println!("\n{}", report.table()?);
    if let Some(file) = &cli.json {
        std::fs::write(file, report.json()?)
            .with_context(|| format!("write {}", file.display()))?;
    }
    report.verdict()
}
