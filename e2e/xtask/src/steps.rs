//! How a step is run, and how cargo is called in all of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, bail};

/// Without them the end-to-end tests are left out.
pub(crate) const E2E_FEATURES: &str = "im-e2e-tests/processes,im-e2e-tests/cluster,xtask/charts";

/// Builds every program and every test.
pub(crate) fn build_all() -> anyhow::Result<()> {
    let mut build = cargo(&["build", "--workspace", "--all-targets", "--locked"]);
    build.args(["--quiet", "--features", E2E_FEATURES]);
    step("build all programs", &mut build)
}

/// `cargo test` with these arguments. The whole workspace is named, as everywhere: with a part of it,
/// cargo would choose other features for the crates below and build them all again.
pub(crate) fn whole_workspace(args: &[&str]) -> Command {
    let mut tests = cargo(&["test", "--workspace", "--locked"]);
    tests.args(["--features", E2E_FEATURES]).args(args);
    tests
}

pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(args);
    command
}

pub(crate) fn step(name: &str, command: &mut Command) -> anyhow::Result<()> {
    println!("==> {name}");
    let start = SystemTime::now();
    let status = command
        .current_dir(root()?)
        .status()
        .with_context(|| format!("start: {name}"))?;
    let seconds = start.elapsed().unwrap_or_default().as_secs_f64();
    if !status.success() {
        bail!("step failed: {name} ({status})");
    }
    println!("    {seconds:.1} s");
    Ok(())
}

pub(crate) fn root() -> anyhow::Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .context("find the workspace root")
}

/// The folder of programs that cargo builds with a profile: beside that of this program.
pub(crate) fn programs(profile: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("find this program")?;
    let folder = this.ancestors().nth(2).context("find its folder")?;
    Ok(folder.join(profile))
}
