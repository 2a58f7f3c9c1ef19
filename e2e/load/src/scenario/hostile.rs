//! Attackers beside people who chat and people who come: what those feel, and what memory it takes.
//!
//! The servers have their default limits. Each kind of attack goes on for the length of a run, then all
//! of them together. At last other servers, whose rates have no bounds, are sent as much as they take:
//! every thread that works for clients is busy then.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::{Instant, sleep, timeout_at};

use super::Setting;
use super::bystanders::{self, Bystanders};
use crate::attack::{self, ACCOUNTS, Kind};
use crate::conditions::{self, Bounds, Runs};
use crate::helper::Helper;
use crate::people::Hashing;
use crate::report::{Figures, Row, Target};
use crate::servers::Servers;

/// Four figures of every phase.
macro_rules! rows {
    ($($phase:literal $label:literal),* $(,)?) => {
        &[$(
            Row::plain(concat!($phase, "_p50"), concat!($label, ": bystanders' ack p50"), "ms"),
            Row::plain(concat!($phase, "_p99"), concat!($label, ": bystanders' ack p99"), "ms")
                .with(Target::AtMost(100.0)),
            Row::plain(concat!($phase, "_max"), concat!($label, ": bystanders' ack at most"), "ms"),
            Row::plain(concat!($phase, "_new"), concat!($label, ": newcomer's login at most"), "ms")
                .with(Target::AtMost(2_000.0)),
        )*
            Row::plain("recovery_s", "until bystanders were let in after an attack, at most", "s")
                .with(Target::AtMost(2.0)),
            Row::plain("lost", "messages of bystanders without ack", "").with(Target::AtMost(0.0)),
            Row::plain("rss_all", "peak RSS of all in one", "MiB").with(Target::AtMost(512.0)),
            Row::plain("rss_msg", "peak RSS of a msg", "MiB").with(Target::AtMost(512.0)),
            Row::plain("rss_db", "peak RSS of db-proxy", "MiB").with(Target::AtMost(512.0)),
            Row::plain("rss_route", "peak RSS of route", "MiB"),
            Row::plain("rss_login", "peak RSS of login", "MiB"),
        ]
    };
}

/// Figures.
pub(super) const ROWS: &[Row] = rows![
    "calm" "nobody attacks",
    "logins" "600 logins/s under made-up names",
    "frames" "floods of frames before login",
    "commands" "floods of commands after login",
    "presence" "presence of a million ids, unread",
    "readers" "large messages and history, unread",
    "all" "all attacks together",
    "unmetered" "no bounds of rate, all threads for clients busy",
];

/// Attacks that take whatever a thread gives them where rates have no bounds.
const UNMETERED: [Kind; 3] = [Kind::Frames, Kind::Commands, Kind::Presence];
/// Bystanders, in pairs.
const BYSTANDERS: u32 = 40;
/// Messages of all bystanders per second.
const RATE: u32 = 100;
/// People for newcomers: two per second and phase, over all runs and their repetitions.
const NEWCOMERS: u32 = 4_000;
/// First id of the attackers' accounts.
const ATTACKERS: u32 = BYSTANDERS + 1;
const NEWCOMERS_FROM: u32 = ATTACKERS + ACCOUNTS * 5;
/// Time in which an attack shows its effect before the measurement begins.
const WARM_UP: Duration = Duration::from_secs(1);
/// Longest wait for the servers to take people again.
const RECOVERY: Duration = Duration::from_mins(2);
/// Time between two phases, in which the servers may recover.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs it.
pub(super) async fn run(setting: &Setting) -> anyhow::Result<Runs> {
    let people = NEWCOMERS_FROM + NEWCOMERS;
    let servers = Servers::guarded(setting.topology, people).await?;
    let unmetered = Servers::start(setting.topology, people, Hashing::Default).await?;
    let newcomer = Cell::new(NEWCOMERS_FROM);
    let once = async || {
        let mut figures = once(setting, &servers, &newcomer).await?;
        phase(
            setting,
            &unmetered,
            &newcomer,
            "unmetered",
            &UNMETERED,
            &mut figures,
        )
        .await?;
        Ok(figures)
    };
    setting.repeat(Bounds::BUSY, once).await
}

