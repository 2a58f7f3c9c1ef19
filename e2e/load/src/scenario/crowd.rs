//! Idle phones in processes of their own: as many as a msg server takes need as many open files, and
//! one process may not have those of several.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::{flow, idle};

/// What the process says when everybody is logged in.
const READY: &str = "ready";
/// Longest time for all logins of a process.
const PATIENCE: Duration = Duration::from_mins(5);
/// Longer than any measurement.
const LONG: Duration = Duration::from_hours(24);

/// Whom a process holds.
#[derive(Debug, clap::Args)]
pub(crate) struct HoldArgs {
    /// Client port of a msg server.
    address: SocketAddr,
    /// Id of the first person.
    first: u32,
    /// How many persons.
    count: u32,
}

/// Logs people in, says so, and keeps their connections until the standard input ends.
pub(crate) async fn hold(args: &HoldArgs) -> anyhow::Result<()> {
    let connections: Vec<_> = stream::iter(args.first..args.first + args.count)
        .map(|id| idle::phone(args.address, id))
        .buffered(flow::LOGINS_AT_ONCE)
        .try_collect()
        .await?;
    println!("{READY}");
    let (lost, mut losses) = mpsc::channel(1);
    let readers = flow::read_all(
        connections.iter().cloned(),
        |_, _, _| {},
        move |error| drop(lost.try_send(error)),
    );
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        let read = std::io::stdin().read_to_end(&mut Vec::new());
        drop(ended.send(read));
    });
    tokio::select! {
        beating = idle::beat(&connections, Instant::now(), LONG) => beating?,
        loss = losses.recv() => bail!(loss.context("readers have stopped")?),
        _ = end => {}
    }
    readers.end().await
}

/// A process that holds people.
#[derive(Debug)]
pub(super) struct Crowd {
    child: Child,
    said: oneshot::Receiver<String>,
}

impl Crowd {
    /// Starts one for the people from `first` on.
    pub(super) fn start(address: SocketAddr, first: u32, count: u32) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("hold")
            .arg(address.to_string())
            .args([first.to_string(), count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start a process for idle connections")?;
        let stdout = child.stdout.take().context("standard output is a pipe")?;
        let (say, said) = oneshot::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            if BufReader::new(stdout).read_line(&mut line).is_ok() {
                drop(say.send(line));
            }
        });
        Ok(Self { child, said })
    }

    /// Waits until everybody is logged in.
    pub(super) async fn ready(&mut self) -> anyhow::Result<()> {
        let said = timeout(PATIENCE, &mut self.said).await;
        let said = said.context("logins take too long")?.unwrap_or_default();
        ensure!(said.trim() == READY, "the process for connections failed");
        Ok(())
    }

    /// Fails when it has lost a connection, which ends it.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the process for connections ended with {status}"),
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ended = self.child.kill().and_then(|()| self.child.wait());
        }
    }
}
