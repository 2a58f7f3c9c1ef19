use std::collections::HashSet;

use bytes::Bytes;
use im_core::{Epoch, FrameSource, Peer, RetryKey};
use im_store::GroupMember;
use im_trace::Trace;
use proptest::prelude::*;

use super::*;
use crate::writer::job::SendKey;

fn user(id: u32) -> UserId {
    UserId::from_wire(id).unwrap()
}

fn group(id: u32) -> GroupId {
    GroupId::from_wire(id).unwrap()
}

/// Users 1 to 5 exist; group 1 has the members 1 to 3, group 2 only 4.
const USERS: u32 = 5;

fn members(id: u32) -> Option<Vec<u32>> {
    match id {
        1 => Some(vec![1, 2, 3]),
        2 => Some(vec![4]),
        _ => None,
    }
}

/// What is stored, as a list; everything is found by searching it.
#[derive(Default)]
struct Model {
    log: Vec<Row>,
    rows: Vec<Conversation>,
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    conversation: Conversation,
    sender: UserId,
    key: Option<RetryKey>,
    kept: Kept,
    low_sent: u32,
}

impl Model {
    fn new() -> Self {
        let rows = vec![Conversation::Group(group(1)), Conversation::Group(group(2))];
        Self {
            log: Vec::new(),
            rows,
        }
    }

    fn of(&self, conversation: Conversation) -> impl DoubleEndedIterator<Item = &Row> {
        self.log
            .iter()
            .filter(move |row| row.conversation == conversation)
    }

    fn expect(&mut self, send: &Incoming, now: UnixSeconds) -> Decision {
        match send.receiver() {
            Receiver::User(to) if to.get() > USERS => {
                return Decision::Refused(RejectReason::UnknownReceiver);
            }
            Receiver::Group(to) => match members(to.get()) {
                None => return Decision::Refused(RejectReason::NoSuchGroup),
                Some(members) if !members.contains(&send.sender.get()) => {
                    return Decision::Refused(RejectReason::NotMember);
                }
                Some(_) => {}
            },
            Receiver::User(_) => {}
        }
        if let Some(key) = send.key {
            let same = self.log.iter().rev().find(|row| row.key == Some(key.key));
            if let Some(row) =
                same.filter(|row| now.seconds_since(row.kept.time) <= key.window_seconds)
            {
                return Decision::Repeated(row.kept);
            }
        }
        let last = self.of(send.conversation).next_back().cloned();
        let low = matches!(send.conversation, Conversation::Pair(low, _) if low == send.sender);
        let kept = Kept {
            msg_id: MsgId::from_wire(last.as_ref().map_or(0, |row| row.kept.msg_id.get()) + 1)
                .unwrap(),
            time: now,
            seq: CommitSeq::from_wire(self.log.len() as u64 + 1),
        };
        self.log.push(Row {
            conversation: send.conversation,
            sender: send.sender,
            key: send.key.map(|key| key.key),
            kept,
            low_sent: last.map_or(0, |row| row.low_sent) + u32::from(low),
        });
        if !self.rows.contains(&send.conversation) {
            self.rows.push(send.conversation);
        }
        Decision::Stored(kept)
    }

    /// What `load` does over a real store.
    fn load(&self, memory: &mut Memory, sends: &[Incoming]) {
        memory.end = CommitSeq::from_wire(self.log.len() as u64);
        memory.last_row = ConversationRow(i64::try_from(self.rows.len()).unwrap());
        for send in sends {
            let conversation = send.conversation;
            if let Receiver::Group(id) = send.receiver()
                && let Some(users) = members(id.get())
            {
                let member = |id| GroupMember {
                    user: user(id),
                    joined_id: 0,
                    shielded: false,
                };
                let members = Members::new(users.into_iter().map(member).collect());
                memory.groups.insert(id, Arc::new(members));
            }
            if memory.conversations.contains(&conversation) {
                continue;
            }
            let row = self.rows.iter().position(|known| *known == conversation);
            let known = match (row, send.receiver()) {
                (Some(index), _) => Known {
                    row: Some(ConversationRow(i64::try_from(index + 1).unwrap())),
                    last_id: self.of(conversation).count().try_into().unwrap(),
                    low_sent: self
                        .of(conversation)
                        .next_back()
                        .map_or(0, |row| row.low_sent),
                },
                (None, Receiver::User(to)) if to.get() <= USERS => Known {
                    row: None,
                    last_id: 0,
                    low_sent: 0,
                },
                _ => continue,
            };
            memory.conversations.insert(conversation, known);
        }
    }
}

fn memory() -> Memory {
    Memory {
        conversations: Cache::new(4, 32),
        groups: Cache::new(4, 32),
        retries: RetryWindow::new(10_000, 600),
        users: Cache::new(4, 32),
        end: CommitSeq::START,
        last_row: ConversationRow(0),
        skipped: 0,
    }
}

fn incoming(sender: u32, to_group: bool, to: u32, key: Option<(u8, bool)>) -> Option<Incoming> {
    let peer = if to_group {
        Peer::Group(group(to))
    } else {
        Peer::User(user(to))
    };
    let conversation = Conversation::of(user(sender), peer)?;
    let key = key.map(|(n, client)| {
        let id = [n; 16];
        if client {
            let key = RetryKey::of_client_id(user(sender), conversation, &id);
            SendKey {
                key,
                window_seconds: 600,
            }
        } else {
            let key = RetryKey::of_frame(
                FrameSource::Session(Epoch(1)),
                conversation,
                u32::from(n) + 1,
                1,
                b"x",
            );
            SendKey {
                key: key.unwrap(),
                window_seconds: 30,
            }
        }
    });
    Some(Incoming {
        tag: 0,
        sender: user(sender),
        origin: Epoch(1),
        conversation,
        msg_type: 1,
        key,
        body: Bytes::from_static(b"x"),
        trace: Trace::NONE,
        needs_verdict: false,
    })
}

