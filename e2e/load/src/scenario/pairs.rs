//! 1:1 messages: saturated, at fixed rates, and one at a time.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use im_core::{ClientType, Peer, UserId};
use tokio::time::{Instant, sleep};

use super::Setting;
use super::flow::{self, Body, Flow};
use crate::conditions::{self, Bounds, Runs};
use crate::measure::number;
use crate::pace::Pacer;
use crate::people::Hashing;
use crate::report::{Figures, Row, Target};
use crate::servers::Servers;

const RATE: Row = Row::plain("rate", "acknowledged", "msg/s");
const CPU: Row = Row::plain("cpu_us", "server CPU per message", "µs");
const P50: Row = Row::plain("ack_p50_ms", "ack p50", "ms");
const P99: Row = Row::plain("ack_p99_ms", "ack p99", "ms");

const WRITTEN: Row = Row::plain("written_b", "written to the disk per message", "B");
const SLEEPS: Row = Row::plain("sleeps", "threads that went to sleep per message", "");

/// Figures of the saturated load.
pub(super) const SATURATED: &[Row] = &[
    RATE.with(Target::AtLeast(30_000.0)),
    P50,
    P99.with(Target::AtMost(50.0)),
    CPU,
    WRITTEN.with(Target::AtMost(1_200.0)),
];
/// Figures at 20,000/s.
pub(super) const PACED: &[Row] = &[
    RATE,
    CPU.with_each(Target::AtMost(38.0), Target::AtMost(45.0)),
    P50,
    P99.with_each(Target::AtMost(15.0), Target::AtMost(40.0)),
    SLEEPS,
];
/// The same over many conversations.
pub(super) const SPREAD: &[Row] = &[
    RATE,
    CPU.with(Target::AtMost(55.0)),
    P50,
    P99.with(Target::AtMost(15.0)),
    WRITTEN,
];
/// Figures at 5,000/s.
pub(super) const AT_5000: &[Row] = &[
    RATE,
    CPU.with_each(Target::AtMost(70.0), Target::AtMost(90.0)),
    P50,
    P99,
    SLEEPS,
    WRITTEN,
];
/// Figures at 1,800/s.
pub(super) const SLOW: &[Row] = &[
    RATE,
    P50,
    P99,
    Row::plain("p50_ratio", "ack p50 / fdatasync p50", "×")
        .with_each(Target::AtMost(2.0), Target::AtMost(3.0)),
    Row::plain("p99_ratio", "ack p99 / fdatasync p99", "×")
        .with_each(Target::AtMost(3.0), Target::AtMost(5.0)),
    CPU,
    SLEEPS,
    WRITTEN.with(Target::AtMost(6_000.0)),
];
/// Figures at 1,000/s.
pub(super) const AT_1000: &[Row] = &[
    RATE,
    CPU.with_each(Target::AtMost(200.0), Target::AtMost(260.0)),
    P50,
    P99,
    SLEEPS,
    WRITTEN,
];
/// Figures of one pair.
pub(super) const PING_PONG: &[Row] = &[
    P50,
    P99,
    Row::plain("excess_ms", "ack p50 – fdatasync p50", "ms")
        .with_each(Target::AtMost(0.25), Target::AtMost(0.4)),
    CPU,
    SLEEPS,
    WRITTEN,
];

/// Online people of the pair scenarios.
const PEOPLE: u32 = 500;
/// Conversations of the spread load.
const CONVERSATIONS: u32 = 100_000;
/// Messages in flight of each sender of the saturated load.
const WINDOW: u32 = 4;
/// Time before each measurement under the load itself.
const WARM_UP: Duration = Duration::from_secs(2);

pub(super) fn user(id: u32) -> anyhow::Result<Peer> {
    UserId::from_wire(id).map(Peer::User).context("ids from 1")
}

/// A platform with everybody online, writing to these partners.
struct Stage {
    servers: Servers,
    flow: Rc<Flow>,
    readers: flow::Readers,
}

