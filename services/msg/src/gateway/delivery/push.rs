//! Putting frames into the queues of sessions, and writing the connections that were touched.

use std::sync::Arc;

use bytes::Bytes;
use im_codec::{Command, encode, encode_raw};
use im_config::MsgConfig;
use im_core::TerminalClass;
use im_order::CommitSeq;
use im_proto_rpc::v1::{Event, Kick, LiveMessage, PcStatus};
use im_proto_teamtalk::base::UserStatType;
use im_proto_teamtalk::buddy::ImpcLoginStatusNotify;
use im_proto_teamtalk::message::ImMsgData;
use im_trace::{Hop, Step, Trace, hop, note};
use tokio::time::Instant;
use tracing::warn;

use super::Delivery;
use crate::connection::{Appended, Conn, Output, Session};
use crate::gateway::handle;
use crate::gateway::state::Gateway;
use crate::ids::LinkId;
use crate::metrics::Refusal;
use crate::session::takeover::{self, is_meant};

/// Connections written before other tasks get a turn.
const WRITES: usize = 256;

/// Connections with frames that are not written yet.
pub(super) struct Touched {
    now: Vec<Arc<Conn>>,
    /// Waits until the gap between two large deliveries has passed.
    later: Vec<Arc<Conn>>,
    flush_at: Option<Instant>,
    last: Option<Instant>,
    many: usize,
    gap: std::time::Duration,
    /// Of messages that a trace follows: noted when their connections are written.
    traced: Traced,
}

/// Messages that were given to connections, and the steps that they make when these are written.
#[derive(Default)]
struct Traced {
    now: Vec<(Arc<Conn>, u64, Hop)>,
    later: Vec<(Arc<Conn>, u64, Hop)>,
}

/// Notes that connections were written.
fn note_written(traced: &mut Vec<(Arc<Conn>, u64, Hop)>) {
    for (conn, message, hop) in traced.drain(..) {
        let count = u32::try_from(conn.queued()).unwrap_or(u32::MAX);
        note(message, Hop { count, ..hop });
    }
}

impl Touched {
    pub(super) fn new(config: &MsgConfig) -> Self {
        Self {
            now: Vec::new(),
            later: Vec::new(),
            flush_at: None,
            last: None,
            many: config.fanout_connections as usize,
            gap: config.fanout_gap.duration(),
            traced: Traced::default(),
        }
    }

    pub(super) fn add(&mut self, conn: &Arc<Conn>) {
        self.now.push(Arc::clone(conn));
    }

    /// When the connections that wait must be written.
    pub(super) fn flush_at(&self) -> Option<Instant> {
        self.flush_at
    }

    /// Writes what is due. A delivery to few connections goes out at once; one to many waits for the
    /// gap after the last such one, so that further frames for the same connections join it.
    pub(super) async fn flush(&mut self, output: &Arc<Output>) {
        if self.now.len() >= self.many {
            self.later.append(&mut self.now);
            self.traced.later.append(&mut self.traced.now);
        }
        for conn in self.now.drain(..) {
            conn.flush(output);
        }
        note_written(&mut self.traced.now);
        if self.later.is_empty() {
            return;
        }
        let now = Instant::now();
        let due = self.last.map_or(now, |last| last + self.gap);
        if now < due {
            self.flush_at = Some(due);
            return;
        }
        self.flush_at = None;
        self.last = Some(now);
        let later = std::mem::take(&mut self.later);
        for conns in later.chunks(WRITES) {
            for conn in conns {
                conn.flush(output);
            }
            if conns.len() == WRITES {
                tokio::task::yield_now().await;
            }
        }
        note_written(&mut self.traced.later);
        if later.capacity() <= 65_536 {
            self.later = later;
            self.later.clear();
        }
    }
}

/// Whether a frame must reach a connection that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Push {
    Must,
    MayBeLeftOut,
}

impl Delivery {
    /// Pushes a message to the recipients' sessions that have not got it. A message of a route link
    /// is for the sessions announced on that link.
    pub(super) fn deliver(&mut self, message: &LiveMessage, link: Option<LinkId>) {
        let gateway = &self.gateway;
        let Touched {
            now: touched,
            traced,
            ..
        } = &mut self.touched;
        let behind = &mut self.behind;
        let trace = Trace::from_wire(message.trace);
        let mut frame = None;
        let mut pushed = 0;
        for user in &message.recipients {
            gateway.sessions.of_user(*user, |conn| {
                let Some(session) = conn.session() else {
                    return;
                };
                let seq = CommitSeq::from_wire(message.seq);
                if session.epoch == message.origin
                    || link.is_some_and(|link| session.owner() != link)
                {
                    return;
                }
                if session.is_behind() {
                    behind.skipped(session, seq);
                    return;
                }
                if !session.advance(seq) {
                    return;
                }
                let frame: &Bytes = frame.get_or_insert_with(|| message_frame(message));
                match conn.message(&gateway.output, frame.clone()) {
                    Appended::First => touched.push(Arc::clone(conn)),
                    Appended::Again => {}
                    Appended::Full => {
                        gateway.env.metrics.fell_behind.inc();
                        behind.add(conn, session, seq);
                        return;
                    }
                    Appended::Closed | Appended::Overflow | Appended::LeftOut => return,
                }
                pushed += 1;
                if message.trace != 0 {
                    let written = Hop {
                        position: message.seq,
                        user: *user,
                        session: session.epoch,
                        ..Hop::of(Step::Written)
                    };
                    traced.now.push((Arc::clone(conn), message.trace, written));
                }
            });
        }
        gateway.env.metrics.messages_out.inc_by(pushed);
        hop!(trace, "deliver", seq = message.seq, sessions = pushed);
    }

