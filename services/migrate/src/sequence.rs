//! Which id each message gets in its conversation.
//!
//! Where the ids of the original are dense from 1 and unique they stay, and a message waits for those with lower ids,
//! which another worker of the original may have stored a moment later. Elsewhere messages are numbered as they come, and so they are
//! from where a conversation turns out not to be dense after all.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::judge::Message;

/// Most bytes of messages that wait: beyond it the conversation with the newest of them is numbered anew.
pub const HELD_BYTES: usize = 16 << 20;

/// A message that has its id.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub(crate) id: u32,
    pub(crate) message: Message,
}

/// Messages that wait, and which conversations are numbered anew.
#[derive(Debug, Default)]
pub(crate) struct Sequencer {
    /// By the numbers of conversations.
    renumbered: HashSet<u64>,
    held: HashMap<u64, BTreeMap<u32, Message>>,
    held_bytes: usize,
    /// Those that turned out not to be dense, since they were asked for last.
    turned: Vec<u64>,
}

impl Sequencer {
    pub(crate) fn new(renumbered: HashSet<u64>) -> Self {
        Self {
            renumbered,
            ..Self::default()
        }
    }

    /// Whether the ids of a conversation are given anew.
    pub(crate) fn is_renumbered(&self, conversation: u64) -> bool {
        self.renumbered.contains(&conversation)
    }

    /// Takes a message of a conversation whose newest id is `last`; those that have their ids now go to `out`.
    pub(crate) fn take(&mut self, message: Message, last: &mut u32, out: &mut Vec<Numbered>) {
        let conversation = message.conversation;
        if self.is_renumbered(conversation) {
            push(message, last, out);
            return;
        }
        let held = self.held.entry(conversation).or_default();
        if message.msg_id == last.saturating_add(1) {
            push(message, last, out);
            while let Some(next) = held.remove(&last.saturating_add(1)) {
                self.held_bytes -= next.size();
                push(next, last, out);
            }
            if held.is_empty() {
                self.held.remove(&conversation);
            }
            return;
        }
        let waits = message.msg_id > *last && !held.contains_key(&message.msg_id);
        if waits && self.held_bytes + message.size() <= HELD_BYTES {
            self.held_bytes += message.size();
            held.insert(message.msg_id, message);
            return;
        }
        self.turn(conversation, last, out);
        push(message, last, out);
    }

    /// From here on the ids of a conversation are given anew, to those that wait in it first.
    pub(crate) fn turn(&mut self, conversation: u64, last: &mut u32, out: &mut Vec<Numbered>) {
        if self.renumbered.insert(conversation) {
            self.turned.push(conversation);
        }
        for message in self
            .held
            .remove(&conversation)
            .unwrap_or_default()
            .into_values()
        {
            self.held_bytes -= message.size();
            push(message, last, out);
        }
    }

    /// Conversations in which something waits.
    pub(crate) fn waiting(&self) -> Vec<u64> {
        let mut waiting: Vec<u64> = self.held.keys().copied().collect();
        waiting.sort_unstable();
        waiting
    }

    /// The messages that wait.
    pub(crate) fn held(&self) -> impl Iterator<Item = &Message> {
        self.held.values().flat_map(BTreeMap::values)
    }

    /// Conversations that turned out not to be dense since this was called last.
    pub(crate) fn turned(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.turned)
    }
}

fn push(message: Message, last: &mut u32, out: &mut Vec<Numbered>) {
    *last = last.saturating_add(1);
    out.push(Numbered { id: *last, message });
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(conversation: u64, msg_id: u32, body: usize) -> Message {
        Message {
            shard: 0,
            key: 1,
            conversation,
            msg_id,
            sender: 1,
            msg_type: 1,
            time: 1,
            body: Bytes::from(vec![0; body]),
        }
    }

    /// The ids of the original in the order in which ids are given, from 1.
    fn numbered(sequencer: &mut Sequencer, last: &mut u32, ids: &[u32]) -> Vec<u32> {
        let mut out = Vec::new();
        for id in ids {
            sequencer.take(message(7, *id, 10), last, &mut out);
        }
        let given: Vec<u32> = out.iter().map(|one| one.id).collect();
        assert!(
            given.windows(2).all(|two| two[1] == two[0] + 1),
            "{given:?}"
        );
        out.iter().map(|one| one.message.msg_id).collect()
    }

    #[test]
    fn dense_ids_stay_though_they_come_in_another_order() {
        let (mut sequencer, mut last) = (Sequencer::default(), 0);
        assert_eq!(
            numbered(&mut sequencer, &mut last, &[1, 3, 4, 2]),
            [1, 2, 3, 4]
        );
        assert_eq!(numbered(&mut sequencer, &mut last, &[7, 6]), [0_u32; 0]);
        assert_eq!(
            (sequencer.waiting(), sequencer.held().count()),
            (vec![7], 2)
        );
        assert_eq!(numbered(&mut sequencer, &mut last, &[5]), [5, 6, 7]);
        assert!(sequencer.waiting().is_empty() && sequencer.turned().is_empty());
        assert_eq!((last, sequencer.held_bytes), (7, 0));
    }

    #[test]
    fn others_are_numbered_as_they_come() {
        let (mut sequencer, mut last) = (Sequencer::new(HashSet::from([7])), 0);
        let ids = [1, 5, 5, u32::MAX, 2];
        assert_eq!(numbered(&mut sequencer, &mut last, &ids), ids);
        assert!(sequencer.turned().is_empty());
    }

    #[test]
    fn a_conversation_that_is_not_dense_after_all_is_numbered_anew_from_there() {
        let (mut sequencer, mut last) = (Sequencer::default(), 0);
        assert_eq!(
            numbered(&mut sequencer, &mut last, &[1, 4, 3, 1, 9]),
            [1, 3, 4, 1, 9]
        );
        assert_eq!(sequencer.turned(), [7]);
        assert!(sequencer.turned().is_empty() && sequencer.is_renumbered(7));
        assert_eq!((last, sequencer.held_bytes), (5, 0));
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut sequencer, mut last) = (Sequencer::default(), 0);
        let mut out = Vec::new();
        let half = HELD_BYTES / 2;
        sequencer.take(message(7, 2, half - 1_000), &mut last, &mut out);
        sequencer.take(message(8, 2, half - 1_000), &mut last, &mut out);
        assert!(out.is_empty());
        sequencer.take(message(8, 3, 2_000), &mut last, &mut out);
        let given: Vec<u32> = out.iter().map(|one| one.message.msg_id).collect();
        assert_eq!((given, sequencer.turned()), (vec![2, 3], vec![8]));
        assert_eq!(sequencer.waiting(), [7]);
    }
}
