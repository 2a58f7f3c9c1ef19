//! A group whose 500 members are online: eight messages are on their way at any time, and one is
//! done when it was acknowledged and every other member has it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use im_client::codec::{Command, FrameRef, append, decode_checked};
use im_client::proto::base::{GroupType, SessionType};
use im_client::proto::group::{ImGroupCreateReq, ImGroupCreateRsp};
use im_client::proto::message::{ImMsgData, ImMsgDataAck};
use im_core::{ClientType, GroupId, Peer};
use tokio::time::{Instant, sleep};

use super::Setting;
use super::flow;
use crate::conditions::{Bounds, Runs};
use crate::content::Writer;
use crate::lean::Lean;
use crate::measure::{Latency, number};
use crate::people::Hashing;
use crate::report::{Figures, Row, Target};
use crate::servers::Servers;

/// Figures.
pub(super) const ROWS: &[Row] = &[
    Row::plain("rate", "deliveries", "/s").with(Target::AtLeast(220_000.0)),
    Row::plain("cpu_us", "server CPU per delivery", "µs").with(Target::AtMost(3.0)),
    Row::plain("messages", "messages", "/s"),
    Row::plain("done_p50_ms", "delivered to all p50", "ms"),
    Row::plain("done_p99_ms", "delivered to all p99", "ms"),
];

const MEMBERS: u32 = 500;
const WINDOW: usize = 8;
const WARM_UP: Duration = Duration::from_secs(2);
const DRAIN: Duration = Duration::from_secs(20);

/// A message on its way.
#[derive(Clone, Copy, Debug)]
struct Journey {
    sent: Instant,
    /// Members that do not have it yet.
    missing: usize,
    acked: bool,
}

/// The load.
struct Fan {
    connections: Vec<Rc<Lean>>,
    group: GroupId,
    receipts: bool,
    writer: Writer,
    sending: Cell<bool>,
    /// By message id; those without ack have none yet.
    journeys: RefCell<HashMap<u32, Journey>>,
    /// Sending times by sequence number.
    unacked: RefCell<HashMap<u16, Instant>>,
    newest: Vec<Cell<u32>>,
    delivered: Cell<u64>,
    done: Cell<u64>,
    latency: RefCell<Latency>,
    fault: RefCell<Option<String>>,
}

/// Runs it; with receipts every member confirms every message.
pub(super) async fn run(setting: &Setting, receipts: bool) -> anyhow::Result<Runs> {
    let people = setting.size(MEMBERS);
    let servers = Servers::start(setting.topology, people, Hashing::Cheap).await?;
    let connections = flow::log_in(&servers, 1..=people, ClientType::Windows).await?;
    let creator = connections.first().context("there are people")?;
    let group = create(creator, people).await?;
    let fan = Rc::new(Fan {
        newest: connections.iter().map(|_| Cell::new(0)).collect(),
        connections,
        group,
        receipts,
        writer: Writer::new(),
        sending: Cell::new(false),
        journeys: RefCell::default(),
        unacked: RefCell::default(),
        delivered: Cell::new(0),
        done: Cell::new(0),
        latency: RefCell::new(Latency::new()),
        fault: RefCell::default(),
    });
    let (taking, failing) = (Rc::clone(&fan), Rc::clone(&fan));
    let readers = flow::read_all(
        fan.connections.iter().map(Rc::clone),
        move |at, lean, frame| {
            if let Err(error) = taking.take(at, lean, frame) {
                taking.fail(&error);
            }
        },
        move |error| failing.fail(&error),
    );
    let once = async || fan.measure(&servers, setting.seconds).await;
    let runs = setting.repeat(Bounds::QUIET, once).await?;
    readers.end().await?;
    Ok(runs)
}

async fn create(creator: &Lean, people: u32) -> anyhow::Result<GroupId> {
    let request = ImGroupCreateReq {
        user_id: creator.user,
        group_type: GroupType::Tmp as i32,
        group_name: "everybody".to_owned(),
        group_avatar: String::new(),
        member_id_list: (1..=people).collect(),
        attach_data: None,
    };
    let answer: ImGroupCreateRsp = creator.ask(Command::GroupCreateReq, &request).await?;
    ensure!(answer.result_code == 0, "the group was not created");
    answer
        .group_id
        .and_then(GroupId::from_wire)
        .context("group has an id")
}

