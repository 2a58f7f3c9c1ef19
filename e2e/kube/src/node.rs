//! Life of a node: up, commands inside, down.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::control::Control;
use crate::layout::Layout;
use crate::member::Member;
use crate::parts::Part;
use crate::requirements::find_program;
use crate::run::check_output;
use crate::wait::{SOON, until};
use crate::{
    certificates, cgroups, config, image, namespaces, programs, progress, requirements, workers,
};

/// Longest wait for each step of the start.
const STEP: Duration = Duration::from_secs(120);

/// Asks the DNS server's own port for readiness, with nothing but the shell.
const DNS_READY: &str = r"exec 3<>/dev/tcp/127.0.0.1/8181
printf 'GET /ready HTTP/1.0\r\n\r\n' >&3
grep -q '200 OK' <&3";

/// A node of this machine, up or not.
#[derive(Clone, Debug)]
pub struct Node {
    layout: Layout,
}

impl Node {
    /// The node with these folders.
    pub fn new(layout: Layout) -> Self {
        Self { layout }
    }

    /// Its folders.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Its parts.
    pub fn control(&self) -> Control {
        Control::new(self.layout.clone())
    }

    /// Brings the node up as this member of a cluster, and its workers with it, unless it is up already, and
    /// waits until pods can be made. Workers have the images of these OCI archives from the beginning.
    ///
    /// # Errors
    /// A privilege, package or program is missing, another cluster is up in this folder, or a part does not
    /// become ready: the error says where its log is.
    pub async fn up(&self, member: Member, archives: &[PathBuf]) -> anyhow::Result<()> {
        if self.init_pid()?.is_some() && self.layout.ready_mark().is_file() {
            let found = self.layout.member();
            ensure!(
                found == member,
                "a cluster with {} workers is up in {}: end it first",
                found.workers().count(),
                self.layout.run().display()
            );
            progress("the node is up already");
            return archives.iter().try_for_each(|archive| self.import(archive));
        }
        let node = Self::new(self.layout.clone().with_member(member));
        node.begin(archives).await
    }

    async fn begin(&self, archives: &[PathBuf]) -> anyhow::Result<()> {
        requirements::check_privileges()?;
        requirements::install_packages()?;
        let folders = programs::build()?;
        let mut images = vec![image::build::guest()?];
        images.extend_from_slice(archives);
        self.down().await?;
        progress("starting the node");
        self.prepare(&folders)?;
        let mut init = namespaces::make(&self.layout)?;
        let started = self.start_parts(&mut init, &images).await;
        if let Err(error) = started {
            let logs = self.keep_logs();
            self.down().await?;
            return Err(error.context(format!("the node did not start; logs are in {logs}")));
        }
        fs::write(self.layout.ready_mark(), "")?;
        progress(&format!(
            "the node is ready, in {}",
            self.layout.run().display()
        ));
        Ok(())
    }

