use crate::{
    AppendBatch, ConversationRow, ConversationState, MESSAGE_BYTES, NewConversation, Preview,
    ReadLimit, RecentKey, Store, StoreError, StoredMessage,
};
use bytes::Bytes;
use im_core::{Conversation, GroupId};
use im_order::CommitSeq;

use crate::contract::log::{Log, at, id, key, pair};

const NOBODY: u32 = 77;

pub async fn an_empty_store_has_an_empty_log(store: &dyn Store) {
    assert_eq!(
        store.log_end().await.unwrap(),
        (CommitSeq::START, ConversationRow(0))
    );
    assert_eq!(
        store
            .read_log(CommitSeq::START, ReadLimit::rows(10))
            .await
            .unwrap(),
        []
    );
    assert_eq!(
        store.conversation_states(&[pair(1, 2)]).await.unwrap(),
        [None]
    );
    assert_eq!(
        store
            .history(pair(1, 2), None, 0, ReadLimit::rows(10))
            .await
            .unwrap(),
        []
    );
    assert_eq!(store.latest_id(pair(1, 2)).await.unwrap(), None);
    store.append(&AppendBatch::default()).await.unwrap();
}

pub async fn stores_and_reads_back(store: &dyn Store) {
    let mut log = Log::default();
    log.send(2, pair(1, 2), 100, "one").msg_type = 2;
    log.send(1, pair(1, 2), 101, "two").key = Some(key(1));
    let sent = log.batch.messages.clone();
    log.commit(store).await.unwrap();
    let entries = store
        .read_log(CommitSeq::START, ReadLimit::rows(10))
        .await
        .unwrap();
    assert_eq!(entries.len(), 2);
    for (entry, sent) in entries.iter().zip(&sent) {
        assert_eq!(entry.conversation, pair(1, 2));
        let message = &entry.message;
        assert_eq!((message.seq, message.msg_id), (sent.seq, sent.msg_id));
        assert_eq!(
            (message.sender, message.msg_type),
            (sent.sender, sent.msg_type)
        );
        assert_eq!((message.time, message.low_sent), (sent.time, sent.low_sent));
        assert_eq!(message.body, sent.body);
    }
    assert_eq!(
        store.log_end().await.unwrap(),
        (CommitSeq::from_wire(2), ConversationRow(1))
    );
}

pub async fn batches_of_every_size_are_stored_whole(store: &dyn Store) {
    let mut log = Log::default();
    let sizes = (1..=40).chain([63, 64, 65, 127, 200, 511, 512, 513, 1025, 1100]);
    for (round, size) in sizes.enumerate() {
        let round = u32::try_from(round).unwrap();
        for n in 0..size {
            // Some conversations are new, some are old, some get several messages.
            let other = 2 + (n * (round % 3 + 1)) % (size + round);
            log.send(1, pair(1, other), 100 + round, &format!("{round}.{n}"));
        }
        log.commit(store).await.unwrap();
    }
    assert_eq!(
        store.log_end().await.unwrap(),
        (CommitSeq::from_wire(log.seq), ConversationRow(log.rows))
    );
    let entries = store
        .read_log(CommitSeq::START, ReadLimit::rows(u32::MAX))
        .await
        .unwrap();
    assert_eq!(entries.len(), usize::try_from(log.seq).unwrap());
    for (conversation, known) in &log.known {
        let state = state_of(store, *conversation).await;
        assert_eq!((state.row, state.last_id), (known.row, known.last_id));
        assert_eq!(state.low_sent, known.low_sent);
        let history = store
            .history(*conversation, None, 0, ReadLimit::rows(u32::MAX))
            .await
            .unwrap();
        let ids: Vec<u32> = history.iter().map(|message| message.msg_id.get()).collect();
        assert_eq!(ids, (1..=known.last_id).rev().collect::<Vec<_>>());
        assert_eq!(history[0].seq, state.last_seq);
    }
}

