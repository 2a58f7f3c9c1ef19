//! Push beside chat: what a notice costs, what a provider that has fallen silent does to those who chat, and
//! what it costs that somebody follows the log.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{bail, ensure};
use im_client::codec::Command;
use im_client::proto::login::{ImDeviceTokenReq, ImDeviceTokenRsp};
use im_core::{ClientType, Peer};
use im_e2e::platform::Shape;
use im_e2e::terminal::Terminal;
use tokio::time::{Instant, sleep, sleep_until};

use super::flow::{self, Body, Flow};
use super::{Setting, pairs};
use crate::conditions::{Bounds, Runs};
use crate::measure::{cpu_seconds, number};
use crate::people::Hashing;
use crate::report::{Figures, Row, Target};
use crate::servers::Servers;
use crate::web::Receiver;

/// Figures of notices.
pub(super) const ROWS: &[Row] = &[
    Row::plain(
        "notice_us",
        "CPU of all servers beyond the message's own",
        "µs/notice",
    )
    .with(Target::AtMost(150.0)),
    Row::plain("own_us", "of that in the push server", "µs/notice"),
    Row::plain("p99_ms", "ack p99, provider answers", "ms"),
    Row::plain("silent_p99_ms", "ack p99, provider is silent", "ms"),
    Row::plain("ratio", "ack p99, silent to answering", "×").with(Target::AtMost(1.2)),
];
/// Figures of a follower.
pub(super) const FOLLOWED: &[Row] = &[
    Row::plain("rate", "acknowledged, followed", "msg/s"),
    Row::plain("lag_s", "largest lag of the follower", "s").with(Target::AtMost(2.0)),
    Row::plain("own_us", "CPU of the follower per message", "µs").with(Target::AtMost(10.0)),
    Row::plain(
        "alone_us",
        "CPU of the others per message, nobody follows",
        "µs",
    ),
    Row::plain("beside_us", "CPU of the others per message, followed", "µs"),
    Row::plain("ratio", "CPU of the others, followed to not", "×").with(Target::AtMost(1.1)),
];

/// Servers beside it.
const SHAPE: Shape = Shape {
    login: 1,
    msg: 1,
    route: 1,
};
/// Messages per second, and people, where each message is followed.
const FOLLOWED_PER_SECOND: u32 = 20_000;
const PEOPLE: u32 = 500;
/// People who write, with the first ids.
const WRITERS: u32 = 50;
/// People behind them, each with a phone that has gone.
const PHONES: u32 = 200;
/// Messages to them per second.
const PER_SECOND: u32 = 1_000;
/// Time before each measurement under the load itself.
const WARM_UP: Duration = Duration::from_secs(2);
/// Longest wait for the last acknowledgements and notices.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time from one look at the lag to the next.
const LOOK: Duration = Duration::from_millis(200);

/// Runs it on fresh servers each time.
pub(super) async fn run(setting: &Setting) -> anyhow::Result<Runs> {
    setting
        .repeat(Bounds::BUSY, async || notices(setting).await)
        .await
}

/// What some seconds of messages were like.
#[derive(Clone, Copy)]
struct Spell {
    messages: f64,
    /// CPU seconds of all servers.
    cpu: f64,
    /// Of the push server, where there is one.
    push: f64,
    p99: f64,
    /// Largest lag of the push server, seconds.
    lag: f64,
}

/// People who write, and to whom.
struct Writing {
    servers: Servers,
    flow: Rc<Flow>,
    targets: Vec<(usize, Peer)>,
    per_second: u32,
}

impl Writing {
    /// They write for so long after a while.
    async fn spell(&self, time: Duration) -> anyhow::Result<Spell> {
        let measuring = async {
            sleep(WARM_UP).await;
            self.measured(time).await
        };
        let mut spell = tokio::select! {
            sent = pairs::send_at_rate(&self.flow, self.per_second, &self.targets) => {
                sent?;
                bail!("writing never ends")
            }
            measured = measuring => measured?,
        };
        self.flow.settle(PATIENCE).await;
        self.flow.check()?;
        spell.p99 = self.flow.latency_ms(99.0);
        let lost = self.flow.abandon();
        ensure!(lost == 0, "{lost} messages are not acknowledged");
        Ok(spell)
    }

    async fn measured(&self, time: Duration) -> anyhow::Result<Spell> {
        let push = self.servers.pids_of("push");
        let end = self.flow.begin() + time;
        let acked = self.flow.acked.get();
        let before = (self.servers.cpu()?, cpu_seconds(&push)?);
        let mut lag = 0.0_f64;
        while Instant::now() < end {
            sleep_until(end.min(Instant::now() + LOOK)).await;
            lag = lag.max(self.servers.push_lag().await?);
        }
        Ok(Spell {
            messages: number(self.flow.acked.get() - acked),
            cpu: self.servers.cpu()? - before.0,
            push: cpu_seconds(&push)? - before.1,
            p99: 0.0,
            lag,
        })
    }
}

