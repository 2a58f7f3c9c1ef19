//! Memory and CPU of each role under load: what the operator's requests and limits are made from.
//!
//! Every load has fresh servers, one process per role instance, so that a peak is that of the load
//! and of the start before it. Where a role has several processes, the largest counts.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use im_core::ClientType;
use im_e2e::platform::Shape;
use tokio::time::{Instant, sleep};

use super::crowd::Crowd;
use super::flow::{self, Body, Flow};
use super::{Setting, idle, pairs};
use crate::measure::{self, number};
use crate::people::Hashing;
use crate::report::{Figures, Row};
use crate::servers::Servers;

/// The figures of every load: two of each role.
macro_rules! rows {
    ($($load:literal $label:literal),* $(,)?) => {
        &[$(
            Row::plain(concat!("login_", $load, "_mib"), concat!($label, ": login, peak RSS"), "MiB"),
            Row::plain(concat!("login_", $load, "_mcore"), concat!($label, ": login, CPU"), "mcore"),
            Row::plain(concat!("msg_", $load, "_mib"), concat!($label, ": msg, peak RSS"), "MiB"),
            Row::plain(concat!("msg_", $load, "_mcore"), concat!($label, ": msg, CPU"), "mcore"),
            Row::plain(concat!("route_", $load, "_mib"), concat!($label, ": route, peak RSS"), "MiB"),
            Row::plain(concat!("route_", $load, "_mcore"), concat!($label, ": route, CPU"), "mcore"),
            Row::plain(concat!("db_", $load, "_mib"), concat!($label, ": db-proxy, peak RSS"), "MiB"),
            Row::plain(concat!("db_", $load, "_mcore"), concat!($label, ": db-proxy, CPU"), "mcore"),
        )*
            Row::plain("rate", "messages while saturated", "msg/s"),
            Row::plain("stored", "messages until the peaks were read", ""),
            Row::plain("kernel_kib", "kernel memory per connection, server's end", "KiB"),
        ]
    };
}

/// Figures.
pub(super) const ROWS: &[Row] = rows![
    "idle" "idle",
    "10k" "10,000 idle phones on one msg",
    "50k" "50,000 idle phones on three msg",
    "steady" "2,000 msg/s between 10,000 phones on one msg",
    "full" "saturated, 100,000 conversations, 600,000 messages, one msg",
    "first" "300 first logins (argon2id 19 MiB, 2 passes)",
];

const LOADS: [&str; 6] = ["idle", "10k", "50k", "steady", "full", "first"];
const ROLES: [&str; 4] = ["login", "msg", "route", "db"];
const PHONES: u32 = 10_000;
const MORE_PHONES: u32 = 50_000;
const STEADY_RATE: u32 = 2_000;
const SATURATING: u32 = 500;
const CONVERSATIONS: u32 = 100_000;
/// More than db-proxy remembers of what it stored: its memory has come to its bound.
const MESSAGES: u32 = 600_000;
/// A slow disk takes so long for them that what came by then must do.
const LONGEST: Duration = Duration::from_mins(3);
const WINDOW: u32 = 4;
const FIRST_LOGINS: u32 = 300;
/// Many times what is hashed at a time, and few enough that nobody waits too long on a busy machine.
const FIRST_AT_ONCE: usize = 16;
/// Shorter, a heartbeat of every connection would be missing.
const LEAST_SECONDS: u64 = 30;
const SETTLE: Duration = Duration::from_secs(5);

/// Runs all loads and prints a table as it goes; a load that fails does not keep the others from it.
pub(super) async fn run(setting: &Setting) -> anyhow::Result<Vec<Figures>> {
    let mut runs = Vec::new();
    let mut failures = Vec::new();
    println!("| Role | Load | RSS peak | CPU |\n|---|---|---|---|");
    for _ in 0..setting.runs {
        let mut figures = Figures::new();
        for load in LOADS {
            let outcome = match load {
                "idle" => idle(setting).await,
                "10k" => phones(setting, load, setting.size(PHONES), 1).await,
                "50k" => phones(setting, load, setting.size(MORE_PHONES), 3).await,
                "steady" => steady(setting).await,
                "full" => full(setting).await,
                _ => first_logins(setting).await,
            };
            match outcome {
                Ok(more) => {
                    print(load, &more);
                    figures.extend(more);
                }
                Err(error) => failures.push(format!("{load}: {error:#}")),
            }
        }
        runs.push(figures);
    }
    ensure!(failures.is_empty(), "{}", failures.join("; "));
    Ok(runs)
}

