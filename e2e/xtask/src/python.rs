//! Programs of Python packages, installed once into the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::limits;
use crate::steps::{root, step};
use crate::tools::{cache_dir, check_programs, is_root, on_path};

/// The version that names the folder in the cache; the list holds it with everything below it.
const SCHEMATHESIS: &str = "4.32.0";
const LIST: &str = "e2e/tests/contract/requirements.txt";

/// Path of `schemathesis`, installed into the cache the first time, and again after the list changed.
pub(crate) fn schemathesis() -> anyhow::Result<PathBuf> {
    let list = root()?.join(LIST);
    let wanted = std::fs::read_to_string(&list).with_context(|| format!("read {LIST}"))?;
    let name = format!("schemathesis-{SCHEMATHESIS}");
    let folder = cache_dir()?.join("tools").join(name);
    let program = folder.join("bin/schemathesis");
    // Written last: it says that everything is there.
    let installed = folder.join("installed.txt");
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == wanted) && program.is_file() {
        return Ok(program);
    }
    println!(
        "    installing schemathesis {SCHEMATHESIS} once, into {}",
        folder.display()
    );
    let made = environment(&folder);
    if made.is_err() && is_root()? && on_path("apt-get") {
        debian_packages()?;
        environment(&folder)?;
    } else {
        made?;
    }
    let mut install = Command::new(folder.join("bin/python"));
    install.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    step(&limits::PYTHON, install.arg("--requirement").arg(&list))?;
    std::fs::write(&installed, wanted).context("note what was installed")?;
    Ok(program)
}

/// An empty environment of its own; what an earlier list left is gone.
fn environment(folder: &Path) -> anyhow::Result<()> {
    check_programs(&[("python3", "apt-get install python3-venv")])?;
    let mut make = Command::new("python3");
    step(
        &limits::PYTHON_ENVIRONMENT,
        make.args(["-m", "venv", "--clear"]).arg(folder),
    )
}

/// Debian keeps the module that makes environments in a package of its own.
fn debian_packages() -> anyhow::Result<()> {
    let mut update = Command::new("apt-get");
    step(&limits::PACKAGE_LISTS, update.args(["update", "--quiet"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "--quiet", "--yes", "--no-install-recommends"]);
    step(&limits::PACKAGES, install.arg("python3-venv"))
}
