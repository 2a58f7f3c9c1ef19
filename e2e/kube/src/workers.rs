//! The workers of a cluster, as the first process of its control plane starts and ends them; and what each
//! needs in its folder before its first start.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::layout::Layout;
use crate::run::check_output;
use crate::{certificates, config, namespaces, network};

/// Folders of the container runtime that hold images; the others are about containers.
const IMAGE_STORES: [&str; 3] = [
    "io.containerd.content.v1.content",
    "io.containerd.snapshotter.v1.overlayfs",
    "io.containerd.metadata.v1.bolt",
];

/// Makes the folder of a worker: certificates, configuration, and the images that the control plane's node
/// has. Its container runtime must be down.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn prepare(control: &Layout, worker: &Layout) -> anyhow::Result<()> {
    fs::create_dir_all(worker.logs())?;
    worker.member().write(worker.run())?;
    certificates::make_for_worker(control, worker)?;
    config::write(worker)?;
    share_images(&control.containerd(), &worker.containerd())
}

/// Gives a worker the images of another node: files that nobody changes are the same files, and only the
/// databases about them are copied.
fn share_images(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for store in IMAGE_STORES {
        let (from, to) = (from.join(store), to.join(store));
        let mut copy = Command::new("cp");
        copy.args(["--archive", "--link"]).arg(&from).arg(&to);
        check_output(&mut copy)?;
        for entry in fs::read_dir(&from)? {
            let name = entry?.file_name();
            if Path::new(&name).extension().is_some_and(|end| end == "db") {
                fs::remove_file(to.join(&name))?;
                fs::copy(from.join(&name), to.join(&name))?;
            }
        }
    }
    Ok(())
}

/// The workers that run, seen from the first process of the node with the control plane.
pub(crate) struct Workers {
    layout: Layout,
    /// By name: the process that waits for the worker's first one.
    running: BTreeMap<String, Pid>,
}

impl Workers {
    /// None runs yet.
    pub(crate) fn new(layout: Layout) -> Self {
        let running = BTreeMap::new();
        Self { layout, running }
    }

    /// The worker of this name.
    pub(crate) fn find(&self, name: &str) -> anyhow::Result<Layout> {
        let found = |worker: &Layout| worker.member().name() == name;
        let worker = self.layout.workers().find(found);
        worker.with_context(|| format!("no worker is called {name:?}"))
    }

    /// Switches a worker on, unless it is; does not wait until it is ready. Its disk is as it was.
    pub(crate) fn start(&mut self, worker: &Layout) -> anyhow::Result<()> {
        let name = worker.member().name();
        if self.running.contains_key(&name) {
            return Ok(());
        }
        network::unplug(worker.member());
        let child = namespaces::make(worker)?;
        let pid = Pid::from_raw(child.id().cast_signed());
        self.running.insert(name, pid);
        Ok(())
    }

    /// Takes a worker's power away: others hear nothing more from it, then everything in it is killed. The
    /// caller waits until it has [`ended`](Self::ended).
    pub(crate) fn stop(worker: &Layout) -> anyhow::Result<()> {
        // It may have ended by itself.
        network::connect(worker.member(), false).ok();
        if let Some(first) = namespaces::first(worker.run())? {
            kill(first, Signal::SIGKILL).context("end the worker's first process")?;
        }
        Ok(())
    }

    /// Whether a worker is off.
    pub(crate) fn ended(&self, worker: &Layout) -> bool {
        !self.running.contains_key(&worker.member().name())
    }

    /// Takes note of a process that ended; says which worker that was.
    pub(crate) fn reaped(&mut self, pid: Pid) -> Option<String> {
        let ended = self.running.iter().find(|(_, running)| **running == pid);
        let name = ended.map(|(name, _)| name.clone())?;
        self.running.remove(&name);
        Some(name)
    }

    /// A line for each worker, as of parts.
    pub(crate) fn status(&self) -> impl Iterator<Item = String> {
        self.layout.workers().map(|worker| {
            let name = worker.member().name();
            match self.running.get(&name) {
                Some(pid) => format!("{name} running {pid}"),
                None => format!("{name} stopped"),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn shared_images_are_the_same_files_and_databases_are_copies() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for store in IMAGE_STORES {
            fs::create_dir_all(from.join(store).join("blobs")).unwrap();
            fs::write(from.join(store).join("blobs/layer"), "layer").unwrap();
            fs::write(from.join(store).join("meta.db"), "names").unwrap();
        }
        fs::create_dir_all(from.join("io.containerd.grpc.v1.cri")).unwrap();
        share_images(&from, &to).unwrap();
        for store in IMAGE_STORES {
            let files = |name: &str| {
                [&from, &to].map(|it| fs::metadata(it.join(store).join(name)).unwrap().ino())
            };
            let [layer, shared] = files("blobs/layer");
            assert_eq!(layer, shared);
            let [names, copied] = files("meta.db");
            assert_ne!(names, copied);
            let copy = fs::read(to.join(store).join("meta.db")).unwrap();
            assert_eq!(copy, b"names");
        }
        assert!(!to.join("io.containerd.grpc.v1.cri").try_exists().unwrap());
    }

    #[test]
    fn a_worker_is_known_by_name_and_off_once_its_process_was_reaped() {
        let member = crate::member::Member::control(2, 1).unwrap();
        let layout = Layout::new("/nowhere/cluster".into()).with_member(member);
        let mut workers = Workers::new(layout);
        let worker = workers.find("n2").unwrap();
        assert_eq!(worker.run(), Path::new("/nowhere/cluster/nodes/n2"));
        assert_eq!(worker.bin(), Path::new("/nowhere/cluster/bin"));
        assert!(workers.find("n3").is_err() && workers.find("node").is_err());
        workers.running.insert("n2".to_owned(), Pid::from_raw(7));
        let lines: Vec<String> = workers.status().collect();
        assert_eq!(lines, ["n1 stopped", "n2 running 7"]);
        assert_eq!(workers.reaped(Pid::from_raw(8)), None);
        assert!(!workers.ended(&worker));
        assert_eq!(workers.reaped(Pid::from_raw(7)).as_deref(), Some("n2"));
        assert!(workers.ended(&worker));
    }
}
