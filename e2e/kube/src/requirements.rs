//! What a machine needs to run a node: packages and privileges.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::run::check_output;

/// A program, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 8] = [
    ("nft", "nftables"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("openssl", "openssl"),
    ("unshare", "util-linux"),
    ("sysctl", "procps"),
];

const CNI_PACKAGE: &str = "containernetworking-plugins";

/// Where distributions put the CNI plugins.
const CNI_DIRS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// Checks that this process may make a node.
///
/// # Errors
/// Says which privilege is missing, and what to do.
pub fn check_privileges() -> anyhow::Result<()> {
    check_root()?;
    let namespaces = ["--mount", "--net", "--pid", "--ipc", "--uts", "--fork"];
    let mut unshare = Command::new("unshare");
    unshare
        .args(namespaces)
        .args(["--mount-proc", "mount", "--make-rshared", "/"]);
    check_output(&mut unshare).context(
        "this machine does not let root make namespaces and mounts in them (CAP_SYS_ADMIN): in a \
         container, run it privileged",
    )?;
    crate::cgroups::check()
}

/// Checks that this process runs as root.
///
/// # Errors
/// Says what to do.
pub fn check_root() -> anyhow::Result<()> {
    // A process's folder belongs to the user that it acts as.
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        bail!(
            "a Kubernetes node needs root (namespaces, mounts, control groups): run the same command \
             as root, or use `make test-fast`, which needs neither root nor a cluster"
        );
    }
    Ok(())
}

/// Installs the Debian packages that are missing.
///
/// # Errors
/// Where `apt-get` does not exist or fails: names the packages and what they are for.
pub fn install_packages() -> anyhow::Result<()> {
    let missing = missing_packages();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if find_program("apt-get").is_err() {
        bail!("programs are missing; install what Debian packages as: {list}");
    }
    crate::progress(&format!("installing packages: {list}"));
    let install = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(&missing);
        check_output(&mut apt)
    };
    let hint = || format!("these packages could not be installed; install them by hand: {list}");
    // The lists of a fresh machine may be absent or too old.
    if install().is_err() {
        check_output(Command::new("apt-get").args(["update", "-qq"])).with_context(hint)?;
        install().with_context(hint)?;
    }
    let still = missing_packages();
    if !still.is_empty() {
        bail!("still missing after installation: {}", still.join(" "));
    }
    Ok(())
}

fn missing_packages() -> Vec<&'static str> {
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| find_program(program).is_err())
        .map(|(_, package)| *package)
        .collect();
    if cni_plugins().is_none() {
        missing.push(CNI_PACKAGE);
    }
    missing.dedup();
    missing
}

/// The folder with the CNI plugins that the node uses.
pub(crate) fn cni_plugins() -> Option<PathBuf> {
    CNI_DIRS.iter().map(PathBuf::from).find(|dir| {
        ["bridge", "host-local", "loopback"]
            .iter()
            .all(|plugin| dir.join(plugin).is_file())
    })
}

/// Full path of a program on the PATH or in the folders of system programs.
pub(crate) fn find_program(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|dir: PathBuf| dir.join(name))
        .find(|file: &PathBuf| Path::is_file(file))
        .with_context(|| format!("the program {name} is not on the PATH"))
}