pub async fn the_log_is_read_in_order_and_pages(store: &dyn Store) {
    let mut log = Log::default();
    let group = log.group(store, &[1, 2], 100).await;
    let conversations = [pair(1, 2), Conversation::Group(group), pair(2, 3)];
    for n in 0..30 {
        log.send(2, conversations[n % 3], 100, &format!("{n}"));
    }
    log.commit(store).await.unwrap();
    let page = store
        .read_log(CommitSeq::from_wire(10), ReadLimit::rows(7))
        .await
        .unwrap();
    let seqs: Vec<u64> = page
        .iter()
        .map(|entry| entry.message.seq.to_wire())
        .collect();
    assert_eq!(seqs, [11, 12, 13, 14, 15, 16, 17]);
    for (n, entry) in (10..).zip(&page) {
        assert_eq!(entry.conversation, conversations[n % 3]);
        assert_eq!(entry.message.body, format!("{n}"));
    }
    assert_eq!(
        store
            .read_log(CommitSeq::from_wire(30), ReadLimit::rows(7))
            .await
            .unwrap(),
        []
    );
    assert_eq!(
        store
            .read_log(CommitSeq::from_wire(u64::MAX >> 1), ReadLimit::rows(7))
            .await
            .unwrap(),
        []
    );
}

pub async fn history_is_newest_first_and_bounded(store: &dyn Store) {
    let mut log = Log::default();
    for n in 1..=20 {
        log.send(1, pair(1, 2), 100, &format!("{n}"));
        log.send(1, pair(1, 3), 100, "other");
    }
    log.commit(store).await.unwrap();
    let ids = async |from: Option<u32>, oldest, limit| -> Vec<u32> {
        let history = store
            .history(pair(1, 2), from.map(id), oldest, ReadLimit::rows(limit))
            .await
            .unwrap();
        assert!(history.iter().all(|m| m.body == m.msg_id.get().to_string()));
        history.iter().map(|message| message.msg_id.get()).collect()
    };
    assert_eq!(ids(None, 0, 3).await, [20, 19, 18]);
    assert_eq!(ids(Some(5), 0, 3).await, [5, 4, 3]);
    assert_eq!(ids(Some(5), 4, 30).await, [5, 4]);
    assert_eq!(ids(Some(5), 6, 30).await, [0; 0]);
    assert_eq!(ids(Some(99), 19, 30).await, [20, 19]);
    assert_eq!(ids(None, 0, 0).await, [0; 0]);
}

pub async fn history_goes_forwards_too(store: &dyn Store) {
    let mut log = Log::default();
    for n in 1..=20 {
        log.send(1, pair(1, 2), 100, &format!("{n}"));
        log.send(1, pair(1, 3), 100, "other");
    }
    log.commit(store).await.unwrap();
    let ids = async |after, limit| -> Vec<u32> {
        let history = store.history_after(pair(1, 2), after, limit).await.unwrap();
        assert!(history.iter().all(|m| m.body == m.msg_id.get().to_string()));
        history.iter().map(|message| message.msg_id.get()).collect()
    };
    assert_eq!(ids(0, ReadLimit::rows(3)).await, [1, 2, 3]);
    assert_eq!(ids(18, ReadLimit::rows(3)).await, [19, 20]);
    assert_eq!(ids(20, ReadLimit::rows(3)).await, [0; 0]);
    let bytes = ReadLimit {
        rows: 10,
        bytes: 2 * (1 + crate::MESSAGE_BYTES),
    };
    assert_eq!(ids(0, bytes).await, [1, 2]);
}

pub async fn messages_by_id(store: &dyn Store) {
    let mut log = Log::default();
    for n in 1..=20 {
        log.send(1, pair(1, 2), 100, &format!("{n}"));
    }
    log.commit(store).await.unwrap();
    let ids = async |ids: &[u32], oldest, limit| -> Vec<u32> {
        let found = store
            .by_ids(pair(1, 2), ids, oldest, ReadLimit::rows(limit))
            .await
            .unwrap();
        found.iter().map(|message| message.msg_id.get()).collect()
    };
    assert_eq!(ids(&[3, 17, 3, 0, 99, 4], 0, 10).await, [17, 4, 3]);
    assert_eq!(ids(&[3, 17, 4], 4, 10).await, [17, 4]);
    assert_eq!(ids(&[3, 17, 4], 0, 2).await, [17, 4]);
    assert_eq!(ids(&[], 0, 2).await, [0; 0]);
    assert_eq!(
        store
            .by_ids(pair(1, NOBODY), &[1], 0, ReadLimit::rows(10))
            .await
            .unwrap(),
        []
    );
}