    /// Pushes a frame that is not kept.
    pub(super) async fn event(&mut self, link: LinkId, event: &Event) {
        let command = u16::try_from(event.command).ok().and_then(Command::from_id);
        let Some(command) = command else {
            warn!(command = event.command, "an event has an unknown command");
            return;
        };
        let frame = encode_raw(command, 0, &event.body);
        // A signal may be left out: nobody's connection ends because others send them.
        let kind = match command {
            Command::P2pCmdMsg | Command::FileNotify => Push::MayBeLeftOut,
            _ => Push::Must,
        };
        let audience = event.audience();
        let (except, broadcast) = (event.except, event.broadcast);
        let wanted = move |session: &Session| {
            session.epoch != except
                && is_meant(audience, session)
                // Every route server brings a broadcast: each session gets it from its own.
                && (!broadcast || session.owner() == link)
        };
        if broadcast {
            self.push_all(&frame, wanted).await;
        } else if command == Command::FileNotify {
            let (gateway, touched) = (&self.gateway, &mut self.touched.now);
            for user in &event.users {
                gateway.sessions.of_user(*user, |conn| {
                    // Where the file server is may depend on where the client is.
                    let frame = handle::file::notify_frame(conn, &event.body);
                    push_to(gateway, conn, &frame, kind, wanted, touched);
                });
            }
        } else {
            for user in &event.users {
                self.push_user(*user, &frame, kind, wanted);
            }
        }
    }

    /// Tells the phones of a user that his PC came or went.
    pub(super) fn pc_status(&mut self, status: PcStatus) {
        let stat = if status.online {
            UserStatType::UserStatusOnline
        } else {
            UserStatType::UserStatusOffline
        };
        let notify = ImpcLoginStatusNotify {
            user_id: status.user,
            login_stat: stat as i32,
        };
        let frame = encode(Command::PcLoginStatusNotify, 0, &notify);
        self.push_user(status.user, &frame, Push::Must, |session| {
            session.class() == TerminalClass::Mobile
        });
    }

    /// Pushes a frame to some sessions of a user.
    pub(super) fn push_user(
        &mut self,
        user: u32,
        frame: &Bytes,
        kind: Push,
        wanted: impl Fn(&Session) -> bool,
    ) {
        let gateway = &self.gateway;
        let touched = &mut self.touched.now;
        gateway.sessions.of_user(user, |conn| {
            push_to(gateway, conn, frame, kind, &wanted, touched);
        });
    }

    /// Pushes a frame to some of all sessions.
    pub(super) async fn push_all(&mut self, frame: &Bytes, wanted: impl Fn(&Session) -> bool) {
        let gateway = &self.gateway;
        let touched = &mut self.touched.now;
        let mut slice = 0;
        while gateway.sessions.slice(slice, |conn| {
            push_to(gateway, conn, frame, Push::Must, &wanted, touched);
        }) {
            slice += 1;
            tokio::task::yield_now().await;
        }
    }

    /// Ends the sessions that a kick selects, those included whose login is about to be answered.
    pub(super) fn kick(&mut self, kick: &Kick) {
        let gateway = &self.gateway;
        let mut selected = takeover::registered(&gateway.sessions, kick);
        for mut login in takeover::pending(&gateway.sessions, kick) {
            login.line.done();
            // Nothing goes before the login answer, and a client that sees the connection end
            // without one would try again and end the session that is to stay.
            login.conn.answer(&gateway.output, login.answer);
            selected.push(login.conn);
        }
        for conn in selected {
            gateway.kick(&conn, kick.reason);
        }
    }

    /// Refuses logins that no route server can register any more.
    pub(super) fn refuse_pending(&mut self) {
        let pending = std::mem::take(&mut *self.gateway.sessions.pending());
        for mut login in pending.into_values() {
            self.refuse(Refusal::PeerMissing);
            handle::refuse_no_route(&self.gateway, &mut login);
        }
    }
}

fn push_to(
    gateway: &Gateway,
    conn: &Arc<Conn>,
    frame: &Bytes,
    kind: Push,
    wanted: impl Fn(&Session) -> bool,
    touched: &mut Vec<Arc<Conn>>,
) {
    if !conn.session().is_some_and(wanted) {
        return;
    }
    let output = &gateway.output;
    let appended = match kind {
        Push::Must => conn.push(output, frame.clone()),
        Push::MayBeLeftOut => conn.offer(output, frame.clone()),
    };
    match appended {
        Appended::LeftOut => gateway.env.metrics.refused(Refusal::SignalFull),
        Appended::First => {
            gateway.env.metrics.events_out.inc();
            touched.push(Arc::clone(conn));
        }
        Appended::Again | Appended::Closed | Appended::Overflow | Appended::Full => {
            gateway.env.metrics.events_out.inc();
        }
    }
}

/// The frame that every receiving terminal gets.
pub(super) fn message_frame(message: &LiveMessage) -> Bytes {
    let data = ImMsgData {
        from_user_id: message.from,
        to_session_id: message.to,
        msg_id: message.msg_id,
        create_time: message.time,
        msg_type: i32::try_from(message.msg_type).unwrap_or_default(),
        msg_data: message.data.clone(),
        attach_data: None,
        client_msg_id: None,
    };
    encode(Command::MsgData, 0, &data)
}