async fn once(
    setting: &Setting,
    servers: &Servers,
    newcomer: &Cell<u32>,
) -> anyhow::Result<Figures> {
    servers.forget_peaks()?;
    let mut figures = Figures::new();
    phase(setting, servers, newcomer, "calm", &[], &mut figures).await?;
    for kind in Kind::ALL {
        phase(
            setting,
            servers,
            newcomer,
            kind.name(),
            &[kind],
            &mut figures,
        )
        .await?;
    }
    phase(setting, servers, newcomer, "all", &Kind::ALL, &mut figures).await?;
    for (key, role) in [
        ("rss_all", "all"),
        ("rss_msg", "msg"),
        ("rss_db", "db"),
        ("rss_route", "route"),
        ("rss_login", "login"),
    ] {
        figures.extend(servers.peak_mib(role)?.map(|mib| (key, mib)));
    }
    Ok(figures)
}

async fn phase(
    setting: &Setting,
    servers: &Servers,
    newcomer: &Cell<u32>,
    name: &str,
    kinds: &[Kind],
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let (bystanders, waited) = let_in(servers)
        .await
        .with_context(|| format!("bystanders before {name}"))?;
    let longest = figures.entry("recovery_s").or_insert(waited);
    *longest = longest.max(waited);
    let attackers = attackers(servers, kinds).await?;
    let helpers: Vec<u32> = attackers.iter().map(Helper::pid).collect();
    sleep(WARM_UP).await;
    let watch = servers.watch_with(&helpers)?;
    let length = Duration::from_secs(setting.seconds);
    let mut next = newcomer.get();
    let coming = bystanders::newcomers(servers, &mut next, Instant::now() + length);
    let (came, fared) = bystanders.beside(RATE, coming).await?;
    newcomer.set(next);
    let conditions = watch.end()?;
    for mut attacker in attackers {
        attacker.check()?;
    }
    sleep(PAUSE).await;

    let mut own = Figures::new();
    conditions.add_to(&mut own, 1.0);
    for key in [
        conditions::FOREIGN,
        conditions::GENERATOR,
        conditions::DISK_P50,
        conditions::DISK_P99,
    ] {
        // Of all phases the worst.
        let now = own.get(key).copied().unwrap_or_default();
        let worst = figures.entry(key).or_insert(now);
        *worst = worst.max(now);
    }
    figures.insert(key(name, "p50")?, fared.p50);
    figures.insert(key(name, "p99")?, fared.p99);
    figures.insert(key(name, "max")?, fared.max);
    figures.insert(key(name, "new")?, came.ms(100.0));
    *figures.entry("lost").or_insert(0.0) += crate::measure::number(fared.lost);
    Ok(())
}

/// Logs the bystanders in as soon as the servers take them again after the last attack, and tells after
/// how many seconds that was.
async fn let_in(servers: &Servers) -> anyhow::Result<(Bystanders, f64)> {
    let start = Instant::now();
    loop {
        match timeout_at(start + RECOVERY, Bystanders::log_in(servers, 1, BYSTANDERS)).await {
            Ok(Ok(bystanders)) => return Ok((bystanders, start.elapsed().as_secs_f64())),
            Ok(Err(error)) if start.elapsed() >= RECOVERY => return Err(error),
            Ok(Err(_)) => sleep(PAUSE).await,
            Err(_) => bail!("they were not let in within {RECOVERY:?}"),
        }
    }
}

/// Starts attacks on the msg servers in turn, each with accounts of its own.
async fn attackers(servers: &Servers, kinds: &[Kind]) -> anyhow::Result<Vec<Helper>> {
    let mut attackers = Vec::new();
    for kind in kinds {
        let place = Kind::ALL.iter().position(|one| one == kind).unwrap_or(0);
        let n = u32::try_from(place)?;
        let address = servers.address_for(n)?;
        attackers.push(attack::start(*kind, address, ATTACKERS + n * ACCOUNTS).await?);
    }
    Ok(attackers)
}

/// The key of a figure as its row has it.
fn key(phase: &str, figure: &str) -> anyhow::Result<&'static str> {
    let key = format!("{phase}_{figure}");
    let row = ROWS.iter().find(|row| row.key == key);
    row.map(|row| row.key)
        .with_context(|| format!("there is no figure {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_has_its_figures() {
        let names = Kind::ALL.map(Kind::name);
        for phase in ["calm", "all", "unmetered"].iter().chain(&names) {
            for figure in ["p50", "p99", "max", "new"] {
                key(phase, figure).unwrap();
            }
        }
        assert!(key("unknown", "p50").is_err());
    }

    #[test]
    fn attackers_bystanders_and_newcomers_are_different_people() {
        let kinds = u32::try_from(Kind::ALL.len()).unwrap();
        const { assert!(ATTACKERS > BYSTANDERS) }
        assert_eq!(NEWCOMERS_FROM, ATTACKERS + kinds * ACCOUNTS);
    }
}