pub async fn latest_id_of_each_conversation(store: &dyn Store) {
    let mut log = Log::default();
    let group = log.group(store, &[1], 100).await;
    log.send(1, pair(1, 2), 100, "x");
    log.send(1, pair(1, 2), 100, "x");
    log.commit(store).await.unwrap();
    assert_eq!(store.latest_id(pair(1, 2)).await.unwrap(), Some(id(2)));
    assert_eq!(
        store.latest_id(Conversation::Group(group)).await.unwrap(),
        None
    );
    let missing = GroupId::from_wire(99).unwrap();
    assert_eq!(
        store.latest_id(Conversation::Group(missing)).await.unwrap(),
        None
    );
}

pub async fn states_come_in_the_order_asked(store: &dyn Store) {
    let mut log = Log::default();
    let group = log.group(store, &[1], 100).await;
    log.send(2, pair(1, 2), 100, "x");
    log.send(1, pair(1, 2), 100, "x");
    log.send(1, pair(1, 3), 100, "x");
    log.commit(store).await.unwrap();
    // More than one statement takes.
    let mut wanted: Vec<Conversation> = (100..1700).map(|n| pair(1, n)).collect();
    wanted[3] = pair(1, 3);
    wanted[700] = Conversation::Group(group);
    wanted[1599] = pair(1, 2);
    let states = store.conversation_states(&wanted).await.unwrap();
    assert_eq!(states.len(), wanted.len());
    assert_eq!(states.iter().flatten().count(), 3);
    let state = |row, last_id, last_seq, low_sent| {
        let row = ConversationRow(row);
        Some(ConversationState {
            row,
            last_id,
            last_seq: CommitSeq::from_wire(last_seq),
            low_sent,
        })
    };
    assert_eq!(states[3], state(3, 1, 3, 1));
    assert_eq!(states[700], state(1, 0, 0, 0));
    assert_eq!(states[1599], state(2, 2, 2, 1));
}

pub async fn recent_keys_are_bounded_by_age_and_number(store: &dyn Store) {
    let mut log = Log::default();
    for n in 1..=10 {
        // Of two conversations, and one without a key.
        let row = log.send(1, pair(1, 2 + u32::from(n) % 2), 100 + u32::from(n), "x");
        row.key = (n != 9).then(|| key(n));
    }
    log.commit(store).await.unwrap();
    let numbers = async |since: u32, max| -> Vec<u8> {
        let keys = store.recent_keys(at(since), max).await.unwrap();
        keys.iter().map(|recent| recent.key.0[0]).collect()
    };
    assert_eq!(numbers(0, 100).await, [1, 2, 3, 4, 5, 6, 7, 8, 10]);
    assert_eq!(numbers(107, 100).await, [7, 8, 10]);
    assert_eq!(numbers(0, 4).await, [7, 8, 10], "of the newest four");
    assert_eq!(numbers(0, 0).await, [0; 0]);
    assert_eq!(numbers(200, 100).await, [0; 0]);
    let wanted = RecentKey {
        key: key(10),
        msg_id: id(5),
        seq: CommitSeq::from_wire(10),
        time: at(110),
    };
    assert_eq!(store.recent_keys(at(110), 100).await.unwrap(), [wanted]);
}

