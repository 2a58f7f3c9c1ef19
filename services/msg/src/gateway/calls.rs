//! Calls to db-proxy: what waits, what is in flight, and how batches are made.
//!
//! Messages go through a window of a few batches, so that the batches grow with the load; other
//! calls are never held up by it. A message in flight on a link that is lost goes to the head of the
//! queue again if db-proxy would recognise it as a repetition; the others are given up, since nobody
//! can say whether they are stored.
//!
//! *Invariant*: messages of one connection reach db-proxy in the order in which they were received.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use im_core::{ClientType, CommitSeq};
use im_proto_rpc::v1::db_result::Result as Outcome;
use im_proto_rpc::v1::{
    DbCall, DbCalls, DbResult, LoginCall, Query, ReadLog, Related, Send, db_call::Call,
};
use tokio::sync::Notify;

use crate::connection::Conn;
use crate::ids::NumberMap;

/// A message that is to be stored.
pub(crate) struct Sending {
    pub(crate) conn: Arc<Conn>,
    pub(crate) send: Send,
    /// Sequence number of the frame.
    pub(crate) seq: u16,
    /// What it counts for on its connection.
    pub(crate) bytes: u32,
    /// Server milliseconds when it was received.
    pub(crate) since: u32,
}

/// A login that db-proxy is asked about.
pub(crate) struct LoginAttempt {
    pub(crate) conn: Arc<Conn>,
    pub(crate) seq: u16,
    pub(crate) status: u8,
    pub(crate) client: ClientType,
    pub(crate) version: Arc<str>,
}

/// Whose call it was.
pub(crate) enum Caller {
    /// A request of a client, answered with its sequence number.
    Client { conn: Arc<Conn>, seq: u16 },
    /// A login.
    Login(LoginAttempt),
    /// Nobody waits for the answer.
    Nobody,
    /// The delivery task reads the log.
    Log,
    /// The delivery task asks who is related.
    Related,
}

pub(super) enum InFlight {
    Send { sending: Sending, batch: u64 },
    Other(Caller),
}

#[derive(Default)]
struct State {
    sends: VecDeque<Sending>,
    sends_bytes: u64,
    others: VecDeque<(Call, Caller)>,
    in_flight: NumberMap<u64, InFlight>,
    /// Batches with messages that are not answered: number and messages left.
    window: VecDeque<(u64, usize)>,
    last_tag: u64,
    last_batch: u64,
}

/// All calls to db-proxy.
#[derive(Default)]
pub(crate) struct Calls {
    state: Mutex<State>,
    wake: Notify,
    is_up: AtomicBool,
    /// Bytes of messages queued or in flight.
    pending_bytes: AtomicU64,
}

/// Bounds of a batch.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    pub(super) window: usize,
}

