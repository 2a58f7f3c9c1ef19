//! Which session sent each of the newest messages.
//!
//! It is not in the store. A msg server that reads the log instead of receiving it live must not give
//! a session its own message back; this covers what it reads shortly after. Beyond it, the msg server
//! knows by the results of its own sends.

use std::collections::VecDeque;

use im_order::CommitSeq;

use crate::publication::Outgoing;

/// Messages that are covered: half a MiB.
const COVERED: usize = 65_536;

/// Origins of the newest messages, dense by position.
#[derive(Debug, Default)]
pub(super) struct Origins {
    /// Position of the first entry.
    first: CommitSeq,
    epochs: VecDeque<u64>,
}

impl Origins {
    /// Adds messages in log order.
    pub(super) fn add(&mut self, messages: &[Outgoing]) {
        for Outgoing { message, .. } in messages {
            let seq = CommitSeq::from_wire(message.seq);
            if self.first.plus(self.epochs.len() as u64) != seq {
                // Something was committed that was not seen here.
                self.epochs.clear();
                self.first = seq;
            }
            if self.epochs.len() == COVERED {
                self.epochs.pop_front();
                self.first = self.first.next();
            }
            self.epochs.push_back(message.origin);
        }
    }

    /// Epoch of the session that sent a message; 0 when it is not known.
    pub(super) fn of(&self, seq: CommitSeq) -> u64 {
        if seq < self.first {
            return 0;
        }
        let index = usize::try_from(seq.messages_since(self.first)).ok();
        index
            .and_then(|index| self.epochs.get(index))
            .copied()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use im_core::UserId;
    use im_proto_rpc::v1;

    use super::*;
    use crate::publication::Recipients;

    fn sent(seq: u64) -> Outgoing {
        let user = UserId::from_wire(1).unwrap();
        let message = v1::LiveMessage {
            seq,
            origin: seq * 10,
            ..Default::default()
        };
        Outgoing {
            message,
            recipients: Recipients::Pair(user, user),
        }
    }

    #[test]
    fn the_newest_messages_are_covered_and_a_gap_starts_anew() {
        let mut origins = Origins::default();
        origins.add(&[sent(5), sent(6)]);
        assert_eq!(
            [4, 5, 6, 7].map(|seq| origins.of(CommitSeq::from_wire(seq))),
            [0, 50, 60, 0]
        );
        let many: Vec<_> = (7..7 + COVERED as u64).map(sent).collect();
        origins.add(&many);
        assert_eq!(origins.of(CommitSeq::from_wire(6)), 0);
        assert_eq!(origins.of(CommitSeq::from_wire(7)), 70);
        origins.add(&[sent(1_000_000)]);
        assert_eq!(
            (
                origins.of(CommitSeq::from_wire(7)),
                origins.of(CommitSeq::from_wire(1_000_000))
            ),
            (0, 10_000_000)
        );
    }
}
