//! The first process of a node: it makes the node's surroundings, then starts and stops parts as it
//! is told on a socket, and takes over the orphans of its namespace.
//!
//! It runs in mount, network, process, IPC and UTS namespaces of its own. When it ends, the kernel
//! ends everything in them; there is no other cleaning up to do.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout_at};

use crate::layout::Layout;
use crate::network;
use crate::parts::Part;
use crate::run::check_output;
use crate::wait::{SOON, until};
use crate::workers::Workers;

/// How long a part may take to end before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Where a node's container runtime listens.
const RUNTIME_SOCKET: &str = "/run/containerd/containerd.sock";

/// Pause before a part that ended by itself is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Runs the node until it is killed.
///
/// # Errors
/// The surroundings cannot be made. Problems of parts are answers to commands instead.
pub async fn run(layout: Layout) -> anyhow::Result<()> {
    surroundings(&layout)?;
    let mut children = signal(SignalKind::child())?;
    let socket = layout.control_socket();
    // A worker that was switched off has left one.
    fs::remove_file(&socket).ok();
    let listener =
        UnixListener::bind(&socket).with_context(|| format!("listen on {}", socket.display()))?;
    let mut supervisor = Supervisor {
        workers: Workers::new(layout.clone()),
        layout,
        states: BTreeMap::new(),
    };
    if supervisor.layout.member().is_worker() {
        supervisor.boot().await?;
    }
    loop {
        tokio::select! {
            _ = children.recv() => supervisor.reap(),
            () = sleep(RESTART_PAUSE), if supervisor.someone_is_down() => supervisor.restart(),
            peer = listener.accept() => {
                let (stream, _) = peer.context("accept a command")?;
                if let Err(error) = supervisor.serve(stream).await {
                    supervisor.note(&format!("command failed: {error:#}"));
                }
            }
        }
    }
}

/// Mounts, network and control groups.
fn surroundings(layout: &Layout) -> anyhow::Result<()> {
    // A kubelet needs shared propagation; the peer group is this namespace's own.
    let mounts: [&[&str]; 4] = [
        &["mount", "--make-rshared", "/"],
        &["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"],
        // Some paths below are fixed in the programs; nothing may reach the machine's own folders.
        &[
            "mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/var/lib",
        ],
        &[
            "mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/var/log",
        ],
    ];
    let member = layout.member();
    if member.is_worker() {
        // The switch is out of sight below.
        network::plug_in(member)?;
    }
    for line in mounts {
        let [program, args @ ..] = line else { continue };
        check_output(Command::new(program).args(args))?;
    }
    fs::create_dir_all("/run/netns")?;
    network::make(layout)?;
    bridged_packets_pass_the_filter()?;
    crate::cgroups::make(layout)
}

/// Lets forward rules see packets between pods on one bridge: network policies depend on it.
fn bridged_packets_pass_the_filter() -> anyhow::Result<()> {
    let file = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    fs::write(file, "1").with_context(|| {
        format!("{file}: the kernel needs the module br_netfilter (`modprobe br_netfilter`)")
    })
}

/// What became of a part that was started.
#[derive(Clone, Debug)]
enum State {
    Running(Pid),
    /// Ended by itself; it is started again soon.
    Ended(String),
    Stopped,
}

struct Supervisor {
    layout: Layout,
    states: BTreeMap<Part, State>,
    workers: Workers,
}

impl Supervisor {
    /// Answers the one command of a connection: `ok TEXT` or `error TEXT`.
    async fn serve(&mut self, mut stream: UnixStream) -> anyhow::Result<()> {
        let mut line = String::new();
        BufReader::new(&mut stream).read_line(&mut line).await?;
        let answer = match self.obey(line.trim()).await {
            Ok(text) => format!("ok {text}"),
            Err(error) => format!("error {error:#}"),
        };
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        Ok(())
    }

    async fn obey(&mut self, line: &str) -> anyhow::Result<String> {
        self.note(line);
        let (verb, name) = line.split_once(' ').unwrap_or((line, ""));
        if verb == "status" {
            return Ok(self.status());
        }
        if let Some(verb) = verb.strip_suffix("-node") {
            return self.obey_on_worker(verb, name).await;
        }
        let part = Part::from_name(name).with_context(|| format!("no part is called {name:?}"))?;
        match verb {
            "start" => self.start(part)?,
            "stop" => self.stop(part, Signal::SIGTERM).await?,
            "kill" => self.stop(part, Signal::SIGKILL).await?,
            _ => bail!("no command is called {verb:?}"),
        }
        Ok(String::new())
    }

