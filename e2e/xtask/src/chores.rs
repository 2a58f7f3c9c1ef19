//! What `make` runs: which steps, in which order.

use std::process::Command;

use crate::steps::{by_hand, cargo, programs, root, step, test_step};
use crate::workspace::{build_all, linted, whole_workspace};
use crate::{cluster, limits, mariadb, python, steps, tools};

/// Seconds per fuzz target in an ordinary test run.
const FUZZ_IN_TEST: u32 = 3;

/// What `make bench STORE=mysql` measures.
const ON_MYSQL: &str = "saturated,paced,paced-slow,ping-pong,group,logins-phone";

/// Fuzz targets, one after the other.
const FUZZ_TARGETS: u64 = 3;

/// Everything: [`test_fast`], then what needs a Kubernetes node.
pub(crate) fn test() -> anyhow::Result<()> {
    steps::whole_run();
    cluster::check()?;
    fast()?;
    cluster::test(&[])?;
    println!("\nall steps passed");
    Ok(())
}

/// Everything that needs neither root nor a cluster nor Go.
pub(crate) fn test_fast() -> anyhow::Result<()> {
    fast()?;
    println!("\nall steps passed");
    Ok(())
}

/// What says in minutes whether a change is sound: format, lints, licences, and every test that starts no
/// server process.
pub(crate) fn test_quick() -> anyhow::Result<()> {
    check_code()?;
    unit_tests()
}

/// Everything of [`test_fast`] that [`test_quick`] leaves out.
pub(crate) fn test_processes() -> anyhow::Result<()> {
    tools::check()?;
    processes()
}

/// Lints and tests of one crate.
pub(crate) fn check(package: &str) -> anyhow::Result<()> {
    tools::check()?;
    test_step(
        &limits::CRATE_TESTS,
        // Whoever checks one crate does so again soon.
        linted(&["test", "--locked", "-p", package])?.env_remove("CARGO_INCREMENTAL"),
    )
}

fn fast() -> anyhow::Result<()> {
    test_quick()?;
    processes()
}

fn processes() -> anyhow::Result<()> {
    e2e_tests()?;
    mariadb::test()?;
    contract()?;
    fuzz(FUZZ_IN_TEST)
}

/// The tests of faults, longer and harder: `IM_TORTURE` tells them.
pub(crate) fn torture() -> anyhow::Result<()> {
    cluster::check()?;
    e2e_tests()?;
    contract()?;
    cluster::test(&["faults".to_owned()])
}

/// The tests on MariaDB alone.
pub(crate) fn test_mariadb() -> anyhow::Result<()> {
    tools::check()?;
    build_all(&limits::BUILD)?;
    mariadb::test()
}

pub(crate) fn fuzz(seconds: u32) -> anyhow::Result<()> {
    tools::check()?;
    let script = root()?.join("services/codec/fuzz/run.sh");
    let target = tools::cache_dir()?.join("fuzz-target");
    println!("    {seconds} s per target");
    step(
        &limits::FUZZ.plus(FUZZ_TARGETS * u64::from(seconds)),
        Command::new("bash")
            .arg(script)
            .arg(seconds.to_string())
            .env("CARGO_TARGET_DIR", target),
    )
}

pub(crate) fn bench(runs: u32, only: Option<&str>, json: &str, store: Store) -> anyhow::Result<()> {
    tools::check()?;
    step(
        &limits::OPTIMISED,
        cargo(&["build", "--workspace", "--profile", "dist", "--locked"])
            .args(["--bin", "imd", "--bin", "im-load"]),
    )?;
    let bin = programs("dist")?;
    let mut load = Command::new(bin.join("im-load"));
    load.arg("bench").arg("--imd").arg(bin.join("imd"));
    load.args(["--runs", &runs.to_string(), "--json", json]);
    match (only, store) {
        (Some(only), _) => load.args(["--only", only]),
        (None, Store::Sqlite) => &mut load,
        // Those about storing: the others are about something else, whatever the store.
        (None, Store::Mysql) => load.args(["--only", ON_MYSQL]),
    };
    step(&limits::FIGURES, on(store, &mut load)?)
}

/// Which store servers use that are shown or measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Store {
    /// The embedded one.
    #[default]
    Sqlite,
    /// One on a MariaDB of their own.
    Mysql,
}

/// The program that starts servers finds MariaDB there.
fn on(store: Store, program: &mut Command) -> anyhow::Result<&mut Command> {
    Ok(match store {
        Store::Sqlite => program,
        Store::Mysql => program
            .args(["--store", "mysql"])
            .env("MARIADB", mariadb::mariadb()?),
    })
}

pub(crate) fn demo(store: Store) -> anyhow::Result<()> {
    tools::check()?;
    step(
        &limits::BUILD,
        // It takes minutes, and whoever tries the platform first sees it: cargo says what it does.
        &mut cargo(&["build", "--locked", "-p", "imd", "-p", "im-e2e"]),
    )?;
    let bin = programs("debug")?;
    let mut demo = Command::new(bin.join("demo"));
    by_hand(
        "a conversation",
        on(store, demo.env("IMD_BIN", bin.join("imd")))?,
    )
}

fn check_code() -> anyhow::Result<()> {
    tools::check()?;
    step(&limits::FORMAT, &mut cargo(&["fmt", "--all", "--check"]))?;
    let deny = tools::cargo_deny()?;
    step(
        &limits::DENY,
        Command::new(deny)
            .args([
                "--log-level",
                "error",
                "--locked",
                "check",
                "bans",
                "licenses",
                "sources",
            ])
            .current_dir(root()?),
    )
}

/// Faults of dependencies that others know of. Not part of the tests: the answer changes without a commit.
pub(crate) fn advisories() -> anyhow::Result<()> {
    let deny = tools::cargo_deny()?;
    step(
        &limits::ADVISORIES,
        Command::new(deny)
            .args(["--locked", "check", "advisories"])
            .current_dir(root()?),
    )
}

fn unit_tests() -> anyhow::Result<()> {
    test_step(
        &limits::UNIT,
        &mut linted(&["test", "--workspace", "--locked"])?,
    )
}

/// Real processes and sockets. Tests of attacks keep the machine busy and look how long others wait: two at
/// a time. The others mostly wait for processes.
fn e2e_tests() -> anyhow::Result<()> {
    const ATTACKS: &str = "hostile::";
    build_all(&limits::BUILD)?;
    let attacks = ["--test-threads=2", ATTACKS];
    let others = ["--test-threads=4", "--skip", ATTACKS];
    for (step, chosen) in [
        (&limits::ATTACKS, &attacks[..]),
        (&limits::E2E, &others[..]),
    ] {
        let mut tests = whole_workspace(&["--test", "e2e", "--"])?;
        tests.args(chosen);
        tests.env("IMD_BIN", programs("debug")?.join("imd"));
        test_step(step, &mut tests)?;
    }
    Ok(())
}

/// Holds the running HTTP API against its document.
fn contract() -> anyhow::Result<()> {
    let schemathesis = python::schemathesis()?;
    let ignored = ["--test", "e2e", "--", "--ignored", "api::contract::"];
    let mut tests = whole_workspace(&ignored)?;
    tests.env("IMD_BIN", programs("debug")?.join("imd"));
    test_step(&limits::CONTRACT, tests.env("SCHEMATHESIS", schemathesis))
}