impl Fan {
    async fn measure(&self, servers: &Servers, seconds: u64) -> anyhow::Result<Figures> {
        self.sending.set(true);
        for _ in 0..WINDOW {
            self.send()?;
        }
        sleep(WARM_UP).await;
        *self.latency.borrow_mut() = Latency::new();
        let watch = servers.watch()?;
        let (delivered, done) = (self.delivered.get(), self.done.get());
        sleep(Duration::from_secs(seconds)).await;
        let conditions = watch.end()?;
        let delivered = number(self.delivered.get() - delivered);
        let done = number(self.done.get() - done);
        self.sending.set(false);
        self.drain().await?;
        let latency = self.latency.borrow();
        let mut figures = Figures::from([
            ("rate", delivered / conditions.seconds),
            ("messages", done / conditions.seconds),
            ("done_p50_ms", latency.ms(50.0)),
            ("done_p99_ms", latency.ms(99.0)),
        ]);
        conditions.add_to(&mut figures, delivered);
        Ok(figures)
    }

    async fn drain(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + DRAIN;
        loop {
            if let Some(fault) = self.fault.borrow().as_ref() {
                bail!("{fault}");
            }
            let (unacked, open) = (self.unacked.borrow().len(), self.journeys.borrow().len());
            if unacked == 0 && open == 0 {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{unacked} messages without ack, {open} not delivered to all"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn fail(&self, error: &anyhow::Error) {
        self.fault
            .borrow_mut()
            .get_or_insert_with(|| format!("{error:#}"));
    }

    fn send(&self) -> anyhow::Result<()> {
        let sender = self.connections.first().context("there is a sender")?;
        let seq = sender.next_seq();
        let to = Peer::Group(self.group);
        sender.queue(|out| self.writer.text(out, seq, sender.user, to))?;
        self.unacked.borrow_mut().insert(seq, Instant::now());
        sender.flush()?;
        Ok(())
    }

    fn take(&self, at: usize, lean: &Lean, frame: FrameRef<'_>) -> anyhow::Result<()> {
        match frame.header.command() {
            Some(Command::MsgDataAck) => {
                let ack: ImMsgDataAck = decode_checked(frame.to_frame().body)?;
                let sent = self.unacked.borrow_mut().remove(&frame.header.seq);
                let sent = sent.context("ack for an unknown number")?;
                let change = |journey: &mut Journey| {
                    journey.sent = sent;
                    journey.acked = true;
                };
                self.advance(ack.msg_id, change)
            }
            Some(Command::MsgData) => {
                let message: ImMsgData = decode_checked(frame.to_frame().body)?;
                self.delivered.set(self.delivered.get() + 1);
                let newest = self.newest.get(at).context("member exists")?;
                ensure!(
                    message.msg_id == newest.get() + 1 || newest.get() == 0,
                    "u{} received message {} after {}",
                    lean.user,
                    message.msg_id,
                    newest.get()
                );
                newest.set(message.msg_id);
                if self.receipts {
                    self.confirm(lean, message.msg_id);
                }
                self.advance(message.msg_id, |journey| journey.missing -= 1)
            }
            Some(Command::KickUser) => bail!("u{} was kicked", lean.user),
            _ => Ok(()),
        }
    }

    fn confirm(&self, lean: &Lean, msg_id: u32) {
        let receipt = ImMsgDataAck {
            user_id: lean.user,
            session_id: self.group.get(),
            msg_id,
            session_type: SessionType::Group as i32,
        };
        let seq = lean.next_seq();
        lean.queue(|out| append(out, Command::MsgDataAck, seq, &receipt));
    }

    /// Notes a step of a message; a delivery may come before the ack.
    fn advance(&self, msg_id: u32, step: impl FnOnce(&mut Journey)) -> anyhow::Result<()> {
        let finished = {
            let mut journeys = self.journeys.borrow_mut();
            let journey = journeys.entry(msg_id).or_insert_with(|| Journey {
                sent: Instant::now(),
                missing: self.connections.len() - 1,
                acked: false,
            });
            step(journey);
            let finished = (journey.acked && journey.missing == 0).then_some(journey.sent);
            if finished.is_some() {
                journeys.remove(&msg_id);
            }
            finished
        };
        if let Some(sent) = finished {
            self.latency.borrow_mut().record(sent.elapsed());
            self.done.set(self.done.get() + 1);
            if self.sending.get() {
                self.send()?;
            }
        }
        Ok(())
    }
}
