//! Requests that wait for their answers on one connection.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use im_codec::Command;
use tokio::sync::oneshot;

use super::Reply;
use crate::error::Error;

/// Waiting requests by answer command and sequence number. The Windows client sends most of its
/// requests under number 0: answers to those come in the order of the requests.
#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: HashMap<(u16, u16), VecDeque<oneshot::Sender<Reply<Bytes>>>>,
    /// Waiting requests by number alone.
    seqs: HashMap<u16, usize>,
}

impl Pending {
    pub(super) fn insert(
        &mut self,
        answer: Command,
        seq: u16,
        reply: oneshot::Sender<Reply<Bytes>>,
    ) {
        self.waiting
            .entry((answer.id(), seq))
            .or_default()
            .push_back(reply);
        *self.seqs.entry(seq).or_default() += 1;
    }

    /// Whether a request with this number waits.
    pub(super) fn uses(&self, seq: u16) -> bool {
        self.seqs.contains_key(&seq)
    }

    /// Hands an answer over; `false` when nobody waits for it.
    pub(super) fn answer(&mut self, command: u16, seq: u16, body: &Bytes) -> bool {
        let Some(queue) = self.waiting.get_mut(&(command, seq)) else {
            return false;
        };
        let reply = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&(command, seq));
        }
        let Some(reply) = reply else {
            return false;
        };
        self.release(seq, 1);
        // The caller may have given up in this very moment; then the answer is for nobody.
        reply.send(Ok(body.clone())).is_ok()
    }

    /// Forgets requests whose callers gave up.
    pub(super) fn sweep(&mut self) {
        let mut gone = Vec::new();
        self.waiting.retain(|(_, seq), queue| {
            let before = queue.len();
            queue.retain(|reply| !reply.is_closed());
            gone.push((*seq, before - queue.len()));
            !queue.is_empty()
        });
        for (seq, count) in gone {
            self.release(seq, count);
        }
    }

    /// Tells everybody that the connection is lost.
    pub(super) fn fail_all(self) {
        for reply in self.waiting.into_values().flatten() {
            // A caller that gave up does not mind.
            drop(reply.send(Err(Error::Disconnected)));
        }
    }

    fn release(&mut self, seq: u16, count: usize) {
        if let Some(waiting) = self.seqs.get_mut(&seq) {
            *waiting = waiting.saturating_sub(count);
            if *waiting == 0 {
                self.seqs.remove(&seq);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_under_one_number_go_to_the_requests_in_their_order() {
        let mut pending = Pending::default();
        let (first, mut first_answer) = oneshot::channel();
        let (second, mut second_answer) = oneshot::channel();
        pending.insert(Command::AllUserRsp, 0, first);
        pending.insert(Command::AllUserRsp, 0, second);
        let answer = Bytes::from_static(b"1");
        assert!(!pending.answer(Command::DepartmentRsp.id(), 0, &answer));
        assert!(pending.answer(Command::AllUserRsp.id(), 0, &answer));
        assert!(first_answer.try_recv().is_ok());
        assert!(second_answer.try_recv().is_err());
        assert!(pending.uses(0));
        assert!(pending.answer(Command::AllUserRsp.id(), 0, &answer));
        assert!(!pending.uses(0));
    }

    #[test]
    fn a_caller_that_gave_up_frees_its_number() {
        let mut pending = Pending::default();
        let (reply, answer) = oneshot::channel();
        pending.insert(Command::AllUserRsp, 5, reply);
        drop(answer);
        pending.sweep();
        assert!(!pending.uses(5));
    }
}