pub async fn recent_group_senders_are_bounded_by_age_and_number(store: &dyn Store) {
    let mut log = Log::default();
    let (first, second) = (
        log.group(store, &[1, 2, 3], 90).await,
        log.group(store, &[1, 2], 90).await,
    );
    let (first, second) = (Conversation::Group(first), Conversation::Group(second));
    for (sender, conversation, time) in [
        (3, first, 100),
        (1, first, 101),
        (2, second, 102),
        (1, pair(1, 2), 103),
        (1, first, 104),
        (1, second, 104),
    ] {
        log.send(sender, conversation, time, "x");
    }
    log.commit(store).await.unwrap();
    let found = async |seconds, max| -> Vec<(u32, Conversation, u32)> {
        let own = store.recent_group_senders(seconds, max).await.unwrap();
        let mut own: Vec<_> = own
            .into_iter()
            .map(|own| (own.user.get(), own.conversation, own.read_id))
            .collect();
        own.sort_unstable();
        own
    };
    let all = [(1, first, 3), (1, second, 2), (2, second, 1), (3, first, 1)];
    assert_eq!(found(1000, 100).await, all);
    assert_eq!(found(4, 100).await, all, "as old as that");
    assert_eq!(found(3, 100).await, all[..3]);
    assert_eq!(found(1000, 2).await, all[..2], "of the newest two");
    assert_eq!(found(1000, 0).await, []);
}

async fn state_of(store: &dyn Store, conversation: Conversation) -> ConversationState {
    let mut states = store.conversation_states(&[conversation]).await.unwrap();
    states.remove(0).unwrap()
}

/// A store with three messages of (1, 2), and a writer that believes to own it.
async fn three_messages(store: &dyn Store) -> Log {
    let mut log = Log::default();
    for _ in 0..3 {
        log.send(1, pair(1, 2), 100, "x");
    }
    log.commit(store).await.unwrap();
    log
}

/// The batch must be refused, and leave the store as it was.
async fn check_outdated(store: &dyn Store, log: &Log) {
    let (seq, rows) = store.log_end().await.unwrap();
    let result = store.append(&log.fenced()).await;
    assert!(matches!(result, Err(StoreError::Outdated)), "{result:?}");
    assert_eq!(store.log_end().await.unwrap(), (seq, rows));
    assert_eq!(state_of(store, pair(1, 2)).await.last_id, 3);
    assert_eq!(
        store
            .recent_sessions(crate::contract::log::user(3), at(0), Preview::rows(9))
            .await
            .unwrap(),
        []
    );
}

pub async fn a_taken_log_position_is_refused(store: &dyn Store) {
    let mut log = three_messages(store).await;
    log.seq = 2;
    log.send(1, pair(1, 3), 100, "x");
    check_outdated(store, &log).await;
}

pub async fn a_taken_message_id_is_refused(store: &dyn Store) {
    let mut log = three_messages(store).await;
    log.known.get_mut(&pair(1, 2)).unwrap().last_id = 2;
    log.send(1, pair(1, 3), 100, "x");
    log.send(1, pair(1, 2), 100, "x");
    check_outdated(store, &log).await;
}

pub async fn a_taken_conversation_row_is_refused(store: &dyn Store) {
    let mut log = three_messages(store).await;
    log.rows = 0;
    log.send(1, pair(1, 3), 100, "x");
    check_outdated(store, &log).await;
}

pub async fn a_conversation_begun_twice_is_refused(store: &dyn Store) {
    let mut log = three_messages(store).await;
    log.known.clear();
    log.send(1, pair(1, 2), 100, "x");
    check_outdated(store, &log).await;
}

pub async fn an_outdated_writer_is_refused_even_with_free_keys(store: &dyn Store) {
    let mut log = three_messages(store).await;
    // It has missed nothing of the log, but believes that the conversation is longer.
    log.known.get_mut(&pair(1, 2)).unwrap().last_id = 7;
    log.send(1, pair(1, 2), 100, "x");
    check_outdated(store, &log).await;
}

