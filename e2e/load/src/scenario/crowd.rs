//! Idle phones in processes of their own: as many as a msg server takes need as many open files, and
//! one process may not have those of several.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{flow, idle};
use crate::helper::{self, Helper};

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
    helper::say_ready();
    let (lost, mut losses) = mpsc::channel(1);
    let readers = flow::read_all(
        connections.iter().cloned(),
        |_, _, _| {},
        move |error| drop(lost.try_send(error)),
    );
    tokio::select! {
        beating = idle::beat(&connections, Instant::now(), LONG) => beating?,
        loss = losses.recv() => bail!(loss.context("readers have stopped")?),
        () = helper::no_longer_wanted() => {}
    }
    readers.end().await
}

/// A process that holds people.
#[derive(Debug)]
pub(super) struct Crowd(Helper);

impl Crowd {
    /// Starts one for the people from `first` on.
    pub(super) fn start(address: SocketAddr, first: u32, count: u32) -> anyhow::Result<Self> {
        let args = [
            "hold".to_owned(),
            address.to_string(),
            first.to_string(),
            count.to_string(),
        ];
        Ok(Self(Helper::start(&args, None)?))
    }

    /// Waits until everybody is logged in.
    pub(super) async fn ready(&mut self) -> anyhow::Result<()> {
        self.0.ready(PATIENCE).await
    }

    /// Fails when it has lost a connection, which ends it.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        self.0.check()
    }
}
