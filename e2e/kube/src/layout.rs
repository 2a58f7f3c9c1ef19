//! Where everything of a node lies, and the addresses of the cluster.

use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};

use crate::member::Member;

/// The address of the node with the control plane, where tests run. All addresses are of the range
/// that RFC 2544 sets aside for tests.
pub const NODE_IP: &str = "198.18.0.1";
/// The address of the cluster's DNS server, on the same node.
pub const DNS_IP: &str = "198.18.0.53";
/// Addresses of pods.
pub const POD_CIDR: &str = "198.18.64.0/18";
/// Addresses of Services.
pub const SERVICE_CIDR: &str = "198.19.0.0/16";
/// The address of the API server's Service: the first of [`SERVICE_CIDR`].
pub const API_SERVICE_IP: &str = "198.19.0.1";
/// The registry inside the node, once its part `registry` is started.
pub const REGISTRY: &str = "198.18.0.1:5000";
/// The image with the tests' helper program; it is also the pause image of every pod.
pub const GUEST_IMAGE: &str = "imcluster.test/guest:1";

/// The folders of one node.
#[derive(Clone, Debug)]
pub struct Layout {
    run: PathBuf,
    member: Member,
}

impl Layout {
    /// The node whose state is in this folder (absolute), which says which of a cluster's nodes it is.
    pub fn new(run: PathBuf) -> Self {
        let member = Member::read(&run);
        Self { run, member }
    }

    /// The same folder for a node that is about to be made.
    #[must_use]
    pub fn with_member(mut self, member: Member) -> Self {
        self.member = member;
        self
    }

    /// Which node it is.
    pub fn member(&self) -> Member {
        self.member
    }

    /// The folders of the workers of the cluster whose control plane is here, up or not.
    pub fn workers(&self) -> impl Iterator<Item = Self> {
        let nodes = self.run.join("nodes");
        self.member.workers().map(move |member| Self {
            run: nodes.join(member.name()),
            member,
        })
    }

    /// The node of this checkout: the folder named by `IM_NODE_DIR`, else one in the cache with a
    /// name made from the path of the workspace, so that two checkouts have a node each.
    ///
    /// # Errors
    /// Neither `XDG_CACHE_HOME` nor `HOME` is set.
    pub fn of_workspace() -> anyhow::Result<Self> {
        if let Some(dir) = std::env::var_os("IM_NODE_DIR") {
            return Ok(Self::new(std::path::absolute(dir)?));
        }
        let name = format!("node-{}", short_hash(&workspace_root()));
        Ok(Self::new(cache_dir()?.join(name)))
    }

    /// The folder that holds all of the node's state.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// The socket on which the node's first process takes commands.
    pub fn control_socket(&self) -> PathBuf {
        self.run.join("control.sock")
    }

    /// Logs, one for each part, and the file of events.
    pub fn logs(&self) -> PathBuf {
        self.run.join("log")
    }

    /// What service accounts asked the API server for: one JSON object (audit.k8s.io/v1 Event) a line.
    pub fn audit_log(&self) -> PathBuf {
        self.logs().join("audit.jsonl")
    }

    /// Certificates, keys and kubeconfigs.
    pub fn pki(&self) -> PathBuf {
        self.run.join("pki")
    }

    /// Rendered configuration files.
    pub fn conf(&self) -> PathBuf {
        self.run.join("conf")
    }

    /// Links to all programs that the node runs, first on the PATH inside; workers have those of the
    /// control plane's node.
    pub fn bin(&self) -> PathBuf {
        self.cluster().join("bin")
    }

    /// The store of images and containers.
    pub fn containerd(&self) -> PathBuf {
        self.run.join("containerd")
    }

    /// Where provisioned volumes lie.
    pub fn volumes(&self) -> PathBuf {
        self.run.join("volumes")
    }

    /// Kubeconfig of `user`; `admin` may do everything.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.pki().join(format!("{user}.kubeconfig"))
    }

    /// Exists once the node was ready.
    pub fn ready_mark(&self) -> PathBuf {
        self.run.join("ready")
    }

    /// Name of the control group, below which all pods are. Those of workers begin with that of the
    /// control plane's node and `-`.
    pub fn cgroup(&self) -> String {
        let cluster = format!("imcluster-{}", short_hash(self.cluster()));
        if self.member.is_worker() {
            format!("{cluster}-{}", self.member.name())
        } else {
            cluster
        }
    }

    /// The folder of the node with the control plane.
    fn cluster(&self) -> &Path {
        let above = self.run.ancestors().nth(2);
        let above = above.filter(|_| self.member.is_worker());
        above.unwrap_or(&self.run)
    }
}

fn short_hash(path: &Path) -> String {
    let hash = Sha256::digest(path.as_os_str().as_encoded_bytes());
    let mut hex = crate::image::hex(&hash);
    hex.truncate(8);
    hex
}

/// The root of this checkout.
pub fn workspace_root() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir
        .ancestors()
        .nth(2)
        .unwrap_or(crate_dir)
        .to_path_buf()
}

/// Folder for things that are built once: `$XDG_CACHE_HOME/imcluster` or `~/.cache/imcluster`.
///
/// # Errors
/// Neither variable is set.
pub fn cache_dir() -> anyhow::Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(&std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(base.join("imcluster"))
}
