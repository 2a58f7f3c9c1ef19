//! What db-proxy answers.

use std::sync::Arc;

use bytes::Bytes;
use im_codec::{Command, Header, encode, encode_raw};
use im_core::SessionType;
use im_order::CommitSeq;
use im_proto_rpc::v1::{Answer, DbResults, SendDone, answer, db_result, send_done};
use im_proto_teamtalk::message::ImMsgDataAck;
use im_trace::{Hop, Step, hop, note};
use tracing::{debug, warn};

use crate::connection::{Appended, Conn};
use crate::gateway::calls::{Caller, InFlight, Sending};
use crate::gateway::handle;
use crate::gateway::inbox::Input;
use crate::gateway::state::Gateway;
use crate::metrics::Refusal;

/// Pieces of answers up to this length are copied, bytes.
const COPIED: usize = 128 << 10;

/// Works on a batch of results; each connection that got something is written once.
pub(super) async fn work(gateway: &Arc<Gateway>, batch: DbResults) {
    let mut touched: Vec<Arc<Conn>> = Vec::new();
    let mut inputs: Vec<Input> = Vec::new();
    let done = gateway.db.complete(batch.results);
    // The window may be open again.
    gateway.db.wake();
    let mut newest = CommitSeq::START;
    for (call, result) in done {
        match (call, result) {
            (InFlight::Send { mut sending, .. }, Some(db_result::Result::Send(result))) => {
                newest = newest.max(CommitSeq::from_wire(result.seq));
                stored(gateway, &mut sending, &result, &mut touched);
                gateway.db.release(&sending);
            }
            (InFlight::Other(mut caller @ Caller::Client { .. }), result) => {
                if let Caller::Client {
                    conn,
                    seq,
                    parts,
                    trace,
                    line,
                    ..
                } = &mut caller
                    && let Some(conn) = conn.upgrade()
                    && let Some(db_result::Result::Answer(answer)) = result
                {
                    if answer.outcome() == answer::Outcome::Answered {
                        line.done();
                    }
                    parts.push(answer);
                    answered(gateway, &conn, *seq, parts, &mut touched);
                    let command = parts.first().map_or(0, |first| first.command);
                    hop!(root: trace, "request", user = conn.session().map_or(0, |session| session.user.get()), command);
                }
                gateway.db.done(&caller);
            }
            (InFlight::Other(Caller::Login(attempt)), Some(db_result::Result::Login(login))) => {
                handle::login_done(gateway, attempt, login);
            }
            (InFlight::Other(Caller::Login(mut attempt)), _) => {
                if let Some(conn) = attempt.conn.upgrade() {
                    handle::refuse_no_db(gateway, &conn, &mut attempt);
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
            (InFlight::Other(mut caller @ Caller::Told { .. }), result) => {
                if let (Caller::Told { line, .. }, Some(_)) = (&mut caller, result) {
                    line.done();
                }
                gateway.db.done(&caller);
            }
            (InFlight::Other(Caller::File { link, task }), Some(db_result::Result::Noted(_))) => {
                handle::file::noted(gateway, link, task);
            }
            // The second: a db-proxy of before, which notes no files.
            (InFlight::Other(Caller::Nobody | Caller::File { .. }), _) => {}
            // Nobody waits once the link is over.
            (InFlight::Other(Caller::Sessions(done)), _) => {
                done.send(()).ok();
            }
            (InFlight::Send { mut sending, .. }, _) => {
                warn!("a message was answered with something else");
                gateway.env.refuse(&mut sending.line, Refusal::StoreFailed);
                gateway.db.release(&sending);
            }
        }
    }
    for conn in &touched {
        conn.flush(&gateway.output);
    }
    if newest > CommitSeq::START {
        gateway.inbox.stored(newest);
    }
    for input in inputs {
        gateway.inbox.send(input).await;
    }
}

/// Acknowledges a message that is stored; keeps silent about one that is not.
fn stored(
    gateway: &Gateway,
    sending: &mut Sending,
    result: &SendDone,
    touched: &mut Vec<Arc<Conn>>,
) {
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
            sending.line.done();
            if result.wait_ms > 0 {
                let now = gateway.env.now();
                gateway.meters.hold(send.from, result.wait_ms, now);
            }
            if let Some(conn) = sending.conn.upgrade() {
                let frame = encode(Command::MsgDataAck, sending.seq, &ack);
                touch(gateway, &conn, frame, touched);
            }
            let acknowledged = Hop {
                position: result.seq,
                user: send.from,
                session: send.origin,
                ..Hop::of(Step::Acknowledged)
            };
            note(sending.trace.to_wire(), acknowledged);
            hop!(
                root: sending.trace,
                "message",
                user = send.from,
                to = send.to,
                msg_id = result.msg_id,
                seq = result.seq
            );
        }
        send_done::Outcome::Refused => {
            gateway.env.refuse(&mut sending.line, Refusal::StoreRefused);
            debug!(
                from = send.from,
                to = send.to,
                msg_type = send.msg_type,
                "message refused"
            );
        }
        send_done::Outcome::Failed => {
            gateway.env.refuse(&mut sending.line, Refusal::StoreFailed);
            warn!(
                from = send.from,
                to = send.to,
                "message could not be stored"
            );
        }
    }
}

/// Appends the frames of an answer, which may have come in parts.
fn answered(
    gateway: &Gateway,
    conn: &Arc<Conn>,
    seq: u16,
    parts: &[Answer],
    touched: &mut Vec<Arc<Conn>>,
) {
    let Some(first) = parts.first() else { return };
    if first.outcome() != answer::Outcome::Answered {
        return;
    }
    let command = u16::try_from(first.command).ok().and_then(Command::from_id);
    let Some(command) = command else {
        warn!(
            command = first.command,
            "db-proxy answered with an unknown command"
        );
        return;
    };
    let bytes = |part: &Answer| part.body.len() + part.more.iter().map(Bytes::len).sum::<usize>();
    gateway.count_answer(conn, parts.iter().map(bytes).sum());
    if let [whole] = parts
        && whole.more.is_empty()
        && whole.body.len() <= COPIED
    {
        touch(
            gateway,
            conn,
            encode_raw(command, seq, &whole.body),
            touched,
        );
        return;
    }
    let mut pieces = Vec::new();
    for body in bodies(parts) {
        let length = body.iter().map(Bytes::len).sum();
        let header = Header::new(command, seq, length).to_bytes();
        pieces.push(Bytes::copy_from_slice(&header));
        pieces.extend(body);
    }
    if conn.answer_in_pieces(&gateway.output, pieces) == Appended::First {
        touched.push(Arc::clone(conn));
    }
}

/// The bodies of an answer, each in the pieces in which it came. A short piece is copied: it would hold
/// the memory of all that came with it.
fn bodies(parts: &[Answer]) -> Vec<Vec<Bytes>> {
    let kept = |piece: &Bytes| match piece.len() {
        0 => None,
        1..=COPIED => Some(Bytes::copy_from_slice(piece)),
        _ => Some(piece.clone()),
    };
    let mut bodies = vec![Vec::new()];
    for part in parts {
        if let Some(last) = bodies.last_mut() {
            last.extend(kept(&part.body));
        }
        let more = part.more.iter().map(kept);
        bodies.extend(more.map(Vec::from_iter));
    }
    bodies
}

/// Appends an answer; the connection is flushed with the batch.
fn touch(gateway: &Gateway, conn: &Arc<Conn>, frame: Bytes, touched: &mut Vec<Arc<Conn>>) {
    if conn.answer(&gateway.output, frame) == Appended::First {
        touched.push(Arc::clone(conn));
    }
}