/// One login, one route, one db-proxy, and so many msg servers.
async fn start(msg: usize, people: u32, hashing: Hashing) -> anyhow::Result<Servers> {
    let shape = Shape {
        login: 1,
        msg,
        route: 1,
    };
    let servers = Servers::of_shape(shape, people, hashing).await?;
    sleep(SETTLE).await;
    Ok(servers)
}

async fn idle(setting: &Setting) -> anyhow::Result<Figures> {
    let servers = start(1, 2, Hashing::Cheap).await?;
    let watch = Watch::begin(&servers)?;
    sleep(length(setting)).await;
    watch.end("idle")
}

/// Idle phones in processes of their own, one for each msg server.
async fn phones(setting: &Setting, load: &str, count: u32, msg: u32) -> anyhow::Result<Figures> {
    let servers = start(msg as usize, count, Hashing::Cheap).await?;
    let kernel = measure::machine_bytes("SUnreclaim")?;
    let each = count / msg;
    let mut crowds = Vec::new();
    for (n, address) in (0..).zip(servers.addresses()) {
        crowds.push(Crowd::start(*address, 1 + n * each, each)?);
    }
    for crowd in &mut crowds {
        crowd.ready().await?;
    }
    sleep(SETTLE).await;
    let kernel = number(measure::machine_bytes("SUnreclaim")?) - number(kernel);
    let watch = Watch::begin(&servers)?;
    sleep(length(setting)).await;
    let mut figures = watch.end(load)?;
    for crowd in &mut crowds {
        crowd.check()?;
    }
    // Both ends are on this machine.
    let kernel = kernel / 1024.0 / 2.0 / f64::from(each * msg);
    figures.insert("kernel_kib", kernel);
    Ok(figures)
}

/// Phones that write to each other, at a fixed rate.
async fn steady(setting: &Setting) -> anyhow::Result<Figures> {
    let people = setting.size(PHONES);
    let servers = start(1, people, Hashing::Cheap).await?;
    let connections = idle::log_in(&servers, people, flow::LOGINS_AT_ONCE).await?;
    let mut members = Vec::new();
    let mut targets = Vec::new();
    for connection in connections {
        let id = connection.user;
        let partner = pairs::user(if id % 2 == 0 { id - 1 } else { id + 1 })?;
        targets.push((members.len(), partner));
        members.push((connection, vec![partner]));
    }
    let flow = Flow::new(members, Body::Text);
    let readers = flow.read();
    sleep(SETTLE).await;
    let watch = Watch::begin(&servers)?;
    let sending = pairs::send_at_rate(&flow, setting.size(STEADY_RATE), &targets);
    tokio::select! {
        sent = sending => sent?,
        () = sleep(length(setting)) => {}
    }
    let figures = watch.end("steady")?;
    flow.drain().await?;
    readers.end().await?;
    Ok(figures)
}

/// As much as the servers take, over many conversations.
async fn full(setting: &Setting) -> anyhow::Result<Figures> {
    let people = setting.size(SATURATING);
    // A hundredth of the conversations for a tenth of the people.
    let edges = pairs::edges(people, setting.size(setting.size(CONVERSATIONS)));
    let servers = start(1, people, Hashing::Cheap).await?;
    let connections = flow::log_in(&servers, 1..=people, ClientType::Windows).await?;
    let mut members = Vec::new();
    for connection in connections {
        let id = connection.user;
        let mine = edges.iter().filter(|(from, _)| *from == id);
        let partners = mine.map(|(_, to)| pairs::user(*to));
        members.push((connection, partners.collect::<anyhow::Result<_>>()?));
    }
    let flow = Flow::new(members, Body::Text);
    let readers = flow.read();
    sleep(SETTLE).await;
    let watch = Watch::begin(&servers)?;
    let acked = flow.acked.get();
    flow.open_window(WINDOW)?;
    let most = u64::from(setting.size(MESSAGES));
    while flow.acked.get() - acked < most && watch.start.elapsed() < LONGEST {
        flow.check()?;
        sleep(Duration::from_millis(20)).await;
    }
    let seconds = watch.start.elapsed().as_secs_f64();
    let stored = number(flow.acked.get() - acked);
    let mut figures = watch.end("full")?;
    figures.insert("rate", stored / seconds);
    figures.insert("stored", stored);
    flow.drain().await?;
    readers.end().await?;
    Ok(figures)
}

