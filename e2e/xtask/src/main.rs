//! Project chores behind `make`: what to run, in which order, with which tools.
//!
//! Every step prints its name and time; the first failure ends the run. Tools that are not part of
//! the Rust toolchain are built once into a cache outside the tree, keyed by version.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program"
)]

#[cfg(test)]
mod layering;
mod steps;
mod tools;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Project chores; `make help` lists the usual ones")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Formats, lints, tests, documents and fuzzes everything.
    Test,
    /// Everything that needs neither long runs nor real processes.
    TestFast,
    /// The long version of the fault tests (1,000 kills).
    Torture,
    /// Fuzzes each target for this many seconds.
    Fuzz {
        /// Seconds per target.
        #[arg(long, default_value_t = 3600)]
        seconds: u32,
    },
    /// Figures: builds optimised programs, runs every scenario, prints a table and writes JSON.
    Bench {
        /// Runs per scenario.
        #[arg(long, default_value_t = 5)]
        runs: u32,
        /// Only scenarios whose name contains this.
        #[arg(long)]
        only: Option<String>,
        /// Where the JSON goes.
        #[arg(long, default_value = "target/bench.json")]
        json: String,
    },
    /// Shows a conversation through real servers.
    Demo,
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Test => steps::test(),
        Command::TestFast => steps::test_fast(),
        Command::Torture => steps::torture(),
        Command::Fuzz { seconds } => steps::fuzz(seconds),
        Command::Bench { runs, only, json } => steps::bench(runs, only.as_deref(), &json),
        Command::Demo => steps::demo(),
    }
}
