//! The namespaces of a node: making them with their first process, finding that process, entering them.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use nix::unistd::Pid;

use crate::layout::Layout;

/// Those that a node has for itself.
const KINDS: [&str; 5] = ["--mount", "--net", "--pid", "--ipc", "--uts"];

/// Starts the first process of a node in namespaces of its own. The kernel ends everything in them when
/// it ends; a worker's are below those of the node with the control plane.
///
/// # Errors
/// The log cannot be written, or `unshare` not be started.
pub(crate) fn make(layout: &Layout) -> anyhow::Result<Child> {
    let log = fs::File::create(layout.logs().join("init.log"))?;
    Command::new("setsid")
        .arg("unshare")
        .args(KINDS)
        .args(["--fork", "--kill-child=SIGKILL", "--mount-proc"])
        .args(["--propagation", "private"])
        .arg(layout.bin().join("kube-node"))
        .arg("--run")
        .arg(layout.run())
        .arg("init")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir("/")
        .spawn()
        .context("start unshare")
}

/// A call of a program in the namespaces of this process, to which arguments are added.
pub(crate) fn enter(first: Pid, folder: &Path, program: &OsStr) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--target={first}"))
        .args(KINDS)
        .arg(format!("--wd={}", folder.display()))
        .arg(program);
    command
}

/// The number, in this process' namespace, of the first process of the node with this folder.
///
/// # Errors
/// Processes cannot be listed.
pub(crate) fn first(run: &Path) -> anyhow::Result<Option<Pid>> {
    let run = run.as_os_str().as_encoded_bytes();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Ok(number) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        // Processes come and go while the list is read.
        let Ok(line) = fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let mut words = line.rsplit(|byte| *byte == 0).skip(1);
        if words.next() != Some(b"init") || words.next() != Some(run) {
            continue;
        }
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let inner = numbers.and_then(|numbers| numbers.split_whitespace().last());
        if inner == Some("1") && !status.contains("State:\tZ") {
            return Ok(Some(Pid::from_raw(number)));
        }
    }
    Ok(None)
}