impl Calls {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a link, or none.
    pub(super) fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::Release);
    }

    /// Waits until there may be something to send.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Lets the sending task look again.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Whether there is a link.
    pub(crate) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Acquire)
    }

    /// Bytes of messages that wait to be stored.
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.pending_bytes.load(Ordering::Relaxed)
    }

    /// Queued messages, and calls in flight.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        let state = self.state();
        (state.sends.len(), state.in_flight.len())
    }

    /// Queues a message.
    pub(crate) fn send(&self, sending: Sending) {
        self.pending_bytes
            .fetch_add(u64::from(sending.bytes), Ordering::Relaxed);
        sending.conn.message_sent(sending.bytes);
        let mut state = self.state();
        state.sends_bytes += u64::from(sending.bytes);
        state.sends.push_back(sending);
        drop(state);
        self.wake.notify_one();
    }

    /// Asks on behalf of a client. The caller has checked that there is a link; one that is lost now
    /// leaves the question unanswered.
    pub(crate) fn query(&self, query: Query, caller: Caller) {
        if let Caller::Client { conn, .. } = &caller {
            conn.query_sent();
        }
        self.other(Call::Query(query), caller);
    }

    /// Checks an account.
    pub(crate) fn login(&self, call: LoginCall, attempt: LoginAttempt) {
        self.other(Call::Login(call), Caller::Login(attempt));
    }

    /// Reads a page of the log.
    pub(crate) fn read_log(&self, after: CommitSeq, limit: u32) {
        let after = after.0;
        self.other(Call::ReadLog(ReadLog { after, limit }), Caller::Log);
    }

    /// Asks who is related to these users.
    pub(crate) fn related(&self, users: Vec<u32>) {
        self.other(Call::Related(Related { users }), Caller::Related);
    }

    fn other(&self, call: Call, caller: Caller) {
        self.state().others.push_back((call, caller));
        self.wake.notify_one();
    }

    /// The next batch, or nothing while there is nothing to send (or the window is closed).
    pub(super) fn take_batch(&self, bounds: Bounds) -> Option<DbCalls> {
        let mut state = self.state();
        let state = &mut *state;
        let mut calls = Vec::new();
        if state.window.len() < bounds.window && !state.sends.is_empty() {
            state.last_batch += 1;
            let batch = state.last_batch;
            let mut bytes = 0;
            while let Some(next) = state.sends.front() {
                bytes += next.bytes as usize;
                if calls.len() >= bounds.messages || (bytes > bounds.bytes && !calls.is_empty()) {
                    break;
                }
                let Some(sending) = state.sends.pop_front() else {
                    break;
                };
                state.sends_bytes -= u64::from(sending.bytes);
                state.last_tag += 1;
                let tag = state.last_tag;
                calls.push(DbCall {
                    tag,
                    call: Some(Call::Send(sending.send.clone())),
                });
                state
                    .in_flight
                    .insert(tag, InFlight::Send { sending, batch });
            }
            state.window.push_back((batch, calls.len()));
        }
        let n_others = state.others.len().min(bounds.messages);
        for (call, caller) in state.others.drain(..n_others) {
            state.last_tag += 1;
            let tag = state.last_tag;
            calls.push(DbCall {
                tag,
                call: Some(call),
            });
            state.in_flight.insert(tag, InFlight::Other(caller));
        }
        (!calls.is_empty()).then_some(DbCalls { calls })
    }

    /// Takes the calls that results belong to.
    pub(super) fn complete(&self, results: Vec<DbResult>) -> Vec<(InFlight, Option<Outcome>)> {
        let mut state = self.state();
        let calls = results.into_iter().filter_map(|result| {
            let call = Self::take(&mut state, result.tag)?;
            Some((call, result.result))
        });
        calls.collect()
    }

    fn take(state: &mut State, tag: u64) -> Option<InFlight> {
        let done = state.in_flight.remove(&tag)?;
        if let InFlight::Send { batch, .. } = &done
            && let Some(entry) = state.window.iter_mut().find(|(number, _)| number == batch)
        {
            entry.1 -= 1;
            if entry.1 == 0 {
                state.window.retain(|(_, left)| *left != 0);
            }
        }
        Some(done)
    }

    /// A message is done with, stored or not.
    pub(super) fn release(&self, sending: &Sending) {
        self.pending_bytes
            .fetch_sub(u64::from(sending.bytes), Ordering::Relaxed);
        sending.conn.message_done(sending.bytes);
    }

    /// The link is gone: messages that may be sent again go to the head of the queue, in order. The
    /// rest is returned.
    pub(super) fn link_lost(&self) -> (Vec<Sending>, Vec<Caller>) {
        let mut state = self.state();
        state.window.clear();
        let mut in_flight: Vec<(u64, InFlight)> =
            std::mem::take(&mut state.in_flight).into_iter().collect();
        in_flight.sort_unstable_by_key(|(tag, _)| *tag);
        let (mut again, mut lost, mut callers) = (Vec::new(), Vec::new(), Vec::new());
        for (_, call) in in_flight {
            match call {
                InFlight::Send { sending, .. } if may_repeat(&sending.send) => again.push(sending),
                InFlight::Send { sending, .. } => lost.push(sending),
                InFlight::Other(caller) => callers.push(caller),
            }
        }
        for sending in again.into_iter().rev() {
            state.sends_bytes += u64::from(sending.bytes);
            state.sends.push_front(sending);
        }
        callers.extend(
            std::mem::take(&mut state.others)
                .into_iter()
                .map(|(_, caller)| caller),
        );
        (lost, callers)
    }

    /// Messages that have waited since before `oldest` for a link, in order.
    pub(super) fn expired(&self, is_old: impl Fn(u32) -> bool) -> Vec<Sending> {
        let mut state = self.state();
        let n_old = state
            .sends
            .iter()
            .take_while(|sending| is_old(sending.since))
            .count();
        let expired: Vec<Sending> = state.sends.drain(..n_old).collect();
        let bytes: u64 = expired.iter().map(|sending| u64::from(sending.bytes)).sum();
        state.sends_bytes -= bytes;
        expired
    }
}

/// Whether db-proxy recognises this message when it comes twice.
fn may_repeat(send: &Send) -> bool {
    send.client_seq != 0 || !send.client_msg_id.is_empty()
}
