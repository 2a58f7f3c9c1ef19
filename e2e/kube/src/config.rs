//! The configuration files of a node, made from the templates in `conf`.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use crate::layout::{DNS_IP, GUEST_IMAGE, Layout, NODE_IP, POD_CIDR, REGISTRY};
use crate::requirements::{cni_plugins, find_program};

/// Template, and its place in the node's folder of configuration.
const FILES: [(&str, &str); 8] = [
    (include_str!("../conf/containerd.toml"), "containerd.toml"),
    (include_str!("../conf/kubelet.yaml"), "kubelet.yaml"),
    (include_str!("../conf/kube-proxy.yaml"), "kube-proxy.yaml"),
    (include_str!("../conf/cni.conflist"), "cni/10-test.conflist"),
    (include_str!("../conf/Corefile"), "Corefile"),
    (include_str!("../conf/audit.yaml"), "audit.yaml"),
    (include_str!("../conf/bootstrap.yaml"), "bootstrap.yaml"),
    // What a pod's resolver inherits from the node: nothing.
    ("", "resolv.conf"),
];

/// How long a kubelet's sign of life holds, seconds: what Kubernetes has by default.
const LEASE: u32 = 40;

/// The same where nodes are lost on purpose, which the control plane is to notice in time: see
/// [`crate::parts::NODE_GRACE`].
const QUICK_LEASE: u32 = 8;

/// Keeps pods off the node with the control plane where there are workers.
const CONTROL_TAINT: &str = "{key: node-role.kubernetes.io/control-plane, effect: NoSchedule}";

/// Writes every configuration file of a node.
///
/// # Errors
/// A file cannot be written, or the container runtime is missing.
pub(crate) fn write(layout: &Layout) -> anyhow::Result<()> {
    let runc = find_program("runc")?;
    let cni = cni_plugins().context("the CNI plugins are missing")?;
    let registry = format!("registries/{REGISTRY}/hosts.toml");
    let hosts = (include_str!("../conf/hosts.toml"), registry.as_str());
    for (template, name) in FILES.into_iter().chain([hosts]) {
        let text = render(template, layout)
            .replace("@RUNC@", &runc.to_string_lossy())
            .replace("@CNI_BIN@", &cni.to_string_lossy());
        let file: PathBuf = layout.conf().join(name);
        if let Some(dir) = file.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

/// Fills in the names that hold for a whole node.
pub(crate) fn render(template: &str, layout: &Layout) -> String {
    let member = layout.member();
    let (lease, taints) = if member.is_alone() {
        (LEASE, String::new())
    } else if member.is_worker() {
        (QUICK_LEASE, String::new())
    } else {
        (QUICK_LEASE, CONTROL_TAINT.to_owned())
    };
    let values = [
        ("@RUN@", layout.run().to_string_lossy().into_owned()),
        ("@CGROUP@", layout.cgroup()),
        ("@API_IP@", NODE_IP.to_owned()),
        ("@NODE_IP@", member.ip()),
        ("@DNS_IP@", DNS_IP.to_owned()),
        ("@POD_CIDR@", member.pod_cidr()),
        ("@CLUSTER_CIDR@", POD_CIDR.to_owned()),
        ("@LEASE_SECONDS@", lease.to_string()),
        ("@TAINTS@", taints),
        ("@PAUSE@", GUEST_IMAGE.to_owned()),
        ("@REGISTRY@", REGISTRY.to_owned()),
    ];
    values
        .iter()
        .fold(template.to_owned(), |text, (name, value)| {
            text.replace(name, value)
        })
}

#[cfg(test)]
mod tests {
    use super::{FILES, render};
    use crate::layout::Layout;
    use crate::member::Member;

    #[test]
    fn no_name_is_left_open() {
        let layout = Layout::new("/tmp/node".into());
        for (template, name) in FILES {
            let text = render(template, &layout)
                .replace("@RUNC@", "/usr/bin/runc")
                .replace("@CNI_BIN@", "/usr/lib/cni");
            assert!(!text.contains('@'), "{name}: {text}");
        }
    }

    #[test]
    fn only_a_control_plane_with_workers_keeps_pods_off() {
        let control = Member::control(2, 2).unwrap();
        let worker = control.workers().last().unwrap();
        for (member, taints, lease) in [
            (Member::default(), "[]", 40),
            (
                control,
                "[{key: node-role.kubernetes.io/control-plane, effect: NoSchedule}]",
                8,
            ),
            (worker, "[]", 8),
        ] {
            let layout = Layout::new("/tmp/node".into()).with_member(member);
            let text = render(include_str!("../conf/kubelet.yaml"), &layout);
            let lines: Vec<&str> = text.lines().collect();
            assert!(lines.contains(&format!("registerWithTaints: {taints}").as_str()));
            assert!(lines.contains(&format!("nodeLeaseDurationSeconds: {lease}").as_str()));
            assert!(lines.contains(&format!("address: {}", member.ip()).as_str()));
        }
    }
}
