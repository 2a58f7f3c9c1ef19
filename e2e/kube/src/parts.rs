//! The parts of a node: their names and command lines.

use std::ffi::OsString;
use std::path::Path;

use crate::layout::{Layout, NODE, NODE_IP, REGISTRY, SERVICE_CIDR};

/// A program of the node, which the supervisor starts, stops and restarts by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Part {
    /// The store of the API server.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// The built-in controllers.
    KubeControllerManager,
    /// The scheduler.
    KubeScheduler,
    /// The container runtime. Containers live on without it.
    Containerd,
    /// The node's agent. Pods live on without it.
    Kubelet,
    /// Services, as nft rules.
    KubeProxy,
    /// The cluster's DNS server.
    Coredns,
    /// Network policies, as nft rules.
    Netpol,
    /// The provisioner of the StorageClass `standard`.
    Volumes,
    /// An image registry without authentication; not started with the node.
    Registry,
}

impl Part {
    /// Every part, in the order in which `status` lists them.
    pub const ALL: [Self; 11] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Containerd,
        Self::Kubelet,
        Self::KubeProxy,
        Self::Coredns,
        Self::Netpol,
        Self::Volumes,
        Self::Registry,
    ];

    /// The name on the command line and of the log file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Coredns => "coredns",
            Self::Netpol => "netpol",
            Self::Volumes => "volumes",
            Self::Registry => "registry",
        }
    }

    /// The part of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }

    /// Program (a name in the node's folder of programs) and arguments.
    pub(crate) fn command(self, layout: &Layout) -> (&'static str, Vec<OsString>) {
        let mut args = Args::new(layout);
        let program = match self {
            Self::Etcd => etcd(&mut args),
            Self::KubeApiserver => apiserver(&mut args),
            Self::KubeControllerManager => controller_manager(&mut args),
            Self::KubeScheduler => scheduler(&mut args),
            Self::Containerd => {
                args.path("--config=", "conf/containerd.toml");
                "containerd"
            }
            Self::Kubelet => {
                args.path("--config=", "conf/kubelet.yaml");
                args.path("--kubeconfig=", "pki/kubelet.kubeconfig");
                args.path("--root-dir=", "kubelet");
                args.flags(&[&format!("--hostname-override={NODE}")]);
                args.flags(&[&format!("--node-ip={NODE_IP}"), "--v=2"]);
                "kubelet"
            }
            Self::KubeProxy => {
                args.path("--config=", "conf/kube-proxy.yaml");
                args.flags(&[&format!("--hostname-override={NODE}")]);
                "kube-proxy"
            }
            Self::Coredns => {
                args.flags(&["-conf"]);
                args.path("", "conf/Corefile");
                "coredns"
            }
            Self::Netpol | Self::Volumes => {
                args.flags(&["--run"]);
                args.list.push(layout.run().into());
                args.flags(&[self.name()]);
                "kube-node"
            }
            Self::Registry => {
                args.flags(&["registry", "serve", "--address", REGISTRY]);
                "crane"
            }
        };
        (program, args.list)
    }
}

/// A list of arguments, some of which are paths in the node's folder.
struct Args<'a> {
    run: &'a Path,
    list: Vec<OsString>,
}

impl<'a> Args<'a> {
    fn new(layout: &'a Layout) -> Self {
        Self {
            run: layout.run(),
            list: Vec::new(),
        }
    }

    fn flags(&mut self, flags: &[&str]) {
        self.list.extend(flags.iter().map(OsString::from));
    }

    fn path(&mut self, flag: &str, file: &str) {
        let mut argument = OsString::from(flag);
        argument.push(self.run.join(file));
        self.list.push(argument);
    }
}

fn etcd(args: &mut Args<'_>) -> &'static str {
    args.path("--data-dir=", "etcd");
    args.flags(&[
        "--unsafe-no-fsync",
        "--log-level=warn",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
    ]);
    "etcd"
}

fn apiserver(args: &mut Args<'_>) -> &'static str {
    for (flag, file) in [
        ("--client-ca-file=", "pki/ca.crt"),
        ("--tls-cert-file=", "pki/apiserver.crt"),
        ("--tls-private-key-file=", "pki/apiserver.key"),
        (
            "--kubelet-client-certificate=",
            "pki/apiserver-kubelet-client.crt",
        ),
        ("--kubelet-client-key=", "pki/apiserver-kubelet-client.key"),
        ("--kubelet-certificate-authority=", "pki/ca.crt"),
        ("--service-account-key-file=", "pki/sa.pub"),
        ("--service-account-signing-key-file=", "pki/sa.key"),
        ("--requestheader-client-ca-file=", "pki/front-proxy-ca.crt"),
        ("--proxy-client-cert-file=", "pki/front-proxy-client.crt"),
        ("--proxy-client-key-file=", "pki/front-proxy-client.key"),
        ("--audit-policy-file=", "conf/audit.yaml"),
        ("--audit-log-path=", "log/audit.jsonl"),
    ] {
        args.path(flag, file);
    }
    args.flags(&[
        "--etcd-servers=http://127.0.0.1:2379",
        &format!("--advertise-address={NODE_IP}"),
        "--secure-port=6443",
        &format!("--service-cluster-ip-range={SERVICE_CIDR}"),
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--enable-aggregator-routing=true",
        // In MiB; the file stays whole, since tests read all of it.
        "--audit-log-maxsize=10000",
        "--audit-log-format=json",
        "--profiling=false",
        "--v=1",
    ]);
    "kube-apiserver"
}

fn controller_manager(args: &mut Args<'_>) -> &'static str {
    let user = "pki/kube-controller-manager.kubeconfig";
    for (flag, file) in [
        ("--kubeconfig=", user),
        ("--authentication-kubeconfig=", user),
        ("--authorization-kubeconfig=", user),
        ("--service-account-private-key-file=", "pki/sa.key"),
        ("--root-ca-file=", "pki/ca.crt"),
        ("--cluster-signing-cert-file=", "pki/ca.crt"),
        ("--cluster-signing-key-file=", "pki/ca.key"),
        ("--requestheader-client-ca-file=", "pki/front-proxy-ca.crt"),
        ("--flex-volume-plugin-dir=", "kubelet/plugins-exec"),
    ] {
        args.path(flag, file);
    }
    args.flags(&[
        "--use-service-account-credentials=true",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--v=1",
    ]);
    "kube-controller-manager"
}

fn scheduler(args: &mut Args<'_>) -> &'static str {
    let user = "pki/kube-scheduler.kubeconfig";
    args.path("--kubeconfig=", user);
    args.path("--authentication-kubeconfig=", user);
    args.path("--authorization-kubeconfig=", user);
    args.flags(&[
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    ]);
    "kube-scheduler"
}

#[cfg(test)]
mod tests {
    use super::Part;

    #[test]
    fn every_name_leads_back_to_its_part() {
        for part in Part::ALL {
            assert_eq!(Part::from_name(part.name()), Some(part));
        }
        assert_eq!(Part::from_name("docker"), None);
    }
}