/// Logins that nothing is cached for.
async fn first_logins(setting: &Setting) -> anyhow::Result<Figures> {
    let people = setting.size(FIRST_LOGINS);
    let servers = start(1, people, Hashing::Default).await?;
    let watch = Watch::begin(&servers)?;
    let connections = idle::log_in(&servers, people, FIRST_AT_ONCE).await?;
    let figures = watch.end("first")?;
    drop(connections);
    Ok(figures)
}

fn length(setting: &Setting) -> Duration {
    let least = if setting.small { 1 } else { LEAST_SECONDS };
    Duration::from_secs(setting.seconds.max(least))
}

/// The servers from a certain time on.
struct Watch<'a> {
    servers: &'a Servers,
    start: Instant,
    /// CPU seconds of each process of each role.
    cpu: Vec<Vec<f64>>,
}

impl<'a> Watch<'a> {
    fn begin(servers: &'a Servers) -> anyhow::Result<Self> {
        Ok(Self {
            servers,
            start: Instant::now(),
            cpu: Self::cpu(servers)?,
        })
    }

    fn cpu(servers: &Servers) -> anyhow::Result<Vec<Vec<f64>>> {
        let of_role = |role: &&str| {
            let pids = servers.pids_of(role).into_iter();
            pids.map(|pid| measure::cpu_seconds(&[pid])).collect()
        };
        ROLES.iter().map(of_role).collect()
    }

    /// CPU since the beginning, and the most memory that was ever used.
    fn end(&self, load: &str) -> anyhow::Result<Figures> {
        let seconds = self.start.elapsed().as_secs_f64();
        let cpu = Self::cpu(self.servers)?;
        let mut figures = Figures::new();
        for ((role, before), after) in ROLES.iter().zip(&self.cpu).zip(&cpu) {
            let used = before
                .iter()
                .zip(after)
                .map(|(before, after)| after - before);
            let most = used.fold(0.0, f64::max);
            let mut peak = 0;
            for pid in self.servers.pids_of(role) {
                peak = peak.max(measure::memory_bytes(&[pid], "VmHWM")?);
            }
            figures.insert(key(role, load, "mib")?, number(peak) / f64::from(1 << 20));
            figures.insert(key(role, load, "mcore")?, most / seconds * 1e3);
        }
        Ok(figures)
    }
}

/// The key of a figure as its row has it.
fn key(role: &str, load: &str, unit: &str) -> anyhow::Result<&'static str> {
    let key = format!("{role}_{load}_{unit}");
    let row = ROWS.iter().find(|row| row.key == key);
    row.map(|row| row.key)
        .with_context(|| format!("there is no figure {key}"))
}

/// Prints the figures of a load by role.
fn print(load: &str, figures: &Figures) {
    for role in ROLES {
        let (mib, mcore) = (format!("{role}_{load}_mib"), format!("{role}_{load}_mcore"));
        let row = ROWS.iter().find(|row| row.key == mib);
        let label = row.and_then(|row| row.label.split(": ").next());
        let of = |key: &str| figures.get(key).copied().unwrap_or_default();
        println!(
            "| {role} | {} | {:.1} MiB | {:.0} mcore |",
            label.unwrap_or(load),
            of(&mib),
            of(&mcore)
        );
    }
    for row in ROWS.iter().filter(|row| !row.label.contains(": ")) {
        if let Some(value) = figures.get(row.key) {
            println!("| | {} | | {value:.2} {} |", row.label, row.unit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_load_has_memory_and_cpu_of_every_role() {
        for load in LOADS {
            for role in ROLES {
                key(role, load, "mib").unwrap();
                key(role, load, "mcore").unwrap();
            }
        }
        assert!(key("msg", "unknown", "mib").is_err());
    }
}
