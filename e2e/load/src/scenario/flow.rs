//! Messages in flight: who sent what when, what came back, and whether anything is missing.
//!
//! Besides measuring it judges: every message that was sent must be acknowledged and delivered,
//! and each receiver must see the ids of a conversation grow.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use im_client::codec::{Command, FrameRef, decode_checked};
use im_client::proto::message::ImMsgData;
use im_core::{ClientType, Peer};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::content::Writer;
use crate::lean::Lean;
use crate::measure::Latency;
use crate::servers::Servers;

/// Logins at the same time while preparing.
pub(super) const LOGINS_AT_ONCE: usize = 64;
/// Longest wait for the last acks and deliveries.
const DRAIN: Duration = Duration::from_secs(20);

/// What a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// 108 bytes of encrypted text.
    Text,
    /// 100 bytes of sound.
    Voice,
}

/// A message without ack.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    seq: u16,
    intended: Instant,
}

/// One connection of the load.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) connection: Rc<Lean>,
    targets: Vec<Peer>,
    next_target: Cell<usize>,
    waiting: RefCell<VecDeque<Waiting>>,
    /// Newest id received of each conversation partner.
    newest: RefCell<HashMap<u32, u32>>,
}

/// The load of one run.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) members: Vec<Member>,
    body: Body,
    writer: Writer,
    /// Each ack is followed by the next message.
    closed: Cell<bool>,
    /// Only intended times from then on are measured.
    from: Cell<Option<Instant>>,
    latency: RefCell<Latency>,
    late: RefCell<Latency>,
    sent: Cell<u64>,
    pub(super) acked: Cell<u64>,
    delivered: Cell<u64>,
    fault: RefCell<Option<String>>,
}

/// Tasks that read the connections.
pub(super) struct Readers {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Ends them and waits.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        self.stop.cancel();
        for task in self.tasks {
            task.await.context("reader task")?;
        }
        Ok(())
    }
}

