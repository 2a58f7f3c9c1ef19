//! Telling the node's first process what to do.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::layout::Layout;
use crate::parts::Part;

/// Longer than the node waits for a part to end.
const LIMIT: Duration = Duration::from_secs(30);

/// The parts of a running node, by name. Works from inside its namespaces and from outside.
#[derive(Clone, Debug)]
pub struct Control {
    layout: Layout,
}

impl Control {
    /// Commands go to the node with these folders.
    pub fn new(layout: Layout) -> Self {
        Self { layout }
    }

    /// The node's folders.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Starts a part; does nothing if it runs. Does not wait until it is ready.
    ///
    /// # Errors
    /// The node does not run, or the program cannot be started.
    pub async fn start(&self, part: Part) -> anyhow::Result<()> {
        self.ask(&format!("start {}", part.name())).await.map(drop)
    }

    /// Ends a part by SIGTERM, after 10 s by SIGKILL, and waits until it is gone. It stays down.
    ///
    /// # Errors
    /// The node does not run.
    pub async fn stop(&self, part: Part) -> anyhow::Result<()> {
        self.ask(&format!("stop {}", part.name())).await.map(drop)
    }

    /// Ends a part by SIGKILL and waits until it is gone. It stays down.
    ///
    /// # Errors
    /// The node does not run.
    pub async fn kill(&self, part: Part) -> anyhow::Result<()> {
        self.ask(&format!("kill {}", part.name())).await.map(drop)
    }

    /// Switches a worker on; does nothing if it is. Does not wait until it is ready. Its disk is as it was.
    ///
    /// # Errors
    /// No worker has this name, or the cluster does not run.
    pub async fn start_node(&self, name: &str) -> anyhow::Result<()> {
        self.ask(&format!("start-node {name}")).await.map(drop)
    }

    /// Takes a worker's power away: it falls silent, then everything in it is killed. Waits until nothing
    /// of it is left but its disk.
    ///
    /// # Errors
    /// As [`Self::start_node`].
    pub async fn stop_node(&self, name: &str) -> anyhow::Result<()> {
        self.ask(&format!("stop-node {name}")).await.map(drop)
    }

    /// Cuts a worker off from all other nodes, while everything on it goes on.
    ///
    /// # Errors
    /// As [`Self::start_node`].
    pub async fn cut_node(&self, name: &str) -> anyhow::Result<()> {
        self.ask(&format!("cut-node {name}")).await.map(drop)
    }

    /// Ends that.
    ///
    /// # Errors
    /// As [`Self::start_node`].
    pub async fn join_node(&self, name: &str) -> anyhow::Result<()> {
        self.ask(&format!("join-node {name}")).await.map(drop)
    }

    /// One line for each part, and each worker: name, then `running PID`, `stopped` or `ended …`.
    ///
    /// # Errors
    /// The node does not run.
    pub async fn status(&self) -> anyhow::Result<String> {
        self.ask("status").await
    }

    async fn ask(&self, command: &str) -> anyhow::Result<String> {
        timeout(LIMIT, self.exchange(command))
            .await
            .with_context(|| format!("{command}: no answer from the node within {LIMIT:?}"))?
            .with_context(|| format!("{command}: is the node up?"))
    }

    async fn exchange(&self, command: &str) -> anyhow::Result<String> {
        let socket = self.layout.control_socket();
        let mut stream = UnixStream::connect(&socket)
            .await
            .with_context(|| format!("connect to {}", socket.display()))?;
        stream.write_all(format!("{command}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        match answer.split_once(' ') {
            Some(("ok", text)) => Ok(text.to_owned()),
            Some(("error", text)) => bail!("the node says: {text}"),
            _ => bail!("unexpected answer {answer:?}"),
        }
    }
}
