//! What a connection costs that only sends a heartbeat every 30 seconds.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::bail;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use im_client::codec::{Command, append};
use im_client::proto::other::ImHeartBeat;
use im_core::ClientType;
use tokio::time::{Instant, sleep, sleep_until};

use super::Setting;
use super::flow;
use crate::conditions::{Bounds, Runs};
use crate::lean::Lean;
use crate::measure::number;
use crate::people::Hashing;
use crate::report::{Figures, Row, Target};
use crate::servers::Servers;

/// Figures.
pub(super) const ROWS: &[Row] = &[
    Row::plain("kib", "user memory per connection", "KiB").with(Target::AtMost(1.25)),
    Row::plain("cpu_us", "CPU per connection and second", "µs")
        .with_each(Target::AtMost(1.0), Target::AtMost(1.5)),
    Row::plain("rss_kib", "RSS per connection", "KiB"),
];

const CONNECTIONS: u32 = 10_000;
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Shorter than this a heartbeat of every connection would be missing from the CPU time.
const LEAST_SECONDS: u64 = 30;
/// Source addresses 127.0.0.2 and up.
const SOURCES: u32 = 8;
/// Time for memory of the logins to settle.
const SETTLE: Duration = Duration::from_secs(5);

/// Runs it, each run with fresh servers: memory of an earlier one would hide growth.
pub(super) async fn run(setting: &Setting) -> anyhow::Result<Runs> {
    setting
        .repeat(Bounds::QUIET, async || once(setting).await)
        .await
}

async fn once(setting: &Setting) -> anyhow::Result<Figures> {
    let count = setting.size(CONNECTIONS);
    let servers = Servers::start(setting.topology, count, Hashing::Cheap).await?;
    // Whatever the first login brings into memory belongs to no connection.
    drop(flow::log_in(&servers, 1..=64, ClientType::Android).await?);
    sleep(SETTLE).await;
    let before = (servers.memory("RssAnon")?, servers.memory("VmRSS")?);
    let connections = log_in(&servers, count, flow::LOGINS_AT_ONCE).await?;
    sleep(SETTLE).await;

    let readers = flow::read_all(
        connections.iter().map(Rc::clone),
        |_, _, _| {},
        |error| eprintln!("  connection lost: {error:#}"),
    );
    let watch = servers.watch()?;
    let start = Instant::now();
    let time = Duration::from_secs(setting.seconds.max(LEAST_SECONDS));
    beat(&connections, start, time).await?;
    let conditions = watch.end()?;
    let after = (servers.memory("RssAnon")?, servers.memory("VmRSS")?);
    readers.end().await?;

    let each = |before: u64, after: u64| (number(after) - number(before)) / f64::from(count);
    let mut figures = Figures::from([
        ("kib", each(before.0, after.0) / 1024.0),
        ("rss_kib", each(before.1, after.1) / 1024.0),
    ]);
    conditions.add_to(&mut figures, conditions.seconds * f64::from(count));
    Ok(figures)
}

/// Logs the phones of the first people in, so many at the same time.
pub(super) async fn log_in(
    servers: &Servers,
    count: u32,
    at_once: usize,
) -> anyhow::Result<Vec<Rc<Lean>>> {
    stream::iter(1..=count)
        .map(|id| async move { phone(servers.address_for(id)?, id).await })
        .buffered(at_once)
        .try_collect()
        .await
}

/// Logs one phone in, from one of the source addresses.
pub(super) async fn phone(address: SocketAddr, id: u32) -> anyhow::Result<Rc<Lean>> {
    let last = u8::try_from(2 + id % SOURCES).unwrap_or(2);
    let local = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    Lean::login(address, Some(local), id, ClientType::Android).await
}

/// Sends a heartbeat on each connection every 30 seconds, spread evenly.
pub(super) async fn beat(
    connections: &[Rc<Lean>],
    start: Instant,
    time: Duration,
) -> anyhow::Result<()> {
    let Ok(count) = u32::try_from(connections.len()) else {
        bail!("too many connections");
    };
    let gap = HEARTBEAT / count.max(1);
    let mut due = start;
    for connection in connections.iter().cycle() {
        due += gap;
        if due > start + time {
            break;
        }
        sleep_until(due).await;
        let seq = connection.next_seq();
        connection.queue(|out| append(out, Command::HeartBeat, seq, &ImHeartBeat {}));
        connection.flush()?;
    }
    sleep_until(start + time).await;
    Ok(())
}
