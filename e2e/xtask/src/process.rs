//! Child processes that have an end: each in a process group of its own, which is ended as a whole.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, PipeReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::clock::Clock;
use crate::signals;

/// How often a child is looked at.
const TICK: Duration = Duration::from_millis(50);

/// How long a group may take to end by itself once it was asked to.
const GRACE: Duration = Duration::from_secs(3);

/// Pieces of output, each 64 KiB at most, that are read ahead.
const PIPED: usize = 16;

/// How a child ended, or why it was ended.
#[derive(Debug)]
pub(crate) enum End {
    /// By itself.
    Exit(ExitStatus),
    /// It ran longer than it may.
    Limit,
    /// Whoever watched it wanted so, for this reason.
    Watched(String),
    /// Somebody asked this program to stop.
    Signal(Signal),
}

/// What is done with the output of a child, standard output and errors in one stream.
pub(crate) trait Watch {
    /// Takes what was written. The time is that since the start.
    fn output(&mut self, bytes: &[u8], now: Duration);

    /// Asked many times a second: a reason to end the child.
    fn verdict(&mut self, now: Duration) -> Option<String>;
}

/// Runs a command to its end, at most for `limit`; its output goes where ours goes.
pub(crate) fn run(command: &mut Command, limit: Duration) -> io::Result<End> {
    Group::spawn(command)?.supervise(None, limit)
}

/// Runs a command to its end, at most for `limit`; its output goes to `watch`.
pub(crate) fn watched(
    command: &mut Command,
    limit: Duration,
    watch: &mut dyn Watch,
) -> io::Result<End> {
    let (reader, writer) = io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    piped(command, reader, limit, watch)
}

/// As [`watched`], but errors go where ours go.
pub(crate) fn captured(
    command: &mut Command,
    limit: Duration,
    watch: &mut dyn Watch,
) -> io::Result<End> {
    let (reader, writer) = io::pipe()?;
    command.stdout(writer);
    piped(command, reader, limit, watch)
}

fn piped(
    command: &mut Command,
    reader: PipeReader,
    limit: Duration,
    watch: &mut dyn Watch,
) -> io::Result<End> {
    let group = Group::spawn(command);
    // The pipe ends when nobody has its other side.
    command.stdout(Stdio::inherit()).stderr(Stdio::inherit());
    group?.supervise(Some((pump(reader), watch)), limit)
}

/// Runs a command that a person talks to: in the foreground, without a limit.
pub(crate) fn foreground(command: &mut Command) -> io::Result<ExitStatus> {
    let mut child = signals::let_through(|| command.spawn())?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        // What a terminal sends reaches the child too.
        if let Some(signal) = signals::take().filter(|signal| *signal != Signal::SIGINT) {
            kill(pid_of(&child)?, signal)?;
        }
        std::thread::park_timeout(TICK);
    }
}

/// Reads on a thread, so that reading has no part in waiting.
fn pump(mut reader: PipeReader) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::sync_channel(PIPED);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = reader.read(&mut buffer) {
            let bytes = buffer.get(..length).unwrap_or_default().to_vec();
            if sender.send(bytes).is_err() {
                return;
            }
        }
    });
    receiver
}

type Piped<'a> = (Receiver<Vec<u8>>, &'a mut dyn Watch);

/// A child that leads a process group.
struct Group {
    child: Child,
    pid: Pid,
}

impl Group {
    fn spawn(command: &mut Command) -> io::Result<Self> {
        command.process_group(0).stdin(Stdio::null());
        let child = signals::let_through(|| command.spawn())?;
        let pid = pid_of(&child)?;
        Ok(Self { child, pid })
    }

    fn supervise(mut self, mut piped: Option<Piped<'_>>, limit: Duration) -> io::Result<End> {
        let clock = Clock::start();
        let end = loop {
            match &mut piped {
                None => std::thread::park_timeout(TICK),
                Some((output, watch)) => match output.recv_timeout(TICK) {
                    Ok(bytes) => watch.output(&bytes, clock.elapsed()),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => std::thread::park_timeout(TICK),
                },
            }
            if let Some(status) = self.child.try_wait()? {
                break End::Exit(status);
            }
            let verdict = piped.as_mut();
            let verdict = verdict.and_then(|(_, watch)| watch.verdict(clock.elapsed()));
            if let Some(signal) = signals::take() {
                break End::Signal(signal);
            }
            if let Some(reason) = verdict {
                break End::Watched(reason);
            }
            if clock.elapsed() >= limit {
                break End::Limit;
            }
        };
        if !matches!(end, End::Exit(_)) {
            self.end()?;
        }
        // Somebody who outlives the child may hold the pipe: only what is there is waited for.
        if let Some((output, watch)) = piped {
            let last = Clock::start();
            while last.elapsed() < GRACE
                && let Ok(bytes) = output.recv_timeout(TICK * 10)
            {
                watch.output(&bytes, clock.elapsed());
            }
        }
        Ok(end)
    }

    /// Ends the child, its group and what else it started: first asks, then kills.
    fn end(&mut self) -> io::Result<()> {
        let started = descendants(self.pid);
        or_gone(killpg(self.pid, Signal::SIGTERM))?;
        let clock = Clock::start();
        while clock.elapsed() < GRACE {
            // Only once it is waited for is it no longer in its group.
            self.child.try_wait()?;
            if killpg(self.pid, None) == Err(Errno::ESRCH) {
                break;
            }
            std::thread::park_timeout(TICK);
        }
        or_gone(killpg(self.pid, Signal::SIGKILL))?;
        // Those that have left the group. A number may belong to somebody else by now.
        for process in started {
            if Process::read(process.pid).is_some_and(|now| now.start == process.start) {
                or_gone(kill(process.pid, Signal::SIGKILL))?;
            }
        }
        self.child.wait()?;
        Ok(())
    }
}

fn pid_of(child: &Child) -> io::Result<Pid> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    Ok(Pid::from_raw(pid))
}

/// Nobody left to be ended is as good.
fn or_gone(ended: nix::Result<()>) -> io::Result<()> {
    match ended {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A process as `/proc` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Process {
    pid: Pid,
    parent: Pid,
    /// When it started: with the number it names one process and no other.
    start: u64,
}

impl Process {
    fn read(pid: Pid) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in brackets and may hold blanks; then come state and parent.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        Some(Self {
            pid,
            parent: Pid::from_raw(fields.get(1)?.parse().ok()?),
            start: fields.get(19)?.parse().ok()?,
        })
    }
}

/// What a process started, and what those did, as far as a chain of parents leads there.
fn descendants(root: Pid) -> BTreeSet<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let all: Vec<Process> = pids
        .filter_map(|pid| Process::read(Pid::from_raw(pid)))
        .collect();
    let mut found = BTreeSet::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|process| process.parent == parent) {
            if found.insert(*process) {
                parents.push(process.pid);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
