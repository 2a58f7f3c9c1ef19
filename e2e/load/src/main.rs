//! `im-load`: measures the servers against their targets.
//!
//! It starts the servers itself, in temporary directories, as one process and as separate ones,
//! and prints a table of medians and ranges beside the targets. Loads are open loop where the
//! question is latency: a message counts from the moment it should have been sent. All figures of
//! CPU are those of the server processes, from `/proc`.
//!
//! One thread generates all load, so that it takes at most one core from the servers.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool reports on its standard streams"
)]

mod attack;
mod bench;
mod conditions;
mod content;
mod helper;
mod lean;
mod logins;
mod measure;
mod pace;
mod people;
mod probe;
mod report;
mod reporters;
mod scenario;
mod servers;
mod web;

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use bench::Plan;
use scenario::Scenario;
use servers::{Store, Topology};

/// Load generator and benchmark of the servers.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the scenarios and prints the table.
    Bench(BenchArgs),
    /// Lists the scenarios.
    List,
    /// Measures append + fdatasync in a directory.
    Disk {
        /// Where; the temporary directory by default.
        dir: Option<PathBuf>,
    },
    /// Holds idle connections until the standard input ends: a part of `sizing`.
    #[command(hide = true)]
    Hold(scenario::HoldArgs),
    /// Passes bytes between pairs of connections until the standard input ends: a part of `relay`.
    #[command(hide = true)]
    PlainRelay(scenario::RelayArgs),
    /// Attacks a msg server until the standard input ends: a part of `hostile`.
    #[command(hide = true)]
    Attack(attack::AttackArgs),
}

#[derive(Debug, clap::Args)]
struct BenchArgs {
    /// The server program; by default `imd` beside this one.
    #[arg(long, value_name = "FILE")]
    imd: Option<PathBuf>,
    /// Directory for the servers' data; the temporary directory by default. Must be on the disk
    /// that is to be measured.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Scenarios to run; by default all but `sizing`, `return` and `return-many`.
    #[arg(long = "scenario", alias = "only", value_delimiter = ',', value_enum)]
    scenarios: Vec<Scenario>,
    /// Topologies; both by default.
    #[arg(long = "topology", value_delimiter = ',', value_enum)]
    topologies: Vec<Topology>,
    /// Which store the servers use.
    #[arg(long, value_enum, default_value_t)]
    store: Store,
    /// Runs of each scenario.
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// Further runs of a scenario at most, in place of those that something else on the machine has
    /// disturbed; as many as `runs` by default.
    #[arg(long)]
    repeats: Option<u32>,
    /// Length of each measurement in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// A tenth of the connections and conversations: a look at the scenarios, not at the figures.
    #[arg(long)]
    small: bool,
    /// Writes all figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::List => {
            for scenario in Scenario::ALL {
                println!("{:<16} {}", scenario.name(), scenario.describe());
            }
            Ok(())
        }
        Command::Disk { dir } => {
            let dir = dir.unwrap_or_else(std::env::temp_dir);
            let probe = probe::append_and_sync(&dir, 1000)?;
            println!("append 4 KiB + fdatasync in {}: {probe}", dir.display());
            Ok(())
        }
        Command::Bench(args) => bench(args),
        Command::Hold(args) => on_one_thread(scenario::hold(&args)),
        Command::PlainRelay(args) => on_one_thread(scenario::plain_relay(&args)),
        Command::Attack(args) => on_one_thread(attack::run(&args)),
    }
}

fn bench(args: BenchArgs) -> anyhow::Result<()> {
    // What starts the servers reads its program and place from the environment.
    if args.imd.is_some() || args.dir.is_some() {
        return run_again(&args);
    }
    args.store.choose();
    let runs = args.runs.max(1);
    let plan = Plan {
        scenarios: or_all(args.scenarios, &Scenario::usual()),
        topologies: or_all(args.topologies, &Topology::ALL),
        runs,
        repeats: args.repeats.unwrap_or(runs),
        seconds: args.seconds.max(1),
        small: args.small,
    };
    let report = on_one_thread(bench::run(&plan))?;
    println!("\n{}", report.table()?);
    if let Some(file) = &args.json {
        std::fs::write(file, report.json()?)
            .with_context(|| format!("write {}", file.display()))?;
    }
    report.verdict()
}

fn on_one_thread<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start runtime")?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

fn or_all<T: Clone>(chosen: Vec<T>, all: &[T]) -> Vec<T> {
    if chosen.is_empty() {
        all.to_vec()
    } else {
        chosen
    }
}

/// Replaces this process by itself with the program and directory in the environment.
fn run_again(args: &BenchArgs) -> anyhow::Result<()> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    if let Some(imd) = &args.imd {
        let imd = imd
            .canonicalize()
            .with_context(|| format!("find {}", imd.display()))?;
        command.env("IMD_BIN", imd);
    }
    if let Some(dir) = &args.dir {
        let dir = dir
            .canonicalize()
            .with_context(|| format!("find {}", dir.display()))?;
        command.env("TMPDIR", dir);
    }
    let mut skip = false;
    for arg in std::env::args_os().skip(1) {
        let text = arg.to_string_lossy();
        if std::mem::take(&mut skip) || text.starts_with("--imd=") || text.starts_with("--dir=") {
            continue;
        }
        if text == "--imd" || text == "--dir" {
            skip = true;
            continue;
        }
        command.arg(arg);
    }
    Err(command.exec()).context("run again")
}