fn any_send() -> impl Strategy<Value = Incoming> {
    let key = prop::option::of((0_u8..6, any::<bool>()));
    (1_u32..=USERS, any::<bool>(), 1_u32..=7, key).prop_filter_map(
        "to oneself",
        |(sender, to_group, to, key)| {
            incoming(sender, to_group, if to_group { to.min(3) } else { to }, key)
        },
    )
}

#[derive(Clone, Debug)]
struct Batch {
    sends: Vec<Incoming>,
    fails: bool,
    forgets_all: bool,
    pause: u32,
}

fn any_batch() -> impl Strategy<Value = Batch> {
    let sends = prop::collection::vec(any_send(), 1..12);
    let pause = prop_oneof![0_u32..3, Just(31_u32), Just(601_u32)];
    (
        sends,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
        pause,
    )
        .prop_map(|(sends, fails, forgets_all, pause)| Batch {
            sends,
            fails,
            forgets_all,
            pause,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is sent, retried, lost or forgotten: decisions, rows and publications are those of
    /// the naive model.
    #[test]
    fn every_decision_is_that_of_a_search_through_the_whole_log(
        batches in prop::collection::vec(any_batch(), 1..25)
    ) {
        let mut model = Model::new();
        let mut memory = memory();
        let mut now = UnixSeconds::from_wire(1_000_000);
        for batch in batches {
            now = now.saturating_add(batch.pause);
            if batch.forgets_all {
                memory.clear();
            }
            model.load(&mut memory, &batch.sends);
            let plan = memory.plan(batch.sends.iter(), batch.sends.len(), now);
            if batch.fails {
                memory.forget(batch.sends.iter(), &plan);
                continue;
            }
            let (before, rows_before) = (model.log.len(), model.rows.len());
            let expected: Vec<Decision> =
                batch.sends.iter().map(|send| model.expect(send, now)).collect();
            prop_assert_eq!(&plan.decisions, &expected);

            let stored = model.log.get(before..).unwrap();
            prop_assert_eq!(plan.append.messages.len(), stored.len());
            for (row, wanted) in plan.append.messages.iter().zip(stored) {
                let found = Row {
                    conversation: wanted.conversation,
                    sender: row.sender,
                    key: row.key,
                    kept: Kept { msg_id: row.msg_id, time: row.time, seq: row.seq },
                    low_sent: row.low_sent,
                };
                prop_assert_eq!(&found, wanted);
                let index = model.rows.iter().position(|c| *c == wanted.conversation).unwrap();
                prop_assert_eq!(row.row.0, i64::try_from(index).unwrap() + 1);
            }
            let new: Vec<Conversation> =
                plan.append.new_conversations.iter().map(|new| new.conversation).collect();
            prop_assert_eq!(&new, model.rows.get(rows_before..).unwrap());
            let published: Vec<u64> =
                plan.outgoing.iter().map(|outgoing| outgoing.message.seq).collect();
            prop_assert_eq!(
                published,
                stored.iter().map(|row| row.kept.seq.to_wire()).collect::<Vec<_>>()
            );
            let of_groups = stored.iter()
                .filter(|row| matches!(row.conversation, Conversation::Group(_)))
                .map(|row| (row.sender, row.conversation, row.kept.msg_id.get()));
            prop_assert_eq!(plan.read, of_groups.collect::<Vec<_>>());
        }
        // Ids are dense in every conversation, whatever failed on the way.
        let conversations: HashSet<Conversation> =
            model.log.iter().map(|row| row.conversation).collect();
        for conversation in conversations {
            for (index, row) in model.of(conversation).enumerate() {
                prop_assert_eq!(row.kept.msg_id.get() as usize, index + 1);
            }
        }
    }
}

#[test]
fn a_resend_in_the_same_batch_joins_the_message_in_flight() {
    let mut memory = memory();
    let model = Model::new();
    let send = incoming(1, false, 2, Some((1, false))).unwrap();
    let sends = [send.clone(), send.clone(), send];
    model.load(&mut memory, &sends);
    let plan = memory.plan(sends.iter(), 3, UnixSeconds::from_wire(1_000));
    assert_eq!(plan.append.messages.len(), 1);
    let Some(Decision::Stored(kept)) = plan.decisions.first().copied() else {
        panic!()
    };
    assert_eq!(
        plan.decisions[1..],
        [Decision::Repeated(kept), Decision::Repeated(kept)]
    );
}

#[test]
fn the_last_id_of_a_conversation_is_never_passed() {
    let mut memory = memory();
    let send = incoming(1, false, 2, None).unwrap();
    let known = Known {
        row: Some(ConversationRow(1)),
        last_id: u32::MAX,
        low_sent: 0,
    };
    memory.conversations.insert(send.conversation, known);
    let plan = memory.plan([&send].into_iter(), 1, UnixSeconds::from_wire(1_000));
    assert_eq!(
        plan.decisions,
        [Decision::Refused(RejectReason::ConversationFull)]
    );
    assert!(plan.append.messages.is_empty());
}

#[test]
fn clearing_forgets_conversations_and_groups_and_keeps_what_retries_are_recognised_by() {
    let mut memory = memory();
    let model = Model::new();
    let send = incoming(1, true, 1, Some((1, true))).unwrap();
    model.load(&mut memory, std::slice::from_ref(&send));
    let now = UnixSeconds::from_wire(1_000);
    memory.plan([&send].into_iter(), 1, now);
    memory.clear();
    assert!(!memory.conversations.contains(&send.conversation));
    assert!(memory.groups.get(&group(1)).is_none());
    assert_eq!(memory.retries.len(), 1);
}
