//! Everything with a Kubernetes node: `e2e/kube` holds the logic, and this calls it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::leftovers::Leftovers;
use crate::steps::{
    build_all, by_hand, cargo, printed, programs, step, test_step, whole_workspace,
};
use crate::{limits, tools};

/// Version of the images that tests use, and the one to which they roll: the same programs.
const VERSIONS: [&str; 2] = ["0.1.0", "0.1.1"];

/// Runs the program of `e2e/kube` with these arguments.
pub(crate) fn kube_node(args: &[String]) -> anyhow::Result<()> {
    build_kube_node()?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    by_hand("node", &mut program(&args)?)
}

/// Makes the images of a release.
pub(crate) fn image(args: &[String]) -> anyhow::Result<()> {
    build_kube_node()?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    step(&limits::RELEASE_IMAGES, program(&["image"])?.args(args))
}

/// What the tests on a node need, checked before anything is built.
pub(crate) fn check() -> anyhow::Result<()> {
    tools::check()?;
    if !is_foreign() && !tools::is_root()? {
        bail!(
            "the tests on a Kubernetes node need root (namespaces, mounts, control groups): run them \
             as root, or set KUBECONFIG and IM_IMAGE to test on a cluster of yours; `make test-fast` \
             needs neither"
        );
    }
    Ok(())
}

/// Whether the environment names a cluster and an image on it.
fn is_foreign() -> bool {
    ["KUBECONFIG", "IM_IMAGE"]
        .iter()
        .all(|name| std::env::var_os(name).is_some())
}

/// Runs the tests on our own node, or on the cluster that the environment names.
pub(crate) fn test(filter: &[String]) -> anyhow::Result<()> {
    if is_foreign() {
        return test_step(&limits::CLUSTER, &mut tests(filter));
    }
    check()?;
    let images = images()?;
    let mut charts = whole_workspace(&["--test", "charts"]);
    test_step(&limits::CHARTS, charts.env("HELM", helm()?))?;
    step(&limits::NODE_EARLIER, &mut program(&["down"])?)?;
    let before = Leftovers::now()?;
    step(&limits::NODE_UP, &mut program(&["up"])?)?;
    let result = test_inside(&images, filter);
    let down = step(&limits::NODE_DOWN, &mut program(&["down"])?);
    result.and(down)?;
    before.compare()
}

/// Builds the programs and makes images of them; returns the archives.
pub(crate) fn images() -> anyhow::Result<Vec<PathBuf>> {
    build_all()?;
    let folder = images_folder()?;
    let mut archives = Vec::new();
    for version in VERSIONS {
        let out = folder.join(version);
        let mut image = program(&["image", "--tag", version, "--out"])?;
        image.arg(&out).arg("--programs").arg(programs("debug")?);
        step(&limits::IMAGES, &mut image)?;
        archives.extend(["imd.tar", "im-operator.tar"].map(|name| out.join(name)));
    }
    Ok(archives)
}

/// The folder of the images for tests.
pub(crate) fn images_folder() -> anyhow::Result<PathBuf> {
    Ok(programs("debug")?.join("images"))
}

/// The Helm that the node brings.
pub(crate) fn helm() -> anyhow::Result<PathBuf> {
    let folders = printed(&limits::NODE_PROGRAMS, &mut program(&["programs"])?)?;
    let mut programs = folders.lines().map(|folder| Path::new(folder).join("helm"));
    programs
        .find(|program| program.is_file())
        .context("build Helm: `kube-node programs` says why not")
}

fn test_inside(images: &[PathBuf], filter: &[String]) -> anyhow::Result<()> {
    let mut import = program(&["import"])?;
    step(&limits::IMPORT, import.args(images))?;
    let mut inside = program(&["exec", "--", "cargo"])?;
    inside.args(tests(filter).get_args());
    test_step(&limits::CLUSTER, &mut inside)?;
    if filter.is_empty() {
        step(&limits::AUDIT, &mut audit()?)?;
    }
    Ok(())
}

/// Holds the API server's audit log of all tests against the rules of the chart.
fn audit() -> anyhow::Result<Command> {
    let file = images_folder()?.join("rules.yaml");
    let operator = programs("debug")?.join("im-operator");
    std::fs::write(
        &file,
        printed(&limits::RULES, Command::new(operator).arg("rules"))?,
    )?;
    let mut audit = program(&["audit", "--rules"])?;
    audit.arg(file);
    Ok(audit)
}

/// The command that runs the tests on whatever cluster KUBECONFIG names.
pub(crate) fn tests(filter: &[String]) -> Command {
    let mut tests = whole_workspace(&["--test", "cluster"]);
    if !filter.is_empty() {
        tests.arg("--").args(filter);
    }
    tests
}

/// For a person who starts a node by hand; tests build everything at once.
pub(crate) fn build_kube_node() -> anyhow::Result<()> {
    let build = ["build", "--locked", "--quiet", "-p", "im-e2e-kube"];
    step(&limits::BUILD, cargo(&build).args(["--bin", "kube-node"]))
}

/// The program of `e2e/kube`, to be run.
pub(crate) fn program(args: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(programs("debug")?.join("kube-node"));
    command.args(args);
    Ok(command)
}
