//! The tests of `e2e/tests` on a kind cluster: Kubernetes in a container, as other projects test.
//!
//! The tests dial pods and Services, so they run in the network namespace of the cluster's node.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use crate::steps::{made_by, printed, step, test_step};
use crate::{cluster, limits, tools};

/// Name of the cluster; one that has it already is taken and kept.
const CLUSTER: &str = "imcluster-test";

/// Where the API server listens inside the node; its certificate holds this name.
const SERVER: &str = "https://127.0.0.1:6443";

/// What must be on the PATH, and where it is from.
const PROGRAMS: [(&str, &str); 5] = [
    ("kind", "go install sigs.k8s.io/kind@latest"),
    ("docker", "the Docker project"),
    ("kubectl", "the Kubernetes project"),
    ("helm", "the Helm project"),
    ("nsenter", "apt-get install util-linux"),
];

/// Makes a cluster, loads the images, runs the tests and removes the cluster.
pub(crate) fn test(filter: &[String]) -> anyhow::Result<()> {
    if !tools::is_root()? {
        bail!("entering the network of a kind node needs root");
    }
    tools::check_programs(&PROGRAMS)?;
    let mut images = cluster::images()?;
    images.push(
        printed(&limits::NODE_PROGRAMS, &mut cluster::program(&["guest"])?)?
            .trim()
            .into(),
    );
    let clusters = printed(
        &limits::KIND_ASK,
        Command::new("kind").args(["get", "clusters"]),
    )?;
    let is_ours = !clusters.lines().any(|name| name == CLUSTER);
    if is_ours {
        let mut create = kind(&["create", "cluster"]);
        step(&limits::KIND_UP, create.args(["--wait", "5m"]))?;
    }
    let result = on(&images, filter);
    if is_ours {
        let delete = step(&limits::KIND_DOWN, &mut kind(&["delete", "cluster"]));
        return result.and(delete);
    }
    result
}

fn on(images: &[PathBuf], filter: &[String]) -> anyhow::Result<()> {
    let mut load = kind(&["load", "image-archive"]);
    step(&limits::KIND_LOAD, load.args(images))?;
    let container = format!("{CLUSTER}-control-plane");
    let mut inspect = Command::new("docker");
    let pid = printed(
        &limits::KIND_ASK,
        inspect.args(["inspect", "--format", "{{.State.Pid}}", &container]),
    )?;
    let config = kubeconfig(&printed(
        &limits::KIND_ASK,
        &mut kind(&["get", "kubeconfig", "--internal"]),
    )?)?;
    let file = cluster::images_folder()?.join("kind.kubeconfig");
    std::fs::write(&file, config)?;
    let tests = cluster::tests(cluster::THREADS, filter)?;
    let mut inside = Command::new("nsenter");
    inside.args(["--target", pid.trim(), "--net", "--"]);
    let mut inside = made_by(inside, &tests);
    inside.env("KUBECONFIG", file);
    test_step(&limits::CLUSTER, &mut inside)
}

fn kind(args: &[&str]) -> Command {
    let mut kind = Command::new("kind");
    kind.args(args).args(["--name", CLUSTER]);
    kind
}

/// The configuration for use inside the node: only the server's address differs.
fn kubeconfig(text: &str) -> anyhow::Result<String> {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("server: "))
        .context("the kubeconfig of kind names no server")?;
    Ok(text.replace(line, SERVER))
}

#[cfg(test)]
mod tests {
    use super::kubeconfig;

    #[test]
    fn only_the_address_of_the_server_is_changed() {
        let text = "clusters:\n- cluster:\n    server: https://x-control-plane:6443\n  name: x\n";
        let inside = "clusters:\n- cluster:\n    server: https://127.0.0.1:6443\n  name: x\n";
        assert_eq!(kubeconfig(text).unwrap(), inside);
        assert!(kubeconfig("clusters: []").is_err());
    }
}
