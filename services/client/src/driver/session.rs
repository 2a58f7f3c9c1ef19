//! One logged-in connection, from its first frame to its end.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use im_codec::{Command, Frame, decode_checked, next_frame};
use im_core::SessionType;
use im_proto_teamtalk::message::{ImMsgData, ImMsgDataAck, ImMsgDataReadAck, ImMsgDataReadNotify};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::link::Link;
use super::pending::Pending;
use super::push;
use super::{Driver, Outgoing, Request};
use crate::client::SendAck;
use crate::config::Receipts;
use crate::error::Error;
use crate::event::{Event, Message};

/// Room for one read.
const READ_STEP: usize = 16 * 1024;
/// Above so many unwritten bytes nothing new is accepted from the handles.
const MAX_UNWRITTEN: usize = 256 * 1024;
/// Time to write the rest when the client is closed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why a session ended.
pub(super) enum End {
    /// The connection is gone, or not to be trusted any more.
    Lost(Error),
    /// The server told this terminal to leave.
    Kicked(i32),
    /// The client is closed from here.
    Stopped,
}

/// What belongs to one connection.
struct Session {
    user_id: u32,
    pending: Pending,
    out: BytesMut,
    heartbeat_at: Instant,
    /// When the last frame came.
    heard: Instant,
    /// When the oldest heartbeat without any frame after it was sent.
    unanswered: Option<Instant>,
}

impl Driver {
    pub(super) async fn session(&mut self, link: Link) -> End {
        let now = Instant::now();
        let mut stream = link.stream;
        let mut buffer = link.buffer;
        let mut session = Session {
            user_id: link.user.user_id,
            pending: Pending::default(),
            out: BytesMut::new(),
            heartbeat_at: now + self.config.heartbeats.interval,
            heard: now,
            unanswered: None,
        };
        for frame in link.early {
            self.events.emit(Event::Unmatched(frame));
        }
        self.outbox.replay(&mut session.out, now);
        let end = match self.take_frames(&mut session, &mut buffer) {
            Some(end) => end,
            None => self.serve(&mut session, &mut stream, &mut buffer).await,
        };
        if matches!(end, End::Stopped) {
            // What has no answer, such as a read mark, counts as sent for whoever has closed the client.
            while let Ok(request) = self.requests.try_recv() {
                if matches!(request, Request::Tell { .. }) {
                    self.take_request(&mut session, request);
                }
            }
            farewell(&mut stream, &mut session.out).await;
        }
        session.pending.fail_all();
        end
    }

    async fn serve(
        &mut self,
        session: &mut Session,
        stream: &mut TcpStream,
        buffer: &mut BytesMut,
    ) -> End {
        let (mut reader, mut writer) = stream.split();
        loop {
            let now = Instant::now();
            if let Some(end) = self.keep_time(session, now) {
                return end;
            }
            buffer.reserve(READ_STEP);
            let accepting = session.out.len() < MAX_UNWRITTEN;
            let may_send = accepting && self.outbox.has_room(now);
            let deadline = self.deadline(session, now);
            // Every branch is cancellation-safe: what was not chosen has done nothing.
            tokio::select! {
                () = self.stop.cancelled() => return End::Stopped,
                read = reader.read_buf(buffer) => match read {
                    Ok(0) | Err(_) => return End::Lost(Error::Disconnected),
                    Ok(_) => if let Some(end) = self.take_frames(session, buffer) {
                        return end;
                    },
                },
                written = writer.write_buf(&mut session.out), if !session.out.is_empty() => {
                    if written.is_err() {
                        return End::Lost(Error::Disconnected);
                    }
                }
                request = self.requests.recv(), if accepting => match request {
                    None => return End::Stopped,
                    Some(Request::Break) => return End::Lost(Error::Disconnected),
                    Some(request) => self.take_request(session, request),
                },
                outgoing = self.sends.recv(), if may_send => match outgoing {
                    None => return End::Stopped,
                    Some(outgoing) => self.take_message(session, outgoing),
                },
                () = sleep_until(deadline) => {}
            }
        }
    }

    /// When the loop has to look again although nothing happens.
    fn deadline(&self, session: &Session, now: Instant) -> Instant {
        let beats = &self.config.heartbeats;
        let silence = beats.silence.map(|limit| session.heard + limit);
        let answer = beats
            .answer
            .and_then(|limit| session.unanswered.map(|sent| sent + limit));
        [silence, answer, self.outbox.next_deadline(now)]
            .into_iter()
            .flatten()
            .fold(session.heartbeat_at, Instant::min)
    }

    /// Does what is due.
    fn keep_time(&mut self, session: &mut Session, now: Instant) -> Option<End> {
        let beats = self.config.heartbeats;
        let silent = beats
            .silence
            .is_some_and(|limit| now >= session.heard + limit);
        let unanswered = beats
            .answer
            .is_some_and(|limit| session.unanswered.is_some_and(|sent| now >= sent + limit));
        if silent || unanswered {
            return Some(End::Lost(Error::Timeout));
        }
        if now >= session.heartbeat_at {
            session.heartbeat_at = now + beats.interval;
            session.unanswered.get_or_insert(now);
            session.pending.sweep();
            self.write(session, Command::HeartBeat, None, &[]);
        }
        if self.outbox.expire(&mut session.out, now) {
            while let Ok(outgoing) = self.sends.try_recv() {
                // A caller that gave up does not mind.
                drop(outgoing.reply.send(Err(Error::Unacknowledged)));
            }
        }
        None
    }

