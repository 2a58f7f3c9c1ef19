//! What db-proxy answers.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use im_codec::{Command, append_raw, encode, encode_raw};
use im_core::{CommitSeq, SessionType};
use im_proto_rpc::v1::{Answer, DbResults, SendDone, answer, db_result, send_done};
use im_proto_teamtalk::message::ImMsgDataAck;
use tracing::{debug, warn};

use crate::connection::{Appended, Conn};
use crate::gateway::calls::{Caller, InFlight, Sending};
use crate::gateway::handle;
use crate::gateway::inbox::Input;
use crate::gateway::state::Gateway;
use crate::metrics::Refusal;

/// Works on a batch of results; each connection that got something is written once.
pub(super) async fn work(gateway: &Arc<Gateway>, batch: DbResults) {
    let mut touched: Vec<Arc<Conn>> = Vec::new();
    let mut inputs: Vec<Input> = Vec::new();
    let done = gateway.db.complete(batch.results);
    // The window may be open again.
    gateway.db.wake();
    let mut newest = 0;
    for (call, result) in done {
        match (call, result) {
            (InFlight::Send { sending, .. }, Some(db_result::Result::Send(result))) => {
                newest = newest.max(result.seq);
                stored(gateway, &sending, &result, &mut touched);
                gateway.db.release(&sending);
            }
            (InFlight::Other(caller @ Caller::Client { .. }), result) => {
                if let Caller::Client { conn, seq, .. } = &caller
                    && let Some(conn) = conn.upgrade()
                    && let Some(db_result::Result::Answer(answer)) = result
                {
                    answered(gateway, &conn, *seq, &answer, &mut touched);
                }
                gateway.db.done(&caller);
            }
            (InFlight::Other(Caller::Login(attempt)), Some(db_result::Result::Login(login))) => {
                handle::login_done(gateway, attempt, login);
            }
            (InFlight::Other(Caller::Login(attempt)), _) => {
                if let Some(conn) = attempt.conn.upgrade() {
                    handle::refuse_no_db(gateway, &conn, attempt.seq);
                }
            }
            (InFlight::Other(Caller::Log), Some(db_result::Result::Log(page))) => {
                inputs.push(Input::Page(page));
            }
            (InFlight::Other(Caller::Log), _) => inputs.push(Input::PageFailed),
            (InFlight::Other(Caller::CatchUp), result) => {
                let page = match result {
                    Some(db_result::Result::Log(page)) => Some(page),
                    _ => None,
                };
                inputs.push(Input::CatchUp(page));
            }
            (InFlight::Other(Caller::Related), Some(db_result::Result::Related(related))) => {
                inputs.push(Input::Related(related));
            }
            (InFlight::Other(Caller::Related), _) => inputs.push(Input::RelatedFailed),
            (InFlight::Other(Caller::Nobody), _) => {}
            (InFlight::Send { sending, .. }, _) => {
                warn!("a message was answered with something else");
                gateway.env.metrics.refused(Refusal::StoreFailed);
                gateway.db.release(&sending);
            }
        }
    }
    for conn in &touched {
        conn.flush(&gateway.output);
    }
    if newest != 0 {
        gateway.inbox.stored(CommitSeq(newest));
    }
    for input in inputs {
        gateway.inbox.send(input).await;
    }
}

/// Acknowledges a message that is stored; keeps silent about one that is not.
fn stored(gateway: &Gateway, sending: &Sending, result: &SendDone, touched: &mut Vec<Arc<Conn>>) {
    let send = &sending.send;
    match result.outcome() {
        send_done::Outcome::Stored | send_done::Outcome::Repeated => {
            let ack = ImMsgDataAck {
                user_id: send.from,
                session_id: send.to,
                msg_id: result.msg_id,
                session_type: handle::session_type(send.msg_type).unwrap_or(SessionType::Single)
                    as i32,
            };
            gateway.env.metrics.acks.inc();
            if result.wait_ms > 0 {
                let now = gateway.env.now();
                gateway.meters.hold(send.from, result.wait_ms, now);
            }
            if let Some(conn) = sending.conn.upgrade() {
                let frame = encode(Command::MsgDataAck, sending.seq, &ack);
                touch(gateway, &conn, frame, touched);
            }
        }
        send_done::Outcome::Refused => {
            gateway.env.metrics.refused(Refusal::StoreRefused);
            debug!(
                from = send.from,
                to = send.to,
                msg_type = send.msg_type,
                "message refused"
            );
        }
        send_done::Outcome::Failed => {
            gateway.env.metrics.refused(Refusal::StoreFailed);
            warn!(
                from = send.from,
                to = send.to,
                "message could not be stored"
            );
        }
    }
}

fn answered(
    gateway: &Gateway,
    conn: &Arc<Conn>,
    seq: u16,
    answer: &Answer,
    touched: &mut Vec<Arc<Conn>>,
) {
    if answer.outcome() != answer::Outcome::Answered {
        return;
    }
    let command = u16::try_from(answer.command)
        .ok()
        .and_then(Command::from_id);
    let Some(command) = command else {
        warn!(
            command = answer.command,
            "db-proxy answered with an unknown command"
        );
        return;
    };
    if answer.more.is_empty() {
        touch(
            gateway,
            conn,
            encode_raw(command, seq, &answer.body),
            touched,
        );
        return;
    }
    // A long list for Android: several frames, but one answer to the budget of the connection.
    let mut frames = BytesMut::new();
    for body in std::iter::once(&answer.body).chain(&answer.more) {
        append_raw(&mut frames, command, seq, body);
    }
    touch(gateway, conn, frames.freeze(), touched);
}

/// Appends an answer; the connection is flushed with the batch.
fn touch(gateway: &Gateway, conn: &Arc<Conn>, frame: Bytes, touched: &mut Vec<Arc<Conn>>) {
    if conn.answer(&gateway.output, frame) == Appended::First {
        touched.push(Arc::clone(conn));
    }
}
