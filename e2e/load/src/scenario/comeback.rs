//! Very many terminals come back at once after all servers were restarted, db-proxy among them: once
//! when nobody's password has been verified before, and once when everybody's has.
//!
//! A terminal behaves as the Windows client does: it comes back within two seconds, has 15 s of
//! patience for an answer, and waits 3 s before the next attempt, then twice as long each time, up to
//! 15 s. Two bystanders were back before and chat.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use im_core::ClientType;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Setting;
use super::bystanders::{Bystanders, Fared};
use crate::conditions::{self, Bounds, Runs};
use crate::lean::Lean;
use crate::measure::{Latency, number};
use crate::report::{Figures, Row, Target};
use crate::servers::Servers;

/// The figures, with what the slowest terminal may take that was verified before.
macro_rules! rows {
    ($again:literal) => {
        &[
            Row::plain("hashes", "password hashes", "/s"),
            Row::plain("first_s", "first time: last one in", "s"),
            Row::plain(
                "first_ratio",
                "first time: last one in / (number / hashes per second)",
                "×",
            )
            .with(Target::AtMost(1.2)),
            Row::plain("first_half_s", "first time: half of them in", "s"),
            Row::plain("first_tries", "first time: attempts per terminal", ""),
            Row::plain("first_out", "first time: not in", "").with(Target::AtMost(0.0)),
            Row::plain("first_ack", "first time: bystanders' ack at most", "ms")
                .with(Target::AtMost(2_000.0)),
            Row::plain("again_s", "remembered: last one in", "s").with(Target::AtMost($again)),
            Row::plain("again_half_s", "remembered: half of them in", "s"),
            Row::plain("again_tries", "remembered: attempts per terminal", ""),
            Row::plain("again_out", "remembered: not in", "").with(Target::AtMost(0.0)),
            Row::plain("again_ack", "remembered: bystanders' ack at most", "ms")
                .with(Target::AtMost(2_000.0)),
            Row::plain("lost", "messages of bystanders without ack", "").with(Target::AtMost(0.0)),
            Row::plain("rss_all", "peak RSS of all in one", "MiB"),
            Row::plain("rss_msg", "peak RSS of a msg", "MiB"),
            Row::plain("rss_db", "peak RSS of db-proxy", "MiB"),
        ]
    };
}

/// Figures of some thousands.
pub(super) const ROWS: &[Row] = rows!(10.0);
/// Figures of as many as one msg server nearly takes.
pub(super) const MANY_ROWS: &[Row] = rows!(30.0);

/// Terminals of the smaller crowd.
pub(super) const SOME: u32 = 6_000;
/// Terminals of the larger one.
pub(super) const MANY: u32 = 17_500;
/// Logins from which the rate of hashing is taken, and how many at a time.
const HASHED: u32 = 200;
const AT_ONCE: usize = 16;
const BYSTANDERS: u32 = 2;
/// Messages of the bystanders per second.
const RATE: u32 = 20;
/// Terminals come back within this time.
const SPREAD: Duration = Duration::from_secs(2);
/// How long a terminal waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between attempts: at first, and at most.
const PAUSE: Duration = Duration::from_secs(3);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// A return is given up after this many times what the hashes cost, and not before a minute.
const LIMIT: f64 = 3.0;
const LEAST_LIMIT: f64 = 60.0;
/// Addresses that terminals come from.
const ADDRESSES: u32 = 200;

/// Runs it with so many terminals, each time with fresh servers.
pub(super) async fn run(setting: &Setting, terminals: u32) -> anyhow::Result<Runs> {
    let terminals = setting.size(terminals);
    let once = async || once(setting, terminals).await;
    setting.repeat(Bounds::BUSY, once).await
}

async fn once(setting: &Setting, terminals: u32) -> anyhow::Result<Figures> {
    let bystanders = terminals + 1;
    let others = bystanders + BYSTANDERS;
    let mut servers = Servers::guarded(setting.topology, others + HASHED).await?;
    let rate = hashes_per_second(&servers, others).await?;
    let ideal = f64::from(terminals) / rate;
    let limit = Duration::from_secs_f64((ideal * LIMIT).max(LEAST_LIMIT));

    let first = after_restart(&mut servers, terminals, limit).await?;
    let again = after_restart(&mut servers, terminals, limit).await?;
    let mut figures = again.conditions.clone();
    figures.extend([
        ("hashes", rate),
        ("first_s", first.last),
        ("first_ratio", first.last / ideal),
        ("first_half_s", first.half),
        ("first_tries", first.tries / f64::from(terminals)),
        ("first_out", first.out),
        ("first_ack", first.bystanders.max),
        ("again_s", again.last),
        ("again_half_s", again.half),
        ("again_tries", again.tries / f64::from(terminals)),
        ("again_out", again.out),
        ("again_ack", again.bystanders.max),
        (
            "lost",
            number(first.bystanders.lost + again.bystanders.lost),
        ),
    ]);
    // The worse of both.
    for key in [conditions::FOREIGN, conditions::GENERATOR] {
        let of = |back: &Back| back.conditions.get(key).copied().unwrap_or_default();
        figures.insert(key, of(&first).max(of(&again)));
    }
    for (key, role) in [("rss_all", "all"), ("rss_msg", "msg"), ("rss_db", "db")] {
        figures.extend(servers.peak_mib(role)?.map(|mib| (key, mib)));
    }
    Ok(figures)
}