    async fn obey_on_worker(&mut self, verb: &str, name: &str) -> anyhow::Result<String> {
        let worker = self.workers.find(name)?;
        match verb {
            "start" => self.workers.start(&worker)?,
            "stop" => self.switch_off(&worker).await?,
            "cut" => network::connect(worker.member(), false)?,
            "join" => network::connect(worker.member(), true)?,
            _ => bail!("no command is called {verb:?}"),
        }
        Ok(String::new())
    }

    /// Starts what a worker runs.
    async fn boot(&mut self) -> anyhow::Result<()> {
        self.start(Part::Containerd)?;
        until("the container runtime listens", SOON, async || {
            UnixStream::connect(RUNTIME_SOCKET).await.ok()
        })
        .await?;
        for part in Part::OF_WORKERS {
            self.start(part)?;
        }
        Ok(())
    }

    /// Ends a worker and waits until nothing of it is left.
    async fn switch_off(&mut self, worker: &Layout) -> anyhow::Result<()> {
        let mut children = signal(SignalKind::child())?;
        Workers::stop(worker)?;
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            self.reap();
            if self.workers.ended(worker) {
                network::unplug(worker.member());
                return Ok(());
            }
            timeout_at(deadline, children.recv())
                .await
                .context("the worker does not end")?;
        }
    }

    fn status(&self) -> String {
        let line = |part: &Part| {
            let state = match self.states.get(part) {
                Some(State::Running(pid)) => format!("running {pid}"),
                Some(State::Ended(how)) => format!("ended {how}"),
                Some(State::Stopped) | None => "stopped".to_owned(),
            };
            format!("{} {state}", part.name())
        };
        let parts = Part::ALL.iter().map(line);
        let lines: Vec<String> = parts.chain(self.workers.status()).collect();
        lines.join("\n")
    }

    /// Starts a part unless it runs.
    fn start(&mut self, part: Part) -> anyhow::Result<()> {
        if matches!(self.states.get(&part), Some(State::Running(_))) {
            return Ok(());
        }
        let (program, args) = part.command(&self.layout);
        let log = self.layout.logs().join(format!("{}.log", part.name()));
        let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let child = Command::new(self.layout.bin().join(program))
            .args(args)
            .current_dir(self.layout.run())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {program}"))?;
        // Children are waited for in `reap`, by number, together with orphans.
        let pid = Pid::from_raw(child.id().cast_signed());
        self.states.insert(part, State::Running(pid));
        Ok(())
    }

    /// Ends a part, which then stays down until it is started.
    async fn stop(&mut self, part: Part, how: Signal) -> anyhow::Result<()> {
        let mut children = signal(SignalKind::child())?;
        let Some(State::Running(running)) = self.states.insert(part, State::Stopped) else {
            return Ok(());
        };
        kill(running, how).with_context(|| format!("signal {}", part.name()))?;
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            self.reap();
            if kill(running, None).is_err() {
                return Ok(());
            }
            if timeout_at(deadline, children.recv()).await.is_err() {
                kill(running, Signal::SIGKILL).ok();
                children.recv().await;
            }
        }
    }

    /// Collects every process that ended.
    fn reap(&mut self) {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(status) => status,
                Err(_) => continue,
            };
            let worker = status.pid().and_then(|pid| self.workers.reaped(pid));
            if let Some(name) = worker {
                self.note(&format!("worker {name} ended: {status:?}"));
            }
            let ended = self.states.iter_mut().find(
                |(_, state)| matches!(state, State::Running(pid) if status.pid() == Some(*pid)),
            );
            if let Some((part, state)) = ended {
                let how = format!("{status:?}");
                let text = format!("{} ended: {how}", part.name());
                *state = State::Ended(how);
                self.note(&text);
            }
        }
    }

    fn someone_is_down(&self) -> bool {
        let mut states = self.states.values();
        states.any(|state| matches!(state, State::Ended(_)))
    }

    fn restart(&mut self) {
        for part in Part::ALL {
            if matches!(self.states.get(&part), Some(State::Ended(_))) {
                let result = self.start(part);
                self.note(&format!("restart {}: {result:?}", part.name()));
            }
        }
    }

    /// Adds a line to the file of events; a full disk must not end the node.
    fn note(&self, text: &str) {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let file = self.layout.logs().join("events.log");
        let file = fs::OpenOptions::new().create(true).append(true).open(file);
        if let Ok(mut file) = file {
            writeln!(file, "{:.3} {text}", now.as_secs_f64()).ok();
        }
    }
}
