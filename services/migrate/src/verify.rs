//! Comparing the original with the store, by conversation.
//!
//! Both are read in the order of time, at the same pace, and of each conversation is kept by how many messages and by what sum
//! of their hashes the one is ahead of the other; nothing once both are the same. So memory holds what is different, or
//! under way, and the order of messages within a conversation is seen by their ids. Where ids were given
//! anew they are no part of the hash.

use std::collections::{BTreeMap, HashMap, HashSet};

use im_order::CommitSeq;
use im_store::{OpenStore, ReadLimit};

use crate::import::{most, renumbered};
use crate::judge::{Judge, Known, name_of, number_of};
use crate::messages::{Item, Reader};
use crate::oddities::Oddities;
use crate::progress::{self, Saved, TURNED};
use crate::report::{Difference, Progress, Stage, Verification};
use crate::source::Source;
use crate::{ImportOptions, MigrateError};

/// Conversations of which one side may be ahead.
const MOST: usize = 1_000_000;
/// Differences that are told.
const EXAMPLES: usize = 10;
/// Messages that are read of the store at once.
const PAGE: ReadLimit = ReadLimit {
    rows: 5_000,
    bytes: 16 << 20,
};

/// By how much the original is ahead of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ahead {
    messages: i64,
    hashes: u128,
}

/// What both sides have said so far.
#[derive(Debug, Default)]
struct Balance {
    ahead: HashMap<u64, Ahead>,
    renumbered: HashSet<u64>,
}

/// A message as both sides have it.
struct Seen<'m> {
    conversation: u64,
    id: u32,
    sender: u32,
    msg_type: u32,
    time: u32,
    body: &'m [u8],
}

impl Balance {
    fn original(&mut self, seen: &Seen<'_>) {
        let hash = self.hash(seen);
        self.add(seen.conversation, 1, hash);
    }

    fn store(&mut self, seen: &Seen<'_>) {
        let hash = self.hash(seen);
        self.add(seen.conversation, -1, hash.wrapping_neg());
    }

    fn add(&mut self, conversation: u64, messages: i64, hash: u128) {
        let ahead = self.ahead.entry(conversation).or_default();
        ahead.messages += messages;
        ahead.hashes = ahead.hashes.wrapping_add(hash);
        if *ahead == Ahead::default() {
            self.ahead.remove(&conversation);
        }
    }

    fn hash(&self, seen: &Seen<'_>) -> u128 {
        let id = if self.renumbered.contains(&seen.conversation) {
            0
        } else {
            seen.id
        };
        let mut hasher = blake3::Hasher::new();
        for number in [id, seen.sender, seen.msg_type, seen.time] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(seen.body);
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        u128::from_le_bytes(bytes)
    }
}

/// Compares what was saved.
pub(crate) async fn run(
    mut source: Source,
    store: &dyn OpenStore,
    saved: &Saved,
    known: Known,
    options: &ImportOptions,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> Result<Verification, MigrateError> {
    let through: Vec<u32> = saved.tables.iter().map(|table| table.from).collect();
    let (_, turned) = progress::read(&store.transfer_states(TURNED).await?)?;
    let mut balance = Balance {
        renumbered: renumbered(&mut source, &through, &mut Oddities::default()).await?,
        ..Balance::default()
    };
    balance.renumbered.extend(turned);
    let most = most(&[], &through);
    let judge = Judge {
        known,
        ..Judge::default()
    };
    let mut reader = Reader::new(source, judge, &[], through, options);
    let mut found = Verification {
        whole: true,
        ..Verification::default()
    };
    let (mut after, mut done) = (CommitSeq::START, 0);
    loop {
        let (chunk, page) = tokio::join!(reader.chunk(options.rows), store.read_log(after, PAGE));
        let (chunk, page) = (chunk?, page?);
        done += chunk.rows;
        for item in &chunk.items {
            let Item::Message(message) = item else {
                continue;
            };
            found.messages += 1;
            balance.original(&Seen {
                conversation: message.conversation,
                id: message.msg_id,
                sender: message.sender,
                msg_type: message.msg_type,
                time: message.time,
                body: &message.body,
            });
        }
        for entry in &page {
            let message = &entry.message;
            after = message.seq;
            // What came behind the import is nothing to compare.
            if message.seq.to_wire() > saved.end {
                continue;
            }
            balance.store(&Seen {
                conversation: number_of(entry.conversation),
                id: message.msg_id.get(),
                sender: message.sender.get(),
                msg_type: message.msg_type,
                time: message.time.get(),
                body: &message.body,
            });
        }
        let stage = Stage::Comparing;
        tell(Progress { stage, done, most });
        if chunk.rows == 0 && page.is_empty() {
            break;
        }
        if balance.ahead.len() > MOST {
            found.whole = false;
            break;
        }
    }
    let different: BTreeMap<u64, Ahead> = balance.ahead.into_iter().collect();
    found.different = u64::try_from(different.len()).unwrap_or(u64::MAX);
    let examples = different.into_iter().take(EXAMPLES);
    let examples = examples.map(|(conversation, ahead)| Difference {
        conversation: name_of(conversation),
        more: ahead.messages,
    });
    found.examples = examples.collect();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(conversation: u64, id: u32, body: &[u8]) -> Seen<'_> {
        Seen {
            conversation,
            id,
            sender: 1,
            msg_type: 1,
            time: 5,
            body,
        }
    }

    #[test]
    fn what_is_the_same_leaves_nothing_and_what_is_not_stays() {
        let mut balance = Balance {
            renumbered: HashSet::from([8]),
            ..Balance::default()
        };
        for (id, body) in [(1, b"a"), (2, b"b")] {
            balance.original(&seen(7, id, body));
            balance.original(&seen(8, id + 4, body));
        }
        for (id, body) in [(2, b"b"), (1, b"a")] {
            balance.store(&seen(7, id, body));
            balance.store(&seen(8, id, body));
        }
        assert!(balance.ahead.is_empty(), "{balance:?}");
        // The same texts under each other's ids, another text, one too many.
        balance.original(&seen(7, 1, b"a"));
        balance.original(&seen(7, 2, b"b"));
        balance.store(&seen(7, 1, b"b"));
        balance.store(&seen(7, 2, b"a"));
        balance.original(&seen(8, 1, b"a"));
        balance.store(&seen(8, 1, b"b"));
        balance.store(&seen(9, 1, b"b"));
        let messages = |of| balance.ahead.get(&of).map(|ahead| ahead.messages);
        assert_eq!(
            [messages(7), messages(8), messages(9)],
            [Some(0), Some(0), Some(-1)]
        );
    }
}
