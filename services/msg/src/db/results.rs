//! What db-proxy answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use im_codec::{Command, append_raw, encode, encode_raw};
use im_core::SessionType;
use im_proto_rpc::v1::{Answer, DbResults, SendDone, answer, db_result, send_done};
use im_proto_teamtalk::message::ImMsgDataAck;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::{Caller, InFlight, Sending};
use crate::conn::{Appended, Conn};
use crate::delivery::Input;
use crate::handle;
use crate::metrics::Refusal;
use crate::shared::Shared;

impl Shared {
    /// Works on a batch of results; each connection that got something is written once.
    pub(super) async fn results(
        self: &Arc<Self>,
        batch: DbResults,
        delivery: &mpsc::Sender<Input>,
    ) {
        let mut touched: Vec<Arc<Conn>> = Vec::new();
        let mut inputs: Vec<Input> = Vec::new();
        let mut done = Vec::with_capacity(batch.results.len());
        {
            let mut state = self.db.state();
            for result in batch.results {
                if let Some(call) = super::Calls::complete(&mut state, result.tag) {
                    done.push((call, result.result));
                }
            }
        }
        // The window may be open again.
        self.db.wake.notify_one();
        let mut newest = 0;
        for (call, result) in done {
            match (call, result) {
                (InFlight::Send { sending, .. }, Some(db_result::Result::Send(result))) => {
                    newest = newest.max(result.seq);
                    self.stored(&sending, &result, &mut touched);
                    self.db.release(&sending);
                }
                (InFlight::Other(Caller::Client { conn, seq }), result) => {
                    if let Some(db_result::Result::Answer(answer)) = result {
                        self.answered(&conn, seq, &answer, &mut touched);
                    }
                    conn.query_done();
                }
                (
                    InFlight::Other(Caller::Login(attempt)),
                    Some(db_result::Result::Login(login)),
                ) => {
                    handle::login_done(self, attempt, login);
                }
                (InFlight::Other(Caller::Login(attempt)), _) => {
                    handle::refuse_no_db(self, &attempt.conn, attempt.seq);
                }
                (InFlight::Other(Caller::Log), Some(db_result::Result::Log(page))) => {
                    inputs.push(Input::Page(page));
                }
                (InFlight::Other(Caller::Log), _) => inputs.push(Input::PageFailed),
                (InFlight::Other(Caller::Related), Some(db_result::Result::Related(related))) => {
                    inputs.push(Input::Related(related));
                }
                (InFlight::Other(Caller::Related), _) => inputs.push(Input::RelatedFailed),
                (InFlight::Other(Caller::Nobody), _) => {}
                (InFlight::Send { sending, .. }, _) => {
                    warn!("a message was answered with something else");
                    self.metrics.refused(Refusal::StoreFailed);
                    self.db.release(&sending);
                }
            }
        }
        for conn in &touched {
            conn.flush(self);
        }
        if newest != 0 && self.pulling.load(Ordering::Acquire) {
            self.stored.fetch_max(newest, Ordering::AcqRel);
            self.nudge.notify_one();
        }
        for input in inputs {
            drop(delivery.send(input).await);
        }
    }

    /// Acknowledges a message that is stored; keeps silent about one that is not.
    fn stored(&self, sending: &Sending, result: &SendDone, touched: &mut Vec<Arc<Conn>>) {
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
                self.metrics.acks.inc();
                self.touch(
                    &sending.conn,
                    encode(Command::MsgDataAck, sending.seq, &ack),
                    touched,
                );
            }
            send_done::Outcome::Refused => {
                self.metrics.refused(Refusal::StoreRefused);
                debug!(
                    from = send.from,
                    to = send.to,
                    msg_type = send.msg_type,
                    "message refused"
                );
            }
            send_done::Outcome::Failed => {
                self.metrics.refused(Refusal::StoreFailed);
                warn!(
                    from = send.from,
                    to = send.to,
                    "message could not be stored"
                );
            }
        }
    }

    fn answered(&self, conn: &Arc<Conn>, seq: u16, answer: &Answer, touched: &mut Vec<Arc<Conn>>) {
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
            self.touch(conn, encode_raw(command, seq, &answer.body), touched);
            return;
        }
        // A long list for Android: several frames, but one answer to the budget of the connection.
        let mut frames = BytesMut::new();
        for body in std::iter::once(&answer.body).chain(&answer.more) {
            append_raw(&mut frames, command, seq, body);
        }
        self.touch(conn, frames.freeze(), touched);
    }

    /// Appends an answer; the connection is flushed with the batch.
    fn touch(&self, conn: &Arc<Conn>, frame: Bytes, touched: &mut Vec<Arc<Conn>>) {
        if conn.answer(self, frame) == Appended::First {
            touched.push(Arc::clone(conn));
        }
    }
}
