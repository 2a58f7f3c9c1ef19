//! What a frame from a client does.
//!
//! Only what this role must know is decoded here; every other request travels to db-proxy as it is.
//! A frame that cannot be understood, or that a client has no business with, is ignored and counted;
//! the connection stays.

pub(crate) mod file;
mod login;
mod message;
pub(crate) mod presence;
mod query;
mod signal;

use std::cell::Cell;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use im_codec::{
    ClientCommand, Command, CommandName, FrameRef, HEADER_LEN, Handler, TeamtalkMessage, encode,
};
use im_core::TerminalClass;
use im_proto_teamtalk::message::ImClientTimeRsp;
use tracing::warn;

pub(crate) use login::{login_done, refuse_no_db, refuse_no_route};
pub(crate) use message::session_type;

use super::state::Gateway;
use crate::connection::{Conn, Phase, Session};
use crate::metrics::Refusal;
use crate::requests::Line;

/// Works on one frame.
pub(crate) fn frame(
    gateway: &Arc<Gateway>,
    conn: &Arc<Conn>,
    command: ClientCommand,
    frame: FrameRef<'_>,
) {
    let ClientCommand::Request(request) = command else {
        let mut line = Line::begin(CommandName(frame.header.command_id), user_of(conn));
        gateway.env.refuse(&mut line, Refusal::Command);
        if let ClientCommand::NotForClients(command) = command
            && command.handler() == Handler::Internal
            && gateway.foreign.is_due()
        {
            warn!(
                ?command,
                user = conn.session().map(|session| session.user.get()),
                address = %conn.remote(),
                "a client sent a command of servers, which has no effect"
            );
        }
        return;
    };
    let seq = frame.header.seq;
    let line = |request: Command| Line::begin(CommandName(request.id()), user_of(conn));
    match request.handler() {
        Handler::Heartbeat => {
            conn.answer(&gateway.output, echo(&frame));
            return;
        }
        Handler::Login => {
            login::login(gateway, conn, seq, frame.body, line(request));
            return;
        }
        _ => {}
    }
    let session = conn.session().filter(|_| conn.phase() == Phase::Online);
    let Some(session) = session else {
        gateway.env.refuse(&mut line(request), Refusal::NotLoggedIn);
        return;
    };
    // The connection was touched when this came.
    session.acted(conn.last());
    let request = Request {
        gateway,
        conn,
        session,
        command: request,
        seq,
        body: frame.body,
        line: Cell::new(match request.handler() {
            Handler::Receipt => Line::default(),
            _ => line(request),
        }),
    };
    match request.command.handler() {
        Handler::Logout => login::logout(&request),
        Handler::KickPc => login::kick_pc(&request),
        Handler::Time => {
            request.answer(
                Command::ClientTimeRsp,
                &ImClientTimeRsp {
                    server_time: im_core::time::UnixSeconds::now().get(),
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
        Handler::Query | Handler::Change => query::ask(&request),
        Handler::ReadAck => query::tell(&request),
        Handler::Presence => presence::ask(&request),
        Handler::Signal => signal::relay(&request),
        Handler::File => file::ask(&request),
        Handler::Dispatch
        | Handler::Login
        | Handler::Heartbeat
        | Handler::FileServer
        | Handler::Answer
        | Handler::Push
        | Handler::Internal => request.refuse(Refusal::Command),
    }
    // Of what waits for nobody; the rest has its line with it.
    request.line.take().done();
}

/// A request of a logged-in client.
struct Request<'a> {
    gateway: &'a Arc<Gateway>,
    conn: &'a Arc<Conn>,
    session: &'a Session,
    command: Command,
    seq: u16,
    body: &'a [u8],
    /// Until somebody takes it along.
    line: Cell<Line>,
}

impl Request<'_> {
    fn user(&self) -> u32 {
        self.session.user.get()
    }

    /// Counts it as refused.
    fn refuse(&self, reason: Refusal) {
        self.gateway.env.refuse(&mut self.line.take(), reason);
    }

    /// Checks and decodes the body; a bad one is counted and ignored.
    fn decode<M: TeamtalkMessage>(&self) -> Option<M> {
        match im_codec::decode_checked(Bytes::copy_from_slice(self.body)) {
            Ok(message) => Some(message),
            Err(_) => {
                self.refuse(Refusal::Malformed);
                None
            }
        }
    }

    /// Answers with the request's sequence number.
    fn answer<M: TeamtalkMessage>(&self, command: Command, message: &M) {
        self.conn
            .answer(&self.gateway.output, encode(command, self.seq, message));
    }
}

fn user_of(conn: &Conn) -> u32 {
    conn.session().map_or(0, |session| session.user.get())
}

/// The very frame that was received.
fn echo(frame: &FrameRef<'_>) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER_LEN + frame.body.len());
    out.put_slice(&frame.header.to_bytes());
    out.put_slice(frame.body);
    out.freeze()
}
