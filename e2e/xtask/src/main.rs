//! Project chores behind `make`: what to run, in which order, with which tools.
//!
//! Every step prints its name and time; the first failure ends the run. Every step and every test has a
//! limit, and what exceeds it is named and ended with all that it started: [`limits`] has the table. Tools
//! that are not part of the Rust toolchain are built once into a cache outside the tree, keyed by version.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program"
)]

mod chores;
#[cfg(test)]
mod citations;
mod clock;
mod cluster;
mod kind;
#[cfg(test)]
mod layering;
mod leftovers;
mod libtest;
mod limits;
mod mariadb;
mod mutants;
mod operator_bench;
mod process;
mod python;
mod release;
#[cfg(test)]
mod requirements;
mod signals;
mod steps;
mod testing;
mod tools;
mod upgrade;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Project chores; `make help` lists the usual ones")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Formats, lints, tests, documents and fuzzes everything, and tests it on a Kubernetes node.
    Test,
    /// Everything that needs neither root nor a cluster.
    TestFast,
    /// Format, licences, lints, documentation, and every test that starts no server process.
    TestQuick,
    /// Tests over real processes, a little fuzzing: what test-quick leaves of test-fast.
    TestProcesses,
    /// Lints and tests of one crate.
    Check {
        /// Its name, such as im-msg.
        package: String,
    },
    /// The long version of the fault tests: 1,000 kills, parts of Kubernetes away for many minutes.
    Torture,
    /// Fuzzes each target for this many seconds.
    Fuzz {
        /// Seconds per target.
        #[arg(long, default_value_t = 3600)]
        seconds: u32,
    },
    /// Changes the pure cores, one function at a time, and lists the changes that no test notices.
    Mutants {
        /// Only this core, such as position; an unknown name is answered with all.
        core: Option<String>,
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
        /// Which store the servers use.
        #[arg(long, value_enum, default_value_t)]
        store: chores::Store,
    },
    /// Figures of the operator: starts a Kubernetes node, runs every scenario in it, prints a table
    /// and writes JSON.
    BenchOperator {
        /// Where the JSON goes.
        #[arg(long, default_value = "target/bench-operator.json")]
        json: String,
        /// Arguments of `operator-bench`: `--only`, sizes.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Shows a conversation through real servers.
    Demo {
        /// Which store they use; mysql shows the roles as processes of their own, one of which is killed.
        #[arg(long, value_enum, default_value_t)]
        store: chores::Store,
    },
    /// The tests on a real Kubernetes node, which is started and ended; or on the cluster that
    /// KUBECONFIG names, when IM_IMAGE is set too.
    TestCluster {
        /// Only tests whose name contains one of these.
        filter: Vec<String>,
    },
    /// The same tests on a kind cluster, which is made and removed.
    E2eKind {
        /// Only tests whose name contains one of these.
        filter: Vec<String>,
    },
    /// The tests of the store on MariaDB, and of servers that use it; its packages are fetched from Debian and unpacked into the cache.
    TestMariadb,
    /// Installations move from an earlier revision's charts and images to those of this one and back, on a
    /// Kubernetes node of their own.
    #[command(after_help = "Examples:\n  cargo run -p xtask -- test-upgrade\n  \
                      cargo run -p xtask -- test-upgrade --from v0.1.0")]
    TestUpgrade {
        /// The earlier revision, as git knows it; else the last release before this commit, or, while
        /// there is none, HEAD~1.
        #[arg(long, value_name = "REV")]
        from: Option<String>,
    },
    /// The images of a release, without a container engine; arguments as of `kube-node image`.
    Image {
        /// Arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// The files of a release: images over all processors, bills of materials, charts with digests.
    ReleaseDryRun(release::ReleaseArgs),
    /// Whether a dependency has a known fault; asks the database of advisories.
    Advisories,
    /// The Kubernetes node for tests; arguments as of `kube-node`: up, down, shell, …
    Cluster {
        /// Arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    match checked(Args::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        // The last line of a long log: the causes, without a trace of this program's own calls.
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn checked(command: Command) -> anyhow::Result<()> {
    limits::check()?;
    signals::keep()?;
    let result = run(command);
    steps::print_times();
    result
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Test => chores::test(),
        Command::TestFast => chores::test_fast(),
        Command::TestQuick => chores::test_quick(),
        Command::TestProcesses => chores::test_processes(),
        Command::Check { package } => chores::check(&package),
        Command::Torture => chores::torture(),
        Command::Fuzz { seconds } => chores::fuzz(seconds),
        Command::Mutants { core } => mutants::run(core.as_deref()),
        Command::Bench {
            runs,
            only,
            json,
            store,
        } => chores::bench(runs, only.as_deref(), &json, store),
        Command::BenchOperator { json, args } => operator_bench::run(&json, &args),
        Command::Demo { store } => chores::demo(store),
        Command::TestCluster { filter } => cluster::test(&filter),
        Command::TestMariadb => chores::test_mariadb(),
        Command::E2eKind { filter } => kind::test(&filter),
        Command::TestUpgrade { from } => upgrade::test(from.as_deref()),
        Command::Image { args } => cluster::image(&args),
        Command::ReleaseDryRun(args) => release::make(&args),
        Command::Advisories => chores::advisories(),
        Command::Cluster { args } => cluster::kube_node(&args),
    }
}