async fn notices(setting: &Setting) -> anyhow::Result<Figures> {
    let (writers, phones) = (setting.size(WRITERS), setting.size(PHONES));
    let servers = Servers::of_shape(SHAPE, writers + phones, Hashing::Cheap).await?;
    for id in writers + 1..=writers + phones {
        register(&servers, id).await?;
    }
    let connections = flow::log_in(&servers, 1..=writers, ClientType::Windows).await?;
    let members = connections.into_iter().map(|one| (one, Vec::new()));
    let flow = Flow::new(members.collect(), Body::Text);
    let readers = flow.read();
    let mut targets = Vec::new();
    for at in 0..phones {
        let to = pairs::user(writers + 1 + at)?;
        targets.push(((at % writers) as usize, to));
    }
    let mut writing = Writing {
        servers,
        flow,
        targets,
        per_second: setting.size(PER_SECOND),
    };
    let time = Duration::from_secs(setting.seconds);
    let alone = writing.spell(time).await?;
    let receiver = Receiver::start().await?;
    writing.servers.start_push(&receiver).await?;
    let watch = writing.servers.watch()?;
    let before = writing.flow.acked.get();
    let told = writing.spell(time).await?;
    let sent = writing.flow.acked.get() - before;
    let end = Instant::now() + PATIENCE;
    while receiver.taken() < sent {
        let taken = receiver.taken();
        ensure!(Instant::now() < end, "{taken} notices of {sent} came");
        sleep(Duration::from_millis(20)).await;
    }
    receiver.fall_silent();
    let silent = writing.spell(time).await?;
    let conditions = watch.end()?;
    readers.end().await?;
    let beyond = told.cpu / told.messages - alone.cpu / alone.messages;
    let mut figures = Figures::from([
        ("notice_us", beyond * 1e6),
        ("own_us", told.push / told.messages * 1e6),
        ("p99_ms", told.p99),
        ("silent_p99_ms", silent.p99),
        ("ratio", silent.p99 / told.p99.max(1e-3)),
    ]);
    conditions.add_to(&mut figures, told.messages + silent.messages);
    Ok(figures)
}

/// A phone says how it is reached, and goes.
async fn register(servers: &Servers, id: u32) -> anyhow::Result<()> {
    let mut phone = Terminal::login(servers.address_for(id)?, id, ClientType::Ios).await;
    let request = ImDeviceTokenReq {
        user_id: id,
        device_token: format!("{id:064x}"),
        client_type: None,
        attach_data: None,
    };
    let _: ImDeviceTokenRsp = phone.ask(Command::DeviceTokenReq, &request).await;
    Ok(())
}

/// Runs it on fresh servers each time.
pub(super) async fn followed(setting: &Setting) -> anyhow::Result<Runs> {
    setting
        .repeat(Bounds::BUSY, async || follower(setting).await)
        .await
}

async fn follower(setting: &Setting) -> anyhow::Result<Figures> {
    let people = setting.size(PEOPLE);
    let servers = Servers::of_shape(SHAPE, people, Hashing::Cheap).await?;
    let connections = flow::log_in(&servers, 1..=people, ClientType::Windows).await?;
    let members = connections.into_iter().map(|one| (one, Vec::new()));
    let flow = Flow::new(members.collect(), Body::Text);
    let readers = flow.read();
    let mut targets = Vec::new();
    for id in (1..people).step_by(2) {
        targets.push((id as usize - 1, pairs::user(id + 1)?));
    }
    let mut writing = Writing {
        servers,
        flow,
        targets,
        per_second: setting.size(FOLLOWED_PER_SECOND),
    };
    let time = Duration::from_secs(setting.seconds);
    let alone = writing.spell(time).await?;
    let receiver = Receiver::start().await?;
    writing.servers.start_push(&receiver).await?;
    let watch = writing.servers.watch()?;
    let followed = writing.spell(time).await?;
    let conditions = watch.end()?;
    readers.end().await?;
    ensure!(receiver.taken() == 0, "everybody is online");
    let each = |spell: &Spell| (spell.cpu - spell.push) / spell.messages * 1e6;
    let mut figures = Figures::from([
        ("rate", followed.messages / time.as_secs_f64()),
        ("lag_s", followed.lag),
        ("own_us", followed.push / followed.messages * 1e6),
        ("alone_us", each(&alone)),
        ("beside_us", each(&followed)),
        ("ratio", each(&followed) / each(&alone)),
    ]);
    conditions.add_to(&mut figures, followed.messages);
    Ok(figures)
}