/// Runs a reader for each connection.
pub(super) fn read_all(
    connections: impl Iterator<Item = Rc<Lean>>,
    take: impl Fn(usize, &Lean, FrameRef<'_>) + Clone + 'static,
    fail: impl Fn(anyhow::Error) + Clone + 'static,
) -> Readers {
    let stop = CancellationToken::new();
    let tasks = connections
        .enumerate()
        .map(|(at, connection)| {
            let (take, fail, stop) = (take.clone(), fail.clone(), stop.clone());
            tokio::task::spawn_local(async move {
                let reading = connection.run(|lean, frame| take(at, lean, frame));
                if let Some(Err(error)) = stop.run_until_cancelled(reading).await {
                    fail(error);
                }
            })
        })
        .collect();
    Readers { stop, tasks }
}

/// Logs these people in.
pub(super) async fn log_in(
    servers: &Servers,
    ids: impl Iterator<Item = u32>,
    client_type: ClientType,
) -> anyhow::Result<Vec<Rc<Lean>>> {
    stream::iter(ids)
        .map(|id| async move { Lean::login(servers.address_for(id)?, None, id, client_type).await })
        .buffered(LOGINS_AT_ONCE)
        .try_collect()
        .await
}

impl Flow {
    /// The load of these connections, each with the partners that it writes to.
    pub(super) fn new(members: Vec<(Rc<Lean>, Vec<Peer>)>, body: Body) -> Rc<Self> {
        let members = members
            .into_iter()
            .map(|(connection, targets)| Member {
                connection,
                targets,
                next_target: Cell::new(0),
                waiting: RefCell::default(),
                newest: RefCell::default(),
            })
            .collect();
        Rc::new(Self {
            members,
            body,
            writer: Writer::new(),
            closed: Cell::new(false),
            from: Cell::new(None),
            latency: RefCell::new(Latency::new()),
            late: RefCell::new(Latency::new()),
            sent: Cell::new(0),
            acked: Cell::new(0),
            delivered: Cell::new(0),
            fault: RefCell::default(),
        })
    }

    /// Starts reading.
    pub(super) fn read(self: &Rc<Self>) -> Readers {
        let connections = self.members.iter().map(|m| Rc::clone(&m.connection));
        let (taking, failing) = (Rc::clone(self), Rc::clone(self));
        read_all(
            connections,
            move |at, _, frame| {
                if let Err(error) = taking.take(at, frame) {
                    taking.fail(&error);
                }
            },
            move |error| failing.fail(&error),
        )
    }

    fn fail(&self, error: &anyhow::Error) {
        self.fault
            .borrow_mut()
            .get_or_insert_with(|| format!("{error:#}"));
    }

    /// Fails when anything went wrong so far.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        match self.fault.borrow().as_ref() {
            None => Ok(()),
            Some(fault) => bail!("{fault}"),
        }
    }

    fn take(&self, at: usize, frame: FrameRef<'_>) -> anyhow::Result<()> {
        let Some(member) = self.members.get(at) else {
            return Ok(());
        };
        match frame.header.command() {
            Some(Command::MsgDataAck) => self.take_ack(member, frame.header.seq),
            Some(Command::MsgData) => {
                let message: ImMsgData = decode_checked(frame.to_frame().body)?;
                self.delivered.set(self.delivered.get() + 1);
                let from = message.from_user_id;
                let mut newest = member.newest.borrow_mut();
                let before = newest.insert(from, message.msg_id).unwrap_or(0);
                ensure!(
                    message.msg_id > before,
                    "u{} received message {} of u{from} after {before}",
                    member.connection.user,
                    message.msg_id
                );
                Ok(())
            }
            Some(Command::KickUser) => bail!("u{} was kicked", member.connection.user),
            _ => Ok(()),
        }
    }

    fn take_ack(&self, member: &Member, seq: u16) -> anyhow::Result<()> {
        let waiting = {
            let mut queue = member.waiting.borrow_mut();
            let at = queue.iter().position(|waiting| waiting.seq == seq);
            at.and_then(|at| queue.remove(at))
        };
        let waiting = waiting.with_context(|| format!("ack for unknown number {seq}"))?;
        let now = Instant::now();
        self.acked.set(self.acked.get() + 1);
        if self.from.get().is_some_and(|from| waiting.intended >= from) {
            self.latency
                .borrow_mut()
                .record(now.saturating_duration_since(waiting.intended));
        }
        if self.closed.get() {
            // Flushed by the reader when it has taken everything that came.
            self.queue(member, now)?;
        }
        Ok(())
    }

    /// Queues the member's next message.
    fn queue(&self, member: &Member, intended: Instant) -> anyhow::Result<()> {
        let at = member.next_target.get();
        let target = member.targets.get(at % member.targets.len().max(1));
        member.next_target.set(at + 1);
        self.queue_to(member, *target.context("member has partners")?, intended)
    }

    fn queue_to(&self, member: &Member, to: Peer, intended: Instant) -> anyhow::Result<()> {
        let connection = &member.connection;
        let seq = connection.next_seq();
        connection.queue(|out| match self.body {
            Body::Text => self.writer.text(out, seq, connection.user, to),
            Body::Voice => {
                self.writer.voice(out, seq, connection.user, to);
                Ok(())
            }
        })?;
        member
            .waiting
            .borrow_mut()
            .push_back(Waiting { seq, intended });
        self.sent.set(self.sent.get() + 1);
        Ok(())
    }

    /// Sends a message that was due at this time.
    pub(super) fn send(&self, at: usize, to: Peer, intended: Instant) -> anyhow::Result<()> {
        let member = self.members.get(at).context("member exists")?;
        self.queue_to(member, to, intended)?;
        member.connection.flush()?;
        if self.from.get().is_some_and(|from| intended >= from) {
            self.late.borrow_mut().record(intended.elapsed());
        }
        Ok(())
    }

    /// Keeps so many messages of each sending member in flight from now on.
    pub(super) fn open_window(&self, each: u32) -> anyhow::Result<()> {
        self.closed.set(true);
        let now = Instant::now();
        for member in self.members.iter().filter(|m| !m.targets.is_empty()) {
            for _ in 0..each {
                self.queue(member, now)?;
            }
            member.connection.flush()?;
        }
        Ok(())
    }

    /// Waits until every member has written to each of its partners.
    pub(super) async fn all_written_to(&self) -> anyhow::Result<()> {
        while self
            .members
            .iter()
            .any(|m| m.next_target.get() < m.targets.len())
        {
            self.check()?;
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Measures messages intended from now on.
    pub(super) fn begin(&self) -> Instant {
        *self.latency.borrow_mut() = Latency::new();
        *self.late.borrow_mut() = Latency::new();
        let now = Instant::now();
        self.from.set(Some(now));
        now
    }

    /// Sends nothing more and waits until everything is acknowledged and delivered.
    pub(super) async fn drain(&self) -> anyhow::Result<()> {
        self.closed.set(false);
        let deadline = Instant::now() + DRAIN;
        loop {
            self.check()?;
            let (sent, acked) = (self.sent.get(), self.acked.get());
            let delivered = self.delivered.get();
            if sent == acked && sent == delivered {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{sent} messages sent, {acked} acknowledged, {delivered} delivered"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Gives up what is not acknowledged and says how much that is. What was waited for in vain counts
    /// as if it came now.
    pub(super) fn abandon(&self) -> u64 {
        self.closed.set(false);
        let mut lost = 0;
        for member in &self.members {
            for waiting in member.waiting.borrow_mut().drain(..) {
                self.latency.borrow_mut().record(waiting.intended.elapsed());
                lost += 1;
            }
        }
        lost
    }

    /// Waits until everything is acknowledged, so long at most or until a connection is lost.
    pub(super) async fn settle(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.sent.get() != self.acked.get()
            && self.check().is_ok()
            && Instant::now() < deadline
        {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Milliseconds from the intended time to the ack.
    pub(super) fn latency_ms(&self, percentile: f64) -> f64 {
        self.latency.borrow().ms(percentile)
    }

    /// Milliseconds from the intended time to the writing.
    pub(super) fn late_ms(&self, percentile: f64) -> f64 {
        self.late.borrow().ms(percentile)
    }

    /// How many messages were measured.
    pub(super) fn measured(&self) -> u64 {
        self.latency.borrow().count()
    }
}
