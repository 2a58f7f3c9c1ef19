//! Messages that were written and not yet acknowledged.
//!
//! Invariant: they stay in the order in which they were first sent, and a frame never changes, so
//! that a repetition is the identical frame in the original order.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Reply;
use crate::client::SendAck;
use crate::config::SendPolicy;
use crate::error::Error;

/// One of them.
#[derive(Debug)]
struct Unacked {
    seq: u16,
    frame: Bytes,
    sent: Instant,
    resends: u32,
    reply: oneshot::Sender<Reply<SendAck>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Outbox {
    policy: SendPolicy,
    unacked: VecDeque<Unacked>,
    /// Earliest time of the next message.
    free_at: Option<Instant>,
}

impl Outbox {
    pub(super) fn new(policy: SendPolicy) -> Self {
        Self {
            policy,
            unacked: VecDeque::new(),
            free_at: None,
        }
    }

    /// Whether another message may be sent now.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.unacked.len() < self.policy.window.max(1) && self.free_at.is_none_or(|at| at <= now)
    }

    /// Whether a message with this number waits for its ack.
    pub(super) fn uses(&self, seq: u16) -> bool {
        self.unacked.iter().any(|message| message.seq == seq)
    }

    /// Remembers a message that is being written.
    pub(super) fn push(
        &mut self,
        seq: u16,
        frame: Bytes,
        reply: oneshot::Sender<Reply<SendAck>>,
        now: Instant,
    ) {
        self.free_at = (!self.policy.pace.is_zero()).then(|| now + self.policy.pace);
        self.unacked.push_back(Unacked {
            seq,
            frame,
            sent: now,
            resends: 0,
            reply,
        });
    }

    /// Hands an ack over; `false` when it fits none.
    pub(super) fn acknowledge(&mut self, seq: u16, ack: SendAck) -> bool {
        let Some(at) = self.unacked.iter().position(|message| message.seq == seq) else {
            return false;
        };
        if let Some(message) = self.unacked.remove(at) {
            // A caller that gave up does not mind.
            drop(message.reply.send(Ok(ack)));
        }
        true
    }

    /// Writes everything unacknowledged again, after a reconnect.
    pub(super) fn replay(&mut self, out: &mut BytesMut, now: Instant) {
        self.forget_abandoned();
        for message in &mut self.unacked {
            message.sent = now;
            message.resends = 0;
            out.extend_from_slice(&message.frame);
        }
    }

    /// Writes again what waited too long, and gives up what was sent often enough; `true` when
    /// that means the failure of everything that waits behind.
    pub(super) fn expire(&mut self, out: &mut BytesMut, now: Instant) -> bool {
        let policy = self.policy;
        let due = |message: &Unacked| now >= message.sent + policy.ack_timeout;
        if !self.unacked.iter().any(due) {
            return false;
        }
        self.forget_abandoned();
        let mut failed = false;
        let mut kept = VecDeque::with_capacity(self.unacked.len());
        for mut message in self.unacked.drain(..) {
            if !due(&message) {
                kept.push_back(message);
            } else if message.resends < policy.resends {
                message.resends += 1;
                message.sent = now;
                out.extend_from_slice(&message.frame);
                kept.push_back(message);
            } else {
                failed = true;
                drop(message.reply.send(Err(Error::Unacknowledged)));
            }
        }
        self.unacked = kept;
        let together = failed && policy.fail_together;
        if together {
            self.fail_all();
        }
        together
    }

    /// When something has to happen.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let ack = self
            .unacked
            .iter()
            .map(|message| message.sent + self.policy.ack_timeout)
            .min();
        let pace = self.free_at.filter(|at| *at > now);
        ack.into_iter().chain(pace).min()
    }

    /// Tells every caller that the message was not acknowledged.
    pub(super) fn fail_all(&mut self) {
        for message in self.unacked.drain(..) {
            drop(message.reply.send(Err(Error::Unacknowledged)));
        }
    }

    /// Messages that nobody waits for are not sent again.
    fn forget_abandoned(&mut self) {
        self.unacked.retain(|message| !message.reply.is_closed());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{ClientConfig, Password};
    use crate::profile::Profile;

    fn policy(profile: Profile) -> SendPolicy {
        ClientConfig::new("x:1", "a", Password::wire(""))
            .with_profile(profile)
            .sending
    }

    #[test]
    fn windows_sends_the_identical_frame_once_more_and_then_fails_everything() {
        let mut outbox = Outbox::new(policy(Profile::Windows));
        let (reply, mut answer) = oneshot::channel();
        let frame = Bytes::from_static(b"frame");
        let start = Instant::now();
        outbox.push(7, frame, reply, start);
        assert!(!outbox.has_room(start + Duration::from_secs(1)));

        let mut out = BytesMut::new();
        assert!(!outbox.expire(&mut out, start + Duration::from_secs(6)));
        assert_eq!(out, b"frame"[..]);
        assert!(!outbox.expire(&mut out, start + Duration::from_secs(11)));
        assert_eq!(out, b"frame"[..]);
        assert!(outbox.expire(&mut out, start + Duration::from_secs(12)));
        assert_eq!(out, b"frame"[..]);
        assert!(matches!(answer.try_recv(), Ok(Err(Error::Unacknowledged))));
    }

    #[test]
    fn a_replay_keeps_order_and_leaves_out_what_nobody_waits_for() {
        let mut outbox = Outbox::new(policy(Profile::Own));
        let now = Instant::now();
        let mut callers = Vec::new();
        for (seq, text) in [(1, "a"), (2, "b"), (3, "c")] {
            let (reply, answer) = oneshot::channel();
            outbox.push(seq, Bytes::from_static(text.as_bytes()), reply, now);
            callers.push(answer);
        }
        drop(callers.remove(1));
        let mut out = BytesMut::new();
        outbox.replay(&mut out, now);
        assert_eq!(out, b"ac"[..]);
        assert!(!outbox.uses(2));
    }
}
