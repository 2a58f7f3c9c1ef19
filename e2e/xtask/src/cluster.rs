//! Everything with a Kubernetes node: `e2e/kube` holds the logic, and this calls it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::leftovers::Leftovers;
use crate::steps::{by_hand, cargo, made_by, printed, programs, step, test_step};
use crate::workspace::{build_all, whole_workspace};
use crate::{limits, mariadb, tools};

/// Version of the images that tests use, and the one to which they roll: the same programs.
const VERSIONS: [&str; 2] = ["0.1.0", "0.1.1"];

/// Tests on the node at a time: they often wait for pods, and three leave a quarter of two cores idle.
pub(crate) const THREADS: u32 = 3;

/// The module of the tests that need several nodes.
const SEVERAL: &str = "nodes::";

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
        return test_step(&limits::CLUSTER, &mut tests(THREADS, filter)?);
    }
    check()?;
    let images = images()?;
    if !filter.is_empty() && filter.iter().all(|name| name.starts_with(SEVERAL)) {
        return on_nodes(&images, filter);
    }
    let mut charts = whole_workspace(&["--test", "charts"])?;
    charts.env("HELM", node_program("helm")?);
    charts.env("RULETEST", node_program("ruletest")?);
    test_step(&limits::CHARTS, &mut charts)?;
    let s3 = node_program("versitygw")?;
    on_s3(&s3)?;
    let mariadb = mariadb::mariadb()?;
    on_node(&images, || {
        let mut tests = inside(&tests(THREADS, filter)?)?;
        tests.env("VERSITYGW", &s3).env("MARIADB", &mariadb);
        test_step(&limits::CLUSTER, &mut tests)?;
        if filter.is_empty() {
            step(&limits::AUDIT, &mut audit()?)?;
        }
        Ok(())
    })?;
    if filter.is_empty() {
        return on_nodes(&images, &[]);
    }
    Ok(())
}

/// Runs the tests that need several nodes, on a cluster of its own that is made for them.
fn on_nodes(images: &[PathBuf], filter: &[String]) -> anyhow::Result<()> {
    let mut up = program(&["up", "--workers", "3"])?;
    // Nobody rolls to the other version there.
    up.args(images.iter().take(images.len() / VERSIONS.len()));
    between(&limits::NODES_UP, &mut up, || {
        let mut tests = whole_workspace(&["--test", "cluster", "--", "--ignored"])?;
        if filter.is_empty() {
            tests.arg(SEVERAL);
        }
        tests.args(filter);
        test_step(&limits::NODES, &mut inside(&tests)?)
    })
}

/// Runs the tests of what is kept in buckets, with this S3 server.
fn on_s3(server: &Path) -> anyhow::Result<()> {
    let mut blobs = whole_workspace(&["--test", "it", "--", "--ignored", "s3::"])?;
    test_step(&limits::S3, blobs.env("VERSITYGW", server))?;
    let mut buckets = whole_workspace(&["--test", "e2e", "--", "--ignored", "buckets::"])?;
    buckets.env("IMD_BIN", programs("debug")?.join("imd"));
    test_step(&limits::BUCKETS, buckets.env("VERSITYGW", server))
}

/// Starts the node of this checkout with these images, works on it, and ends it, whatever happened.
pub(crate) fn on_node(
    images: &[PathBuf],
    work: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    between(&limits::NODE_UP, &mut program(&["up"])?, || {
        let mut import = program(&["import"])?;
        step(&limits::IMPORT, import.args(images))?;
        work()
    })
}

/// Ends an earlier cluster of this checkout, starts one, works on it, and ends it, whatever happened.
fn between(
    limit: &limits::Step,
    up: &mut Command,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    step(&limits::NODE_EARLIER, &mut program(&["down"])?)?;
    let before = Leftovers::now()?;
    step(limit, up)?;
    let result = work();
    let down = step(&limits::NODE_DOWN, &mut program(&["down"])?);
    result.and(down)?;
    before.compare()
}

/// Builds the programs and makes images of them; returns the archives.
pub(crate) fn images() -> anyhow::Result<Vec<PathBuf>> {
    build_all(&limits::BUILT)?;
    let mut archives = Vec::new();
    for version in VERSIONS {
        archives.extend(images_of(&programs("debug")?, version)?);
    }
    Ok(archives)
}

/// Makes images of the programs in a folder, under this tag; returns the archives.
pub(crate) fn images_of(programs: &Path, tag: &str) -> anyhow::Result<[PathBuf; 2]> {
    let out = images_folder()?.join(tag);
    let mut image = program(&["image", "--tag", tag, "--out"])?;
    image.arg(&out).arg("--programs").arg(programs);
    step(&limits::IMAGES, &mut image)?;
    Ok(["imd.tar", "im-operator.tar"].map(|name| out.join(name)))
}

/// The folder of the images for tests.
pub(crate) fn images_folder() -> anyhow::Result<PathBuf> {
    Ok(programs("debug")?.join("images"))
}

/// One of the Go programs that are built for tests.
pub(crate) fn node_program(name: &str) -> anyhow::Result<PathBuf> {
    let folders = printed(&limits::NODE_PROGRAMS, &mut program(&["programs"])?)?;
    let mut programs = folders.lines().map(|folder| Path::new(folder).join(name));
    programs
        .find(|program| program.is_file())
        .with_context(|| format!("build {name}: `kube-node programs` says why not"))
}

/// A call of cargo, made on the node.
pub(crate) fn inside(cargo: &Command) -> anyhow::Result<Command> {
    Ok(made_by(program(&["exec", "--"])?, cargo))
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

/// The command that runs the tests on whatever cluster KUBECONFIG names, so many at a time.
pub(crate) fn tests(threads: u32, filter: &[String]) -> anyhow::Result<Command> {
    let mut tests = whole_workspace(&["--test", "cluster"])?;
    tests.args(["--", &format!("--test-threads={threads}")]);
    tests.args(filter);
    Ok(tests)
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
