//! A node without those parts that have nothing to do with the operator, and what the others use.

use anyhow::Context as _;
use im_e2e_kube::control::Control;
use im_e2e_kube::parts::Part;
use im_e2e_kube::testing::Cluster;

use crate::measure;

/// Parts that make something of pods, Services and policies: a thousand ImClusters would keep them busy.
const STOPPED: [Part; 6] = [
    Part::KubeScheduler,
    Part::Kubelet,
    Part::KubeProxy,
    Part::Coredns,
    Part::Netpol,
    Part::Volumes,
];

/// Parts that stay, and whose work is part of the figures.
const KEPT: [Part; 3] = [Part::KubeApiserver, Part::Etcd, Part::KubeControllerManager];

/// The node of the benchmark.
///
/// # Errors
/// The cluster is another one.
pub(crate) fn node(cluster: &Cluster) -> anyhow::Result<&Control> {
    cluster
        .node("everything")
        .context("run it inside the tests' own node: `make bench-operator`")
}

/// While it lives, pods stay pending.
pub(crate) struct Quiet {
    control: Control,
}

impl Quiet {
    pub(crate) async fn new(cluster: &Cluster) -> anyhow::Result<Self> {
        let control = node(cluster)?.clone();
        for part in STOPPED {
            control.stop(part).await?;
        }
        Ok(Self { control })
    }

    /// Starts everything again.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        for part in STOPPED {
            self.control.start(part).await?;
        }
        Ok(())
    }
}

/// Seconds of CPU that each part of the control plane has used, with its name.
pub(crate) async fn control_plane_cpu(
    cluster: &Cluster,
) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let status = node(cluster)?.status().await?;
    let mut used = Vec::new();
    for part in KEPT {
        let name = part.name();
        let pid = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(" running "))
            .with_context(|| format!("{name} does not run:\n{status}"))?;
        used.push((name, measure::cpu_seconds(pid.parse()?)?));
    }
    used.push(("this program", measure::cpu_seconds(std::process::id())?));
    Ok(used)
}

/// How much more each part has used since, in words.
pub(crate) fn more(before: &[(&str, f64)], after: &[(&str, f64)]) -> String {
    let parts = before.iter().zip(after);
    let words = parts.map(|((name, before), (_, after))| format!("{name} {:.1} s", after - before));
    words.collect::<Vec<_>>().join(", ")
}
