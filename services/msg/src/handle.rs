//! What a frame from a client does.
//!
//! Only what this role must know is decoded here; every other request travels to db-proxy as it is.
//! A frame that cannot be understood, or that a client has no business with, is ignored and counted;
//! the connection stays.

mod file;
mod login;
mod message;
mod presence;
mod query;
mod signal;

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use im_codec::{ClientCommand, Command, FrameRef, HEADER_LEN, Handler, TeamtalkMessage, encode};
use im_core::{TerminalClass, UserId};
use im_proto_teamtalk::login::ImKickUser;
use im_proto_teamtalk::message::ImClientTimeRsp;

pub(crate) use login::{login_done, refuse_no_db, refuse_no_route};
pub(crate) use message::session_type;
pub(crate) use presence::StatusJobs;

use crate::conn::{Conn, Phase, Session};
use crate::metrics::Refusal;
use crate::shared::Shared;

/// Works on one frame.
pub(crate) fn frame(
    shared: &Arc<Shared>,
    conn: &Arc<Conn>,
    command: ClientCommand,
    frame: FrameRef<'_>,
) {
    let ClientCommand::Request(request) = command else {
        shared.metrics.refused(Refusal::Command);
        return;
    };
    let seq = frame.header.seq;
    match request.handler() {
        Handler::Heartbeat => {
            conn.answer(shared, echo(&frame));
            return;
        }
        Handler::Login => {
            login::login(shared, conn, seq, frame.body);
            return;
        }
        _ => {}
    }
    let session = conn.session().filter(|_| conn.phase() == Phase::Online);
    let Some(session) = session else {
        shared.metrics.refused(Refusal::NotLoggedIn);
        return;
    };
    let request = Request {
        shared,
        conn,
        session,
        command: request,
        seq,
        body: frame.body,
    };
    match request.command.handler() {
        Handler::Logout => login::logout(&request),
        Handler::KickPc => login::kick_pc(&request),
        Handler::Time => {
            request.answer(
                Command::ClientTimeRsp,
                &ImClientTimeRsp {
                    server_time: im_core::time::unix_seconds(),
                },
            );
        }
        Handler::Store => message::store(&request),
        // Nothing to do for a message that arrived.
        Handler::Receipt => {}
        Handler::DeviceToken => {
            if session.class() == TerminalClass::Mobile {
                query::ask(&request);
            }
        }
        Handler::ReadAck | Handler::Query | Handler::Change => query::ask(&request),
        Handler::Presence => presence::ask(&request),
        Handler::Signal => signal::relay(&request),
        Handler::File => file::answer(&request),
        Handler::Dispatch
        | Handler::Login
        | Handler::Heartbeat
        | Handler::FileServer
        | Handler::Answer
        | Handler::Push
        | Handler::Internal => shared.metrics.refused(Refusal::Command),
    }
}

/// A request of a logged-in client.
struct Request<'a> {
    shared: &'a Arc<Shared>,
    conn: &'a Arc<Conn>,
    session: &'a Session,
    command: Command,
    seq: u16,
    body: &'a [u8],
}

impl Request<'_> {
    fn user(&self) -> u32 {
        self.session.user.get()
    }

    /// Checks and decodes the body; a bad one is counted and ignored.
    fn decode<M: TeamtalkMessage>(&self) -> Option<M> {
        match im_codec::decode_checked(Bytes::copy_from_slice(self.body)) {
            Ok(message) => Some(message),
            Err(_) => {
                self.shared.metrics.refused(Refusal::Malformed);
                None
            }
        }
    }

    /// Answers with the request's sequence number.
    fn answer<M: TeamtalkMessage>(&self, command: Command, message: &M) {
        self.conn
            .answer(self.shared, encode(command, self.seq, message));
    }
}

/// The very frame that was received.
fn echo(frame: &FrameRef<'_>) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER_LEN + frame.body.len());
    out.put_slice(&frame.header.to_bytes());
    out.put_slice(frame.body);
    out.freeze()
}

/// Tells a client that its session was ended.
pub(crate) fn kick_frame(user: UserId, reason: u32) -> Bytes {
    let kick = ImKickUser {
        user_id: user.get(),
        // Clients know two reasons.
        kick_reason: if reason == 2 { 2 } else { 1 },
    };
    encode(Command::KickUser, 0, &kick)
}