    /// Ends the node and everything in it. Does nothing if there is none.
    ///
    /// # Errors
    /// Something of it cannot be removed.
    pub async fn down(&self) -> anyhow::Result<()> {
        if let Some(pid) = self.init_pid()? {
            kill(pid, Signal::SIGKILL).context("end the node's first process")?;
            until("the node's first process ends", SOON, async || {
                self.init_pid()
                    .ok()
                    .is_none_or(|pid| pid.is_none())
                    .then_some(())
            })
            .await?;
        }
        // The kernel frees groups a little after their last process.
        until("the control groups are empty", SOON, async || {
            cgroups::remove(&self.layout).ok()
        })
        .await?;
        match fs::remove_dir_all(self.layout.run()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", self.layout.run().display()))
            }
            _ => Ok(()),
        }
    }

    /// A command that runs in the node's namespaces, in this folder, with `KUBECONFIG`, and with the
    /// node's programs first on the PATH.
    ///
    /// # Errors
    /// The node is not up.
    pub fn command(&self, program: &OsString, args: &[OsString]) -> anyhow::Result<Command> {
        let pid = self
            .init_pid()?
            .context("the node is not up: `make cluster-up` starts it")?;
        let mut path = self.layout.bin().into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = namespaces::enter(pid, &std::env::current_dir()?, program);
        command
            .args(args)
            .env("PATH", path)
            .env("KUBECONFIG", self.layout.kubeconfig("admin"))
            .env("CONTAINERD_NAMESPACE", "k8s.io")
            .env("IM_NODE_DIR", self.layout.run());
        Ok(command)
    }

    /// Runs a program of the node to its end and returns what it printed.
    ///
    /// # Errors
    /// The node is not up, or the program fails.
    pub fn output(&self, program: &str, args: &[&str]) -> anyhow::Result<String> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        check_output(&mut self.command(&program.into(), &args)?)
    }

    /// Puts the images of an OCI archive where pods find them: on this node, and on workers that are up.
    ///
    /// # Errors
    /// The node is not up, or the file is no archive of images.
    pub fn import(&self, archive: &Path) -> anyhow::Result<()> {
        self.import_here(archive)?;
        for worker in self.layout.workers().map(Self::new) {
            if worker.init_pid()?.is_some() {
                worker.import_here(archive)?;
            }
        }
        Ok(())
    }

    fn import_here(&self, archive: &Path) -> anyhow::Result<()> {
        let archive = std::path::absolute(archive)?;
        let archive = archive.to_string_lossy();
        self.output("ctr", &["images", "import", &archive])
            .with_context(|| format!("import {archive}"))?;
        Ok(())
    }

    /// The node's first process, if the node is up.
    fn init_pid(&self) -> anyhow::Result<Option<Pid>> {
        namespaces::first(self.layout.run())
    }

    /// Folders, certificates, configuration and programs.
    fn prepare(&self, folders: &[PathBuf]) -> anyhow::Result<()> {
        fs::create_dir_all(self.layout.logs())?;
        fs::create_dir_all(self.layout.volumes())?;
        if !self.layout.member().is_alone() {
            self.layout.member().write(self.layout.run())?;
        }
        certificates::make(&self.layout)?;
        config::write(&self.layout)?;
        let bin = self.layout.bin();
        fs::create_dir_all(&bin)?;
        for folder in folders {
            for program in fs::read_dir(folder)? {
                let program = program?;
                symlink(program.path(), bin.join(program.file_name()))?;
            }
        }
        for name in ["containerd", "ctr"] {
            symlink(find_program(name)?, bin.join(name))?;
        }
        // A copy: the original changes when it is built again while the node is up.
        fs::copy(std::env::current_exe()?, bin.join("kube-node"))?;
        Ok(())
    }

    async fn start_parts(&self, init: &mut Child, images: &[PathBuf]) -> anyhow::Result<()> {
        let control = self.control();
        let up = until("the node's first process listens", STEP, async || {
            control.status().await.ok()
        });
        tokio::select! {
            up = up => up.map(drop)?,
            () = ended(init) => bail!("{}", fs::read_to_string(self.layout.logs().join("init.log"))?),
        }
        for part in [Part::Etcd, Part::KubeApiserver, Part::Containerd] {
            control.start(part).await?;
        }
        self.probe(
            "the API server is ready",
            "kubectl",
            &["get", "--raw=/readyz"],
        )
        .await?;
        progress("the API server is ready");
        control.start(Part::KubeControllerManager).await?;
        control.start(Part::KubeScheduler).await?;
        let bootstrap = self.layout.conf().join("bootstrap.yaml");
        self.output("kubectl", &["apply", "-f", &bootstrap.to_string_lossy()])?;
        self.probe("containerd answers", "ctr", &["version"])
            .await?;
        for archive in images {
            self.import_here(archive)?;
        }
        self.start_workers().await?;
        for part in [
            Part::Kubelet,
            Part::KubeProxy,
            Part::Coredns,
            Part::Netpol,
            Part::Volumes,
        ] {
            control.start(part).await?;
        }
        self.nodes_are_ready()?;
        let account = [
            "wait",
            "--for=create",
            "--timeout=120s",
            "serviceaccount/default",
        ];
        self.output("kubectl", &account)?;
        self.probe("the DNS server is ready", "bash", &["-c", DNS_READY])
            .await?;
        let status = control.status().await?;
        if status.contains(" ended ") {
            bail!("a part has ended:\n{status}");
        }
        Ok(())
    }

    /// Prepares and starts the workers, if there are any, which find the images of this node.
    async fn start_workers(&self) -> anyhow::Result<()> {
        if self.layout.member().is_alone() {
            return Ok(());
        }
        let control = self.control();
        // Its databases are copied while nobody writes.
        control.stop(Part::Containerd).await?;
        for worker in self.layout.workers() {
            workers::prepare(&self.layout, &worker)?;
        }
        control.start(Part::Containerd).await?;
        for worker in self.layout.workers() {
            control.start_node(&worker.member().name()).await?;
        }
        self.probe("containerd answers again", "ctr", &["version"])
            .await
    }

    /// Waits for this node and its workers.
    fn nodes_are_ready(&self) -> anyhow::Result<()> {
        let member = self.layout.member();
        // Of several at once kubectl waits for none to be made.
        for node in member.workers().chain([member]) {
            let node = format!("node/{}", node.name());
            for what in ["--for=create", "--for=condition=Ready"] {
                self.output("kubectl", &["wait", what, "--timeout=120s", &node])?;
            }
        }
        Ok(())
    }

    /// Repeats a command until it succeeds.
    async fn probe(&self, what: &str, program: &str, args: &[&str]) -> anyhow::Result<()> {
        until(what, STEP, async || self.output(program, args).ok())
            .await
            .map(drop)
    }

    /// Moves the logs out of the way of [`Self::down`].
    fn keep_logs(&self) -> String {
        let kept = self.layout.run().with_extension("logs");
        fs::remove_dir_all(&kept).ok();
        match fs::rename(self.layout.logs(), &kept) {
            Ok(()) => {
                for worker in self.layout.workers() {
                    // One that was not made yet has none.
                    fs::rename(worker.logs(), kept.join(worker.member().name())).ok();
                }
                kept.display().to_string()
            }
            Err(error) => format!("nowhere: {error}"),
        }
    }
}

/// Waits until a child has ended.
async fn ended(child: &mut Child) {
    while let Ok(None) = child.try_wait() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