    /// Handles every complete frame of the buffer.
    fn take_frames(&mut self, session: &mut Session, buffer: &mut BytesMut) -> Option<End> {
        loop {
            match next_frame(buffer, self.config.max_frame) {
                Ok(Some(frame)) => {
                    session.heard = Instant::now();
                    session.unanswered = None;
                    if let Some(end) = self.take_frame(session, frame) {
                        return Some(end);
                    }
                }
                Ok(None) => return None,
                Err(error) => return Some(End::Lost(error.into())),
            }
        }
    }

    fn take_frame(&mut self, session: &mut Session, frame: Frame) -> Option<End> {
        let header = frame.header;
        if header.command_id == Command::MsgDataAck.id()
            && let Ok(ack) = decode_checked::<ImMsgDataAck>(frame.body.clone())
        {
            let ack = SendAck {
                msg_id: ack.msg_id,
                session_id: ack.session_id,
                session_type: ack.session_type,
            };
            if self.outbox.acknowledge(header.seq, ack) {
                return None;
            }
        }
        let answered = session
            .pending
            .answer(header.command_id, header.seq, &frame.body);
        if answered || header.command_id == Command::HeartBeat.id() {
            return None;
        }
        match push::event_of(frame, session.user_id) {
            Event::Kick { reason } => return Some(End::Kicked(reason)),
            Event::Message(message) => {
                self.confirm(session, &message);
                self.events.emit(Event::Message(message));
            }
            Event::ReadNotify(notify) => {
                self.echo(session, notify);
                self.events.emit(Event::ReadNotify(notify));
            }
            event => self.events.emit(event),
        }
        None
    }

    fn take_request(&mut self, session: &mut Session, request: Request) {
        match request {
            Request::Ask {
                command,
                answer,
                seq,
                body,
                reply,
            } => {
                // Whoever gave up while the connection was away needs no answer.
                if !reply.is_closed() {
                    let seq = self.write(session, command, seq, &body);
                    session.pending.insert(answer, seq, reply);
                }
            }
            Request::Tell { command, body } => {
                self.write(session, command, None, &body);
            }
            Request::Break => {}
        }
    }

    fn take_message(&mut self, session: &mut Session, outgoing: Outgoing) {
        if outgoing.reply.is_closed() {
            return;
        }
        let profile = self.config.profile;
        let (names_sender, has_clock) = profile.message_marks();
        let message = ImMsgData {
            from_user_id: if names_sender { session.user_id } else { 0 },
            to_session_id: outgoing.to_session_id,
            msg_id: 0,
            create_time: if has_clock {
                im_core::time::UnixSeconds::now().get()
            } else {
                0
            },
            msg_type: outgoing.msg_type,
            msg_data: outgoing.data,
            attach_data: None,
            client_msg_id: outgoing.client_msg_id.map(|id| Bytes::copy_from_slice(&id)),
        };
        let outbox = &self.outbox;
        let pending = &session.pending;
        let seq = self
            .seqs
            .message(|seq| outbox.uses(seq) || pending.uses(seq));
        let frame = profile.frame(Command::MsgData, seq, &message.encode_to_vec());
        session.out.extend_from_slice(&frame);
        self.outbox.push(seq, frame, outgoing.reply, Instant::now());
    }

    /// Writes a frame under the given or the next number.
    fn write(
        &mut self,
        session: &mut Session,
        command: Command,
        seq: Option<u16>,
        body: &[u8],
    ) -> u16 {
        let outbox = &self.outbox;
        let pending = &session.pending;
        let seq = seq.unwrap_or_else(|| {
            self.seqs
                .request(command, |seq| outbox.uses(seq) || pending.uses(seq))
        });
        let profile = self.config.profile;
        session
            .out
            .extend_from_slice(&profile.header(command, seq, body.len()).to_bytes());
        session.out.extend_from_slice(body);
        seq
    }

    /// Sends the receipt that this client's kind sends.
    fn confirm(&mut self, session: &mut Session, message: &Message) {
        let data = &message.data;
        let (Some(kind), Some(peer)) = (message.session_type(), message.peer()) else {
            return;
        };
        let own = if self.config.profile.names_itself() {
            session.user_id
        } else {
            0
        };
        let (user_id, session_id) = match self.config.receipts {
            Receipts::None => return,
            Receipts::Single if kind == SessionType::Group => return,
            Receipts::Single | Receipts::All => (own, peer.session_id()),
            Receipts::Swapped => (data.from_user_id, data.to_session_id),
        };
        let receipt = ImMsgDataAck {
            user_id,
            session_id,
            msg_id: data.msg_id,
            session_type: i32::try_from(kind.to_wire()).unwrap_or_default(),
        };
        self.write(session, Command::MsgDataAck, None, &receipt.encode_to_vec());
    }

    /// Answers a read notice as the iOS client does.
    fn echo(&mut self, session: &mut Session, notify: ImMsgDataReadNotify) {
        if !self.config.echo_read_notices {
            return;
        }
        let ack = ImMsgDataReadAck {
            user_id: 0,
            session_id: notify.session_id,
            msg_id: notify.msg_id,
            session_type: notify.session_type,
        };
        self.write(session, Command::MsgDataReadAck, None, &ack.encode_to_vec());
    }
}

/// Writes what is left and closes in order.
async fn farewell(stream: &mut TcpStream, out: &mut BytesMut) {
    let last = async {
        stream.write_all_buf(out).await?;
        stream.shutdown().await
    };
    if let Ok(Err(error)) = timeout(LAST_WORDS, last).await {
        tracing::debug!(%error, "close connection");
    }
}
