//! Which events go into one request.
//!
//! Pure.

use im_codec::text::TextCipher;

use super::event::{self, Filter};
use super::tail::Entry;

/// What a request may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) events: usize,
    /// Bytes of the events; a single one may be larger.
    pub(super) bytes: usize,
}

/// What is bounded already: a delivery that was opened, by the part of the log that it is about.
pub(super) const WHATEVER: Most = Most {
    events: usize::MAX,
    bytes: usize::MAX,
};

/// Events of a part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// The part begins behind this position
    pub(super) after: u64,
    /// and goes up to this one.
    pub(super) through: u64,
    events: Vec<String>,
    bytes: usize,
}

impl Batch {
    pub(super) const fn after(after: u64) -> Self {
        Self {
            after,
            through: after,
            events: Vec::new(),
            bytes: 0,
        }
    }

    /// Takes entries of a page that goes up to `through`, those that it has already left out, and none beyond
    /// `until`. Returns whether nothing more is to be taken.
    pub(super) fn take(
        &mut self,
        entries: &[Entry],
        through: u64,
        until: u64,
        most: Most,
        about: &Filter,
        cipher: Option<&TextCipher>,
    ) -> bool {
        for entry in entries.iter().filter(|it| it.seq() > self.after) {
            let seq = entry.seq();
            if seq <= self.through {
                continue;
            }
            if seq > until {
                self.through = until;
                return true;
            }
            let event = Some(entry).filter(|it| about.matches(it));
            if let Some(event) = event.and_then(|it| event::of(it, cipher)) {
                let bytes = self.bytes.saturating_add(event.len());
                if !self.events.is_empty() && bytes > most.bytes {
                    return true;
                }
                self.bytes = bytes;
                self.events.push(event);
            }
            self.through = seq;
            if self.events.len() >= most.events {
                return true;
            }
        }
        self.through = self.through.max(through.min(until));
        self.through >= until
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Events in it.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.events.len()).unwrap_or(u32::MAX)
    }

    /// The body of the request.
    pub(super) fn body(&self, subscription: u32, delivery: u64) -> String {
        let events = self.events.join(",");
        format!(
            "{{\"subscription\":{subscription},\"delivery\":\"{delivery}\",\"events\":[{events}]}}"
        )
    }
}

#[cfg(test)]
mod tests {
    use im_proto_rpc::v1::{Hook, LiveMessage};

    use super::*;

    fn live(seq: u64, from: u32) -> Entry {
        Entry::Message(LiveMessage {
            seq,
            from,
            to: 9,
            msg_type: 1,
            ..LiveMessage::default()
        })
    }

    fn page(seqs: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
        seqs.map(|seq| live(seq, if seq % 2 == 0 { 2 } else { 1 }))
            .collect()
    }

    /// About messages of sender 1, which are those at odd positions.
    fn odd() -> Filter {
        Filter::of(&Hook {
            kinds: vec!["message.stored".to_owned()],
            senders: vec![1],
            ..Hook::default()
        })
    }

    fn take(batch: &mut Batch, messages: &[Entry], through: u64, most: Most) -> bool {
        batch.take(messages, through, u64::MAX, most, &odd(), None)
    }

    const THREE: Most = Most {
        events: 3,
        bytes: usize::MAX,
    };

    #[test]
    fn a_batch_ends_at_its_events_and_the_next_begins_there() {
        let messages = page(1..=9);
        let mut batch = Batch::after(0);
        assert!(take(&mut batch, &messages, 9, THREE));
        assert_eq!((batch.len(), batch.through), (3, 5));
        let mut next = Batch::after(5);
        assert!(!take(&mut next, &messages, 9, THREE));
        assert_eq!((next.len(), next.through), (2, 9));
        assert!(take(&mut next, &page(10..=12), 12, THREE));
        assert_eq!((next.len(), next.through), (3, 11));
        assert!(take(&mut next, &page(10..=12), 12, THREE), "it stays full");
        assert_eq!(next.len(), 3);
    }

    #[test]
    fn a_batch_ends_at_its_bytes_but_has_one_event_at_least() {
        let messages = page(1..=9);
        let mut one = Batch::after(0);
        take(
            &mut one,
            &messages,
            9,
            Most {
                events: 1,
                bytes: 1,
            },
        );
        assert_eq!((one.len(), one.through), (1, 1));
        let bytes = |most: usize| {
            let mut batch = Batch::after(0);
            let most = Most {
                events: 9,
                bytes: most,
            };
            assert!(take(&mut batch, &messages, 9, most));
            (batch.len(), batch.through)
        };
        assert_eq!(bytes(one.bytes * 2), (2, 4));
        assert_eq!(bytes(one.bytes * 2 - 1), (1, 2));
    }

    #[test]
    fn what_a_subscription_is_not_about_moves_the_position_all_the_same() {
        let mut batch = Batch::after(4);
        assert!(!take(&mut batch, &[live(6, 2)], 8, THREE));
        assert!(batch.is_empty());
        assert_eq!(batch.through, 8);
    }

    /// What was opened is read again whole and no further, whatever has come since.
    #[test]
    fn the_same_part_of_the_log_makes_the_same_request() {
        let mut opened = Batch::after(2);
        take(&mut opened, &page(3..=5), 5, THREE);
        let mut again = Batch::after(2);
        let messages = page(1..=20);
        let until = opened.through;
        assert!(again.take(&messages, 20, until, WHATEVER, &odd(), None));
        assert_eq!(again, opened);
        assert_eq!(again.body(3, 17), opened.body(3, 17));
        let json: serde_json::Value = serde_json::from_str(&again.body(3, 17)).unwrap();
        assert_eq!(
            (&json["subscription"], &json["delivery"]),
            (&3.into(), &"17".into())
        );
        assert_eq!(json["events"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_part_without_messages_at_its_end_is_whole() {
        let mut batch = Batch::after(2);
        assert!(batch.take(&page(3..=5), 9, 7, WHATEVER, &odd(), None));
        assert_eq!((batch.len(), batch.through), (2, 7));
    }
}