impl Stage {
    async fn set(
        setting: &Setting,
        people: u32,
        partners: impl Fn(u32) -> anyhow::Result<Vec<Peer>>,
    ) -> anyhow::Result<Self> {
        let servers = Servers::start(setting.topology, people, Hashing::Cheap).await?;
        let connections = flow::log_in(&servers, 1..=people, ClientType::Windows).await?;
        let members = connections
            .into_iter()
            .map(|connection| {
                let partners = partners(connection.user)?;
                Ok((connection, partners))
            })
            .collect::<anyhow::Result<_>>()?;
        let flow = Flow::new(members, Body::Text);
        let readers = flow.read();
        Ok(Self {
            servers,
            flow,
            readers,
        })
    }

    /// Everybody with an odd id writes to the next one.
    async fn of_pairs(setting: &Setting, people: u32) -> anyhow::Result<Self> {
        Self::set(setting, people, |id| {
            if id % 2 == 1 && id < people {
                Ok(vec![user(id + 1)?])
            } else {
                Ok(Vec::new())
            }
        })
        .await
    }

    /// Measures for so long while something else makes load.
    async fn watch(&self, setting: &Setting) -> anyhow::Result<Figures> {
        let watch = self.servers.watch()?;
        let acked = self.flow.acked.get();
        self.flow.begin();
        sleep(Duration::from_secs(setting.seconds)).await;
        let messages = number(self.flow.acked.get() - acked);
        let conditions = watch.end()?;
        self.flow.check()?;
        let mut figures = Figures::from([("rate", messages / conditions.seconds)]);
        conditions.add_to(&mut figures, messages);
        Ok(figures)
    }

    /// Ends a run: waits for what is under way, so that its latency counts as well.
    async fn finish(&self, mut figures: Figures) -> anyhow::Result<Figures> {
        self.flow.drain().await?;
        figures.insert("ack_p50_ms", self.flow.latency_ms(50.0));
        figures.insert("ack_p99_ms", self.flow.latency_ms(99.0));
        figures.insert("measured", number(self.flow.measured()));
        in_fdatasyncs(&mut figures);
        Ok(figures)
    }

    /// One run of closed loops with this window.
    async fn closed_loop(&self, setting: &Setting, window: u32) -> anyhow::Result<Figures> {
        self.flow.open_window(window)?;
        sleep(WARM_UP).await;
        let figures = self.watch(setting).await?;
        self.finish(figures).await
    }

    /// One run at a fixed rate. `targets` are written to in turn.
    async fn open_loop(
        &self,
        setting: &Setting,
        per_second: u32,
        targets: &[(usize, Peer)],
    ) -> anyhow::Result<Figures> {
        let sending = send_at_rate(&self.flow, per_second, targets);
        let watching = async {
            sleep(WARM_UP).await;
            self.watch(setting).await
        };
        let mut figures = tokio::select! {
            sent = sending => return sent.map(|()| Figures::new()),
            figures = watching => figures?,
        };
        figures.insert(conditions::LATE_P99, self.flow.late_ms(99.0));
        self.finish(figures).await
    }

    async fn clear(self) -> anyhow::Result<()> {
        self.readers.end().await
    }
}

/// Sends at this rate until it is dropped.
pub(super) async fn send_at_rate(
    flow: &Flow,
    per_second: u32,
    targets: &[(usize, Peer)],
) -> anyhow::Result<()> {
    let mut targets = targets.iter().cycle();
    let mut pacer = Pacer::new(per_second);
    loop {
        for intended in pacer.due().await {
            let (at, to) = targets.next().context("there are targets")?;
            flow.send(*at, *to, intended)?;
        }
    }
}

/// Latencies beside what the disk cost in the same seconds.
fn in_fdatasyncs(figures: &mut Figures) {
    let of = |key: &str| figures.get(key).copied().unwrap_or_default();
    let (p50, p99) = (of("ack_p50_ms"), of("ack_p99_ms"));
    let (disk_p50, disk_p99) = (of(conditions::DISK_P50), of(conditions::DISK_P99));
    figures.insert("p50_ratio", p50 / disk_p50.max(1e-6));
    figures.insert("p99_ratio", p99 / disk_p99.max(1e-6));
    figures.insert("excess_ms", p50 - disk_p50);
}

/// 250 pairs, 1,000 messages in flight.
pub(super) async fn saturated(setting: &Setting) -> anyhow::Result<Runs> {
    let stage = Stage::of_pairs(setting, setting.size(PEOPLE)).await?;
    let once = async || stage.closed_loop(setting, WINDOW).await;
    let runs = setting.repeat(Bounds::QUIET, once).await?;
    stage.clear().await?;
    Ok(runs)
}