/// How many people who were never seen get in per second when there are few of them.
async fn hashes_per_second(servers: &Servers, from: u32) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut logins = futures::stream::iter(from..from + HASHED)
        .map(|id| async move {
            Lean::login(servers.address_for(id)?, None, id, ClientType::Android).await
        })
        .buffer_unordered(AT_ONCE);
    while let Some(login) = logins.next().await {
        drop(login?);
    }
    Ok(f64::from(HASHED) / start.elapsed().as_secs_f64())
}

/// How a return went.
struct Back {
    /// Seconds until half of them and the last one were in.
    half: f64,
    last: f64,
    tries: f64,
    out: f64,
    bystanders: Fared,
    conditions: Figures,
}

async fn after_restart(
    servers: &mut Servers,
    terminals: u32,
    limit: Duration,
) -> anyhow::Result<Back> {
    servers.start_again().await?;
    let bystanders = Bystanders::log_in(servers, terminals + 1, BYSTANDERS).await?;
    let watch = servers.watch()?;
    let (crowd, bystanders) = bystanders
        .beside(RATE, crowd(servers, terminals, limit))
        .await?;
    let mut conditions = Figures::new();
    watch.end()?.add_to(&mut conditions, f64::from(terminals));
    let got_in = crowd.took.count();
    let out = f64::from(terminals) - number(got_in);
    eprintln!(
        "  {got_in} of {terminals} in, half after {:.1} s, last after {:.1} s, {} attempts",
        crowd.took.ms(50.0) / 1e3,
        crowd.took.ms(100.0) / 1e3,
        crowd.tries
    );
    let last = if out > 0.0 {
        limit.as_secs_f64()
    } else {
        crowd.took.ms(100.0) / 1e3
    };
    Ok(Back {
        half: crowd.took.ms(50.0) / 1e3,
        last,
        tries: number(crowd.tries),
        out,
        bystanders,
        conditions,
    })
}

/// Who got in after which time, and how often they tried.
struct Crowd {
    took: Latency,
    tries: u64,
}

/// Everybody comes back, and stays until all have or the time is up.
async fn crowd(servers: &Servers, terminals: u32, limit: Duration) -> anyhow::Result<Crowd> {
    let tries = Rc::new(Cell::new(0));
    let start = Instant::now();
    let mut coming: FuturesUnordered<_> = (1..=terminals)
        .map(|id| terminal(servers, id, Rc::clone(&tries)))
        .collect();
    let mut took = Latency::long();
    let mut inside = Vec::new();
    while let Ok(Some(connection)) = timeout_at(start + limit, coming.next()).await {
        took.record(start.elapsed());
        inside.push(connection?);
    }
    Ok(Crowd {
        took,
        tries: tries.get(),
    })
}

/// One terminal, until it is in.
async fn terminal(servers: &Servers, id: u32, tries: Rc<Cell<u64>>) -> anyhow::Result<Rc<Lean>> {
    let mut luck = Luck::of(id);
    let address = servers.address_for(id)?;
    let last = u8::try_from(1 + id % ADDRESSES).unwrap_or(1);
    let local = IpAddr::V4(Ipv4Addr::new(127, 0, 3, last));
    let mut pause = PAUSE;
    sleep(SPREAD.mul_f64(luck.part())).await;
    loop {
        tries.set(tries.get() + 1);
        let login = Lean::login(address, Some(local), id, ClientType::Android);
        if let Ok(Ok(connection)) = timeout(PATIENCE, login).await {
            return Ok(connection);
        }
        sleep(pause.mul_f64(0.8 + 0.4 * luck.part())).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Numbers that differ from terminal to terminal, and are the same in each run.
struct Luck(u64);

impl Luck {
    fn of(id: u32) -> Self {
        Self(u64::from(id))
    }

    /// From 0 to below 1, by splitmix64.
    fn part(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number((x ^ (x >> 31)) >> 11) / number(1 << 53)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_spread_evenly() {
        let parts: Vec<f64> = (1..=1_000).map(|id| Luck::of(id).part()).collect();
        assert!(parts.iter().all(|part| (0.0..1.0).contains(part)));
        let low = parts.iter().filter(|part| **part < 0.5).count();
        assert!(
            (450..550).contains(&low),
            "{low} of 1,000 in the first half"
        );
        let mut luck = Luck::of(1);
        assert!((luck.part() - luck.part()).abs() > 1e-9);
    }
}
