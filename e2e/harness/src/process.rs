//! One process of `imd`: started, watched, stopped, continued, killed – by its handle only.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{gauges, wait};

/// How long a process may take to stand still.
const FREEZE: Duration = Duration::from_secs(10);

/// Addresses by role, as `--ready-file` has them.
pub type Addresses = BTreeMap<String, serde_json::Value>;

/// The program under test: `IMD_BIN`, or `imd` beside the running test program.
///
/// # Errors
/// When there is no such file; the message says how to build it.
pub fn imd_binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("IMD_BIN") {
        return Ok(path.into());
    }
    let exe = std::env::current_exe().context("find the test program")?;
    let beside = exe.ancestors().skip(1).take(3).map(|dir| dir.join("imd"));
    beside
        .into_iter()
        .find(|path| path.is_file())
        .context("find the imd program: build it with `cargo build -p imd` or set IMD_BIN")
}

/// How to start a process.
#[derive(Clone, Debug)]
pub struct Spec {
    /// For messages and the names of its files.
    pub name: String,
    /// Arguments after the program.
    pub args: Vec<String>,
    /// Folder for its log and ready file.
    pub dir: PathBuf,
    /// Environment on top of the inherited one.
    pub env: Vec<(String, String)>,
}

/// A running process. Dropping it ends it at once.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    child: Child,
    ready_file: PathBuf,
    log: PathBuf,
}

impl Process {
    /// Starts it; its output goes to `DIR/NAME.log`, appended over restarts.
    pub fn start(spec: Spec) -> anyhow::Result<Self> {
        Self::start_program(&imd_binary()?, spec)
    }

    /// The same with another program in its place, such as a script that ends in `exec`.
    pub fn start_program(program: &Path, spec: Spec) -> anyhow::Result<Self> {
        let ready_file = spec.dir.join(format!("{}.ready.json", spec.name));
        let log = spec.dir.join(format!("{}.log", spec.name));
        match std::fs::remove_file(&ready_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .context("open its log")?;
        let child = Command::new(program)
            .args(&spec.args)
            .arg("--ready-file")
            .arg(&ready_file)
            .envs(spec.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("start {}", spec.name))?;
        Ok(Self {
            spec,
            child,
            ready_file,
            log,
        })
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it was started.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Its addresses, once it is ready.
    pub fn addresses(&self) -> anyhow::Result<Addresses> {
        let raw = std::fs::read(&self.ready_file).context("read its ready file")?;
        Ok(serde_json::from_slice(&raw)?)
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has written its ready file, and a msg server until it lets clients in as well:
    /// that takes a login server, without which it is ready.
    ///
    /// # Errors
    /// When it exits or takes longer than `limit`; the message has the end of its log.
    pub async fn ready(&mut self, limit: Duration) -> anyhow::Result<Addresses> {
        let path = self.ready_file.clone();
        let name = self.spec.name.clone();
        let child = &mut self.child;
        let waited = wait::until(&format!("{name} ready"), limit, || {
            let ended = child.try_wait().ok().flatten();
            let found = std::fs::read(&path)
                .ok()
                .and_then(|raw| serde_json::from_slice(&raw).ok());
            async move {
                match (found, ended) {
                    (Some(addresses), _) => Some(Ok(addresses)),
                    (None, Some(status)) => Some(Err(status)),
                    (None, None) => None,
                }
            }
        })
        .await;
        match waited {
            Ok(Ok(addresses)) => {
                self.lets_clients_in(&addresses, limit).await?;
                Ok(addresses)
            }
            Ok(Err(status)) => bail!("{name} ended with {status}:\n{}", self.log_tail()),
            Err(error) => bail!("{error}:\n{}", self.log_tail()),
        }
    }

    async fn lets_clients_in(&self, addresses: &Addresses, limit: Duration) -> anyhow::Result<()> {
        if !addresses.contains_key("msg") || gauges::admin_of(addresses).is_none() {
            return Ok(());
        }
        let name = &self.spec.name;
        wait::until(&format!("a login server for {name}"), limit, || async {
            let dump = gauges::dump(self).await.ok()?;
            let links = dump.pointer("/msg/login_links")?.as_u64()?;
            (links > 0).then_some(())
        })
        .await
        .with_context(|| self.log_tail())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).context("a pid fits")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("signal {}", self.spec.name))
    }

    /// SIGSTOP, and waits until each of its threads stands still: the signal reaches one after the other.
    ///
    /// # Errors
    /// It has ended, or goes on for more than ten seconds.
    pub async fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGSTOP)?;
        let tasks = format!("/proc/{}/task", self.pid());
        let what = format!("all of {} stands still", self.spec.name);
        wait::until(&what, FREEZE, || async {
            let mut tasks = std::fs::read_dir(&tasks).ok()?.flatten();
            let stat = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("stat"));
            let stands = tasks.all(|task| stat(task).is_ok_and(|stat| stat.contains(") T ")));
            stands.then_some(())
        })
        .await
    }

    /// SIGKILL and wait.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        self.child.kill().context("kill")?;
        self.child.wait().context("wait for its end")?;
        Ok(())
    }

    /// Waits for its end.
    pub async fn ended(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let name = self.spec.name.clone();
        let child = &mut self.child;
        let waited = wait::until(&format!("the end of {name}"), limit, || {
            let status = child.try_wait().ok().flatten();
            async move { status }
        })
        .await;
        waited.with_context(|| self.log_tail())
    }

    /// SIGTERM and wait; the issue allows 30 s.
    pub async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.ended(Duration::from_secs(30)).await
    }

    /// Ends it hard and starts it anew in the same way.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_none() {
            self.kill9()?;
        }
        *self = Self::start(self.spec.clone())?;
        Ok(())
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines
            .iter()
            .skip(lines.len().saturating_sub(40))
            .copied()
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.spec.name, self.log_tail());
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ended = self.child.kill().and_then(|()| self.child.wait());
        }
    }
}

/// Runs a command of `imd` to its end and returns its standard output.
///
/// # Errors
/// A non-zero exit, with what it printed.
pub fn run_imd(dir: &Path, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(imd_binary()?)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .context("run imd")?;
    if !output.status.success() {
        bail!(
            "imd {args:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
