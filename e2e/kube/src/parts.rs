//! The parts of a node: their names and command lines.

use std::ffi::OsString;
use std::path::Path;

use crate::layout::{Layout, NODE_IP, REGISTRY, SERVICE_CIDR};

/// How long a node may be silent before it counts as lost, where a cluster has several, seconds. By
/// default it is 50; an address of a lost node is told to users for that long and a little.
pub const NODE_GRACE: u32 = 12;

/// How long pods stay bound to a lost node before they are made anew elsewhere, where a cluster has several,
/// seconds. By default it is 300.
pub const POD_GRACE: u32 = 10;

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

    /// Those that a worker runs.
    pub(crate) const OF_WORKERS: [Self; 4] = [
        Self::Containerd,
        Self::Kubelet,
        Self::KubeProxy,
        Self::Netpol,
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
                let member = layout.member();
                args.flags(&[&format!("--hostname-override={}", member.name())]);
                args.flags(&[&format!("--node-ip={}", member.ip()), "--v=2"]);
                if let Some(zone) = member.zone() {
                    args.flags(&[&format!("--node-labels=topology.kubernetes.io/zone={zone}")]);
                }
                "kubelet"
            }
            Self::KubeProxy => {
                args.path("--config=", "conf/kube-proxy.yaml");
                args.flags(&[&format!("--hostname-override={}", layout.member().name())]);
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
    is_alone: bool,
    list: Vec<OsString>,
}

impl<'a> Args<'a> {
    fn new(layout: &'a Layout) -> Self {
        Self {
            run: layout.run(),
            is_alone: layout.member().is_alone(),
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
    if !args.is_alone {
        args.flags(&[
            &format!("--default-unreachable-toleration-seconds={POD_GRACE}"),
            &format!("--default-not-ready-toleration-seconds={POD_GRACE}"),
        ]);
    }
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
    if !args.is_alone {
        args.flags(&[
            &format!("--node-monitor-grace-period={NODE_GRACE}s"),
            "--node-monitor-period=1s",
        ]);
    }
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
    use crate::layout::Layout;
    use crate::member::Member;

    #[test]
    fn every_name_leads_back_to_its_part() {
        for part in Part::ALL {
            assert_eq!(Part::from_name(part.name()), Some(part));
        }
        assert_eq!(Part::from_name("docker"), None);
    }

    #[test]
    fn a_node_alone_is_lost_as_late_as_kubernetes_has_it_by_default() {
        let flags = |part: Part, member: Member| {
            let layout = Layout::new("/tmp/node".into()).with_member(member);
            let (_, args) = part.command(&layout);
            let words = args.iter().map(|word| word.to_string_lossy().into_owned());
            words.collect::<Vec<_>>().join(" ")
        };
        let several = Member::control(3, 3).unwrap();
        for (part, flag) in [
            (
                Part::KubeControllerManager,
                "--node-monitor-grace-period=12s",
            ),
            (
                Part::KubeApiserver,
                "--default-unreachable-toleration-seconds=10",
            ),
        ] {
            assert!(!flags(part, Member::default()).contains(flag));
            assert!(flags(part, several).contains(flag));
        }
        let worker = several.workers().last().unwrap();
        let kubelet = flags(Part::Kubelet, worker);
        assert!(kubelet.contains("--node-labels=topology.kubernetes.io/zone=z3"));
        assert!(kubelet.contains("--node-ip=198.18.0.13"), "{kubelet}");
    }
}