pub async fn a_batch_with_gaps_is_refused(store: &dyn Store) {
    let log = three_messages(store).await;
    let mut gap_in_log = log.clone();
    gap_in_log.send(1, pair(1, 2), 100, "x");
    gap_in_log.seq += 1;
    gap_in_log.send(1, pair(1, 2), 100, "x");
    let mut gap_in_ids = log.clone();
    gap_in_ids.send(1, pair(1, 2), 100, "x");
    gap_in_ids.known.get_mut(&pair(1, 2)).unwrap().last_id += 1;
    gap_in_ids.send(1, pair(1, 2), 100, "x");
    let mut group = log.clone();
    group.batch.new_conversations.push(NewConversation {
        row: ConversationRow(9),
        conversation: Conversation::Group(GroupId::from_wire(9).unwrap()),
    });
    for log in [gap_in_log, gap_in_ids, group] {
        let result = store.append(&log.fenced()).await;
        assert!(matches!(result, Err(StoreError::Corrupt(_))), "{result:?}");
    }
    assert_eq!(
        store.log_end().await.unwrap(),
        (CommitSeq::from_wire(3), ConversationRow(1))
    );
}

pub async fn a_failed_batch_leaves_nothing_behind(store: &dyn Store) {
    let mut log = three_messages(store).await;
    // More than one statement, and only the last message is in the way.
    let mut bad = log.clone();
    for n in 0..700 {
        bad.send(1, pair(1, 3 + n), 100, "x");
    }
    bad.known.get_mut(&pair(1, 2)).unwrap().last_id = 2;
    bad.send(1, pair(1, 2), 100, "x");
    check_outdated(store, &bad).await;
    // The store goes on.
    log.send(1, pair(1, 3), 100, "y");
    log.commit(store).await.unwrap();
    assert_eq!(state_of(store, pair(1, 3)).await.last_id, 1);
}

pub async fn bodies_are_opaque(store: &dyn Store) {
    let mut log = Log::default();
    let bodies: [Bytes; 4] = [
        Bytes::new(),
        Bytes::from_static(b"\0\xff'; DROP TABLE message; --"),
        Bytes::from(vec![0xa5; 1 << 20]),
        Bytes::from_static("语音".as_bytes()),
    ];
    for body in &bodies {
        log.send(1, pair(1, 2), 100, "").body = body.clone();
    }
    log.commit(store).await.unwrap();
    let history = store
        .history(pair(1, 2), None, 0, ReadLimit::rows(10))
        .await
        .unwrap();
    let read: Vec<Bytes> = history
        .into_iter()
        .rev()
        .map(|message| message.body)
        .collect();
    assert_eq!(read, bodies);
}

pub async fn reads_stop_at_their_bytes(store: &dyn Store) {
    let mut log = Log::default();
    for size in [1_000, 10, 10, 3_000, 10] {
        log.send(1, pair(1, 2), 100, &"x".repeat(size));
    }
    log.commit(store).await.unwrap();
    let within = |bytes| ReadLimit { rows: 10, bytes };
    let few = 2 * (10 + MESSAGE_BYTES);
    let ids = |found: Vec<StoredMessage>| -> Vec<u32> {
        found.iter().map(|message| message.msg_id.get()).collect()
    };
    for (from, bytes, expected) in [
        (5, few, vec![5]),
        (3, few, vec![3, 2]),
        (3, few - 1, vec![3]),
        (4, 0, vec![4]),
        (5, 1 << 20, vec![5, 4, 3, 2, 1]),
    ] {
        let history = store.history(pair(1, 2), Some(id(from)), 0, within(bytes));
        assert_eq!(ids(history.await.unwrap()), expected, "{from} {bytes}");
    }
    let named = store.by_ids(pair(1, 2), &[1, 2, 3], 0, within(few));
    assert_eq!(ids(named.await.unwrap()), [3, 2]);
    let entries = store
        .read_log(CommitSeq::from_wire(1), within(few))
        .await
        .unwrap();
    let messages = entries.into_iter().map(|entry| entry.message);
    assert_eq!(ids(messages.collect()), [2, 3]);
    let entries = store
        .read_log(CommitSeq::from_wire(3), within(few))
        .await
        .unwrap();
    let messages = entries.into_iter().map(|entry| entry.message);
    assert_eq!(ids(messages.collect()), [4], "the first one comes whole");
}
