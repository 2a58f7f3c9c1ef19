//! Storms of logins.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{bail, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use im_client::codec::Command;
use im_core::ClientType;
use tokio::time::{Instant, sleep};

use super::Setting;
use super::flow;
use crate::conditions::{Bounds, Runs};
use crate::lean::Lean;
use crate::measure::number;
use crate::people::Hashing;
use crate::report::{Figures, Row, Target};
use crate::servers::Servers;

const RATE: Row = Row::plain("rate", "logins", "/s");
const CPU: Row = Row::plain("cpu_us", "server CPU per login", "µs");

/// Figures of phones.
pub(super) const PHONES: &[Row] = &[RATE.with(Target::AtLeast(10_000.0)), CPU];
/// Figures of PCs.
pub(super) const PCS: &[Row] = &[
    RATE.with(Target::AtLeast(10_000.0)),
    CPU,
    Row::plain("notices", "presence notices", "/s"),
    Row::plain("settled_s", "until every PC knew all", "s"),
];
/// Figures of first logins.
pub(super) const FIRST: &[Row] = &[RATE, CPU];

const STORM: u32 = 3_000;
const FIRST_LOGINS: u32 = 300;
/// Connections that log in at the same time.
const AT_ONCE: usize = 256;
/// Longest wait for presence notices.
const NOTICES: Duration = Duration::from_mins(1);

/// Phones whose credentials were verified before.
pub(super) async fn phones(setting: &Setting) -> anyhow::Result<Runs> {
    let count = setting.size(STORM);
    let servers = Servers::start(setting.topology, count, Hashing::Cheap).await?;
    drop(storm(&servers, 1..=count, ClientType::Android).await?);
    let once = async || {
        gone(&servers).await?;
        timed(&servers, 1..=count, ClientType::Android).await
    };
    setting.repeat(Bounds::QUIET, once).await
}

/// People who were never seen before: nothing is cached.
pub(super) async fn first(setting: &Setting) -> anyhow::Result<Runs> {
    let count = setting.size(FIRST_LOGINS);
    let people = count * (setting.runs + setting.repeats);
    let servers = Servers::start(setting.topology, people, Hashing::Default).await?;
    let mut seen = 0;
    let once = async || {
        let ids = seen + 1..=seen + count;
        seen += count;
        timed(&servers, ids, ClientType::Android).await
    };
    setting.repeat(Bounds::QUIET, once).await
}

/// PCs: each login is news for every other PC.
pub(super) async fn pcs(setting: &Setting) -> anyhow::Result<Runs> {
    let count = setting.size(STORM);
    let servers = Servers::start(setting.topology, count, Hashing::Cheap).await?;
    drop(storm(&servers, 1..=count, ClientType::Windows).await?);
    let once = async || {
        gone(&servers).await?;
        pc_storm(&servers, count).await
    };
    setting.repeat(Bounds::QUIET, once).await
}

async fn pc_storm(servers: &Servers, count: u32) -> anyhow::Result<Figures> {
    let watch = servers.watch()?;
    let start = Instant::now();
    let notices = Rc::new(Cell::new(0_u64));
    let lost = Rc::new(Cell::new(None));
    let mut readers = Vec::new();
    // Each connection is read from its login on, as a client does.
    let mut logins = stream::iter(1..=count)
        .map(|id| async move {
            Lean::login(servers.address_for(id)?, None, id, ClientType::Windows).await
        })
        .buffer_unordered(AT_ONCE);
    while let Some(connection) = logins.try_next().await? {
        let (notices, lost) = (Rc::clone(&notices), Rc::clone(&lost));
        readers.push(flow::read_all(
            std::iter::once(connection),
            move |_, _, frame| {
                if frame.header.command() == Some(Command::UserStatNotify) {
                    notices.set(notices.get() + 1);
                }
            },
            move |error| lost.set(Some(format!("{error:#}"))),
        ));
    }
    let elapsed = start.elapsed().as_secs_f64();

    // The last one to log in is news for everybody, perhaps himself left out.
    let (mut seen, mut quiet_since) = (0, Instant::now());
    let deadline = Instant::now() + NOTICES;
    while quiet_since.elapsed() < Duration::from_secs(1) {
        ensure!(Instant::now() < deadline, "presence notices do not end");
        if let Some(error) = lost.take() {
            bail!("{error}");
        }
        if notices.get() != seen {
            seen = notices.get();
            quiet_since = Instant::now();
        }
        sleep(Duration::from_millis(10)).await;
    }
    let settled = (quiet_since - start).as_secs_f64();
    let conditions = watch.end()?;
    for reader in readers {
        reader.end().await?;
    }
    let mut figures = Figures::from([
        ("rate", f64::from(count) / elapsed),
        ("notices", number(seen) / settled.max(1e-3)),
        ("settled_s", settled),
    ]);
    conditions.add_to(&mut figures, f64::from(count));
    Ok(figures)
}

/// Logs these people in, says how long it took, and lets them go.
async fn timed(
    servers: &Servers,
    ids: impl Iterator<Item = u32>,
    client_type: ClientType,
) -> anyhow::Result<Figures> {
    let watch = servers.watch()?;
    let connections = storm(servers, ids, client_type).await?;
    let conditions = watch.end()?;
    let count = number(connections.len() as u64);
    let mut figures = Figures::from([("rate", count / conditions.seconds)]);
    conditions.add_to(&mut figures, count);
    Ok(figures)
}

async fn storm(
    servers: &Servers,
    ids: impl Iterator<Item = u32>,
    client_type: ClientType,
) -> anyhow::Result<Vec<Rc<Lean>>> {
    stream::iter(ids)
        .map(|id| async move { Lean::login(servers.address_for(id)?, None, id, client_type).await })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Waits until the servers are done with those who left: their CPU rests.
async fn gone(servers: &Servers) -> anyhow::Result<()> {
    let mut before = servers.cpu()?;
    for _ in 0..100 {
        sleep(Duration::from_millis(500)).await;
        let now = servers.cpu()?;
        if now - before < 0.03 {
            return Ok(());
        }
        before = now;
    }
    bail!("the servers do not come to rest")
}
