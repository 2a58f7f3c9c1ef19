//! Everything with a Kubernetes node: `e2e/kube` holds the logic, and this calls it.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use anyhow::bail;

use crate::steps::{E2E_FEATURES, cargo, step, target_dir};
use crate::tools;

/// Version of the images that tests use, and the one to which they roll: the same programs.
const VERSIONS: [&str; 2] = ["0.1.0", "0.1.1"];

/// Runs the program of `e2e/kube` with these arguments.
pub(crate) fn kube_node(args: &[String]) -> anyhow::Result<()> {
    build_kube_node()?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    step("node", &mut program(&args)?)
}

/// Makes the images of a release.
pub(crate) fn image(args: &[String]) -> anyhow::Result<()> {
    build_kube_node()?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    step("images", program(&["image"])?.args(args))
}

/// Runs the tests on our own node, or on the cluster that the environment names.
pub(crate) fn test(filter: &[String]) -> anyhow::Result<()> {
    let foreign = ["KUBECONFIG", "IM_IMAGE"].map(|name| std::env::var_os(name).is_some());
    if foreign == [true, true] {
        return step("tests on your cluster", &mut tests(filter));
    }
    tools::check()?;
    check_root()?;
    step(
        "build the programs",
        &mut whole_workspace(&["--no-run", "--quiet"]),
    )?;
    let images = target_dir()?.join("images-test");
    let images = images.to_string_lossy();
    for version in VERSIONS {
        let out = format!("{images}/{version}");
        let image = ["image", "--profile", "dev", "--tag", version, "--out", &out];
        step(&format!("images {version}"), &mut program(&image)?)?;
    }
    step("end an earlier node", &mut program(&["down"])?)?;
    step("start a Kubernetes node", &mut program(&["up"])?)?;
    let result = test_inside(&images, filter);
    let down = step("end the node", &mut program(&["down"])?);
    result.and(down)
}

/// Before anything is built: `kube-node up` would say the same minutes later.
fn check_root() -> anyhow::Result<()> {
    // A process's folder belongs to the user that it acts as.
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        bail!(
            "the tests on a Kubernetes node need root (namespaces, mounts, control groups): run them \
             as root, or set KUBECONFIG and IM_IMAGE to test on a cluster of yours; `make test-fast` \
             needs neither"
        );
    }
    Ok(())
}

fn test_inside(images: &str, filter: &[String]) -> anyhow::Result<()> {
    let mut import = program(&["import"])?;
    for version in VERSIONS {
        import
            .args(["imd.tar", "im-operator.tar"].map(|name| format!("{images}/{version}/{name}")));
    }
    step("import images", &mut import)?;
    let mut inside = program(&["exec", "--", "cargo"])?;
    let tests = tests(filter);
    inside.args(tests.get_args());
    step("tests on the node", &mut inside)
}

/// The command that runs the tests on whatever cluster KUBECONFIG names.
fn tests(filter: &[String]) -> Command {
    let mut tests = whole_workspace(&["--test", "cluster"]);
    if !filter.is_empty() {
        tests.arg("--").args(filter);
    }
    tests
}

/// The whole workspace is named, as in the other steps of `make test`: with a part of it, cargo would
/// choose other features for the crates below and build them all again.
fn whole_workspace(args: &[&str]) -> Command {
    let mut tests = cargo(&["test", "--workspace", "--locked"]);
    tests.args(["--features", E2E_FEATURES]);
    tests.args(args);
    tests
}

fn build_kube_node() -> anyhow::Result<()> {
    let build = ["build", "--locked", "--quiet", "-p", "im-e2e-kube"];
    step(
        "build the node's program",
        cargo(&build).args(["--bin", "kube-node"]),
    )
}

fn program(args: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(target_dir()?.join("debug/kube-node"));
    command.args(args);
    Ok(command)
}