/// One pair, one message in flight.
pub(super) async fn ping_pong(setting: &Setting) -> anyhow::Result<Runs> {
    let stage = Stage::of_pairs(setting, 2).await?;
    let once = async || stage.closed_loop(setting, 1).await;
    let runs = setting.repeat(Bounds::QUIET, once).await?;
    stage.clear().await?;
    Ok(runs)
}

/// 250 pairs at a fixed rate.
pub(super) async fn paced(
    setting: &Setting,
    per_second: u32,
    bounds: Bounds,
) -> anyhow::Result<Runs> {
    let people = setting.size(PEOPLE);
    let stage = Stage::of_pairs(setting, people).await?;
    let mut targets = Vec::new();
    for id in (1..people).step_by(2) {
        targets.push((id as usize - 1, user(id + 1)?));
    }
    let rate = setting.size(per_second);
    let once = async || stage.open_loop(setting, rate, &targets).await;
    let runs = setting.repeat(bounds, once).await?;
    stage.clear().await?;
    Ok(runs)
}

/// Many conversations in random order at a fixed rate.
pub(super) async fn spread(setting: &Setting) -> anyhow::Result<Runs> {
    // A hundredth of the conversations for a tenth of the people.
    let conversations = setting.size(setting.size(CONVERSATIONS));
    let people = setting.size(PEOPLE);
    let edges = edges(people, conversations);
    let partners = |id| {
        edges
            .iter()
            .filter(|(from, _)| *from == id)
            .map(|(_, to)| user(*to))
            .collect()
    };
    let stage = Stage::set(setting, people, partners).await?;
    let targets = edges
        .iter()
        .map(|(from, to)| Ok((*from as usize - 1, user(*to)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;

    // Every conversation exists before the measurement.
    let start = Instant::now();
    stage.flow.open_window(2)?;
    stage.flow.all_written_to().await?;
    stage.flow.drain().await?;
    eprintln!(
        "  {} conversations made in {:.1} s",
        edges.len(),
        start.elapsed().as_secs_f64()
    );

    let rate = setting.size(20_000);
    let once = async || stage.open_loop(setting, rate, &targets).await;
    let runs = setting.repeat(Bounds::BUSY, once).await?;
    stage.clear().await?;
    Ok(runs)
}

/// So many different pairs of people in random order, each with who writes.
pub(super) fn edges(people: u32, count: u32) -> Vec<(u32, u32)> {
    let mut all: Vec<(u32, u32)> = (1..=people)
        .flat_map(|low| (low + 1..=people).map(move |high| (low, high)))
        .map(|(low, high)| {
            if (low + high) % 2 == 0 {
                (low, high)
            } else {
                (high, low)
            }
        })
        .collect();
    // Fisher and Yates with a fixed sequence, so that runs can be compared.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for at in (1..all.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let other = usize::try_from(state % (at as u64 + 1)).unwrap_or_default();
        all.swap(at, other);
    }
    all.truncate(count as usize);
    all
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn five_hundred_people_have_a_hundred_thousand_different_conversations() {
        let edges = edges(PEOPLE, CONVERSATIONS);
        let pairs: HashSet<(u32, u32)> =
            edges.iter().map(|(a, b)| (*a.min(b), *a.max(b))).collect();
        assert_eq!(pairs.len(), 100_000);
        let writers: HashSet<u32> = edges.iter().map(|(from, _)| *from).collect();
        assert_eq!(writers.len(), 500, "everybody writes");
    }

    #[test]
    fn latencies_are_judged_by_the_disk_of_the_same_run() {
        let mut figures = Figures::from([
            ("ack_p50_ms", 1.5),
            ("ack_p99_ms", 9.0),
            (conditions::DISK_P50, 1.0),
            (conditions::DISK_P99, 3.0),
        ]);
        in_fdatasyncs(&mut figures);
        assert!((figures["p50_ratio"] - 1.5).abs() < 1e-9);
        assert!((figures["p99_ratio"] - 3.0).abs() < 1e-9);
        assert!((figures["excess_ms"] - 0.5).abs() < 1e-9);
    }
}
