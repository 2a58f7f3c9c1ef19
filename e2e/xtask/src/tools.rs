//! Programs that the steps need.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::limits;
use crate::steps::step;

/// A program that must be on the PATH, and how to get it.
const PROGRAMS: [(&str, &str); 3] = [
    ("cc", "apt-get install build-essential"),
    ("c++", "apt-get install build-essential"),
    ("make", "apt-get install build-essential"),
];

const CARGO_DENY: &str = "0.20.2";
const CARGO_MUTANTS: &str = "27.1.0";

/// Names every program that is missing for whatever is done, at once.
pub(crate) fn check() -> anyhow::Result<()> {
    check_programs(&PROGRAMS)
}

/// Names every missing program, and how to get it, at once.
pub(crate) fn check_programs(programs: &[(&str, &str)]) -> anyhow::Result<()> {
    let missing: Vec<String> = programs
        .iter()
        .filter(|(program, _)| !on_path(program))
        .map(|(program, source)| format!("  {program}: {source}"))
        .collect();
    if !missing.is_empty() {
        bail!("programs are missing:\n{}", missing.join("\n"));
    }
    Ok(())
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> anyhow::Result<bool> {
    // A process's folder belongs to the user that it acts as.
    Ok(std::fs::metadata("/proc/self")?.uid() == 0)
}

pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Folder for things that are built once: `$XDG_CACHE_HOME/imcluster` or `~/.cache/imcluster`.
pub(crate) fn cache_dir() -> anyhow::Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(&std::env::var_os("HOME").context("read HOME")?).join(".cache"),
    };
    Ok(base.join("imcluster"))
}

/// Path of `cargo-deny`, built into the cache the first time (some minutes).
pub(crate) fn cargo_deny() -> anyhow::Result<PathBuf> {
    built_once("cargo-deny", CARGO_DENY)
}

/// Path of `cargo-mutants`, built into the cache the first time (some minutes).
pub(crate) fn cargo_mutants() -> anyhow::Result<PathBuf> {
    built_once("cargo-mutants", CARGO_MUTANTS)
}

/// Path of a program of crates.io, built into the cache the first time.
fn built_once(name: &str, version: &str) -> anyhow::Result<PathBuf> {
    let root = cache_dir()?.join("tools").join(format!("{name}-{version}"));
    let program = root.join("bin").join(name);
    if !program.is_file() {
        println!(
            "    building {name} {version} once, into {}",
            root.display()
        );
        let mut install = Command::new("cargo");
        install.args(["install", name, "--locked", "--debug", "--quiet"]);
        install.args(["--version", version, "--root"]).arg(&root);
        // Nobody debugs it or builds it again.
        install.env("CARGO_PROFILE_DEV_DEBUG", "none");
        install.env("CARGO_INCREMENTAL", "0");
        step(&limits::TOOL, &mut install)?;
    }
    Ok(program)
}
