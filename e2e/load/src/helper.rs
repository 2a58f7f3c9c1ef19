//! Processes of this program that make a part of the load, started by itself. They end when their
//! standard input does, so none outlives the one that started it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// What a helper says when it is where it should be.
const READY: &str = "ready";

/// Tells the process that started this one that it is ready.
pub(crate) fn say_ready() {
    println!("{READY}");
}

/// Waits for the end of the standard input.
pub(crate) async fn no_longer_wanted() {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        let read = std::io::stdin().read_to_end(&mut Vec::new());
        drop(ended.send(read));
    });
    drop(end.await);
}

/// A running helper; it is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Helper {
    child: Child,
    said: oneshot::Receiver<String>,
}

impl Helper {
    /// Starts this program with these arguments, at a lower priority by so much.
    pub(crate) fn start(args: &[String], nice: Option<u8>) -> anyhow::Result<Self> {
        let this = std::env::current_exe()?;
        let mut command = match nice {
            None => Command::new(this),
            Some(by) => {
                let mut nice = Command::new("nice");
                nice.arg(format!("-n{by}")).arg(this);
                nice
            }
        };
        let mut child = command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start a helper")?;
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

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it says that it is ready. Once only.
    pub(crate) async fn ready(&mut self, patience: Duration) -> anyhow::Result<()> {
        let said = timeout(patience, &mut self.said).await;
        let said = said.context("a helper takes too long")?.unwrap_or_default();
        ensure!(said.trim() == READY, "a helper failed");
        Ok(())
    }

    /// Fails when it has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("a helper ended with {status}"),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ended = self.child.kill().and_then(|()| self.child.wait());
        }
    }
}
