use crate::{
    ImportedUser, MESSAGE_BYTES, MemberChange, MemberView, Preview, ReadLimit, ReadPosition, Store,
    Unread,
};
use im_core::{Conversation, UserId};

use super::accounts::{import, person};
use super::groups::change;
use crate::contract::log::{Log, at, id, pair, standing, user};

fn position(reader: u32, conversation: Conversation, read_id: u32) -> ReadPosition {
    ReadPosition {
        user: user(reader),
        conversation,
        read_id,
    }
}

async fn recents(store: &dyn Store, reader: u32, after: u32, limit: u32) -> Vec<Conversation> {
    let views = store
        .recent_sessions(user(reader), at(after), Preview::rows(limit))
        .await
        .unwrap();
    views.iter().map(|view| view.conversation).collect()
}

/// Unread counts above zero.
async fn unread(
    store: &dyn Store,
    reader: u32,
    positions: &[ReadPosition],
) -> Vec<(Conversation, u32)> {
    let unread = store
        .unread_sessions(user(reader), positions, Preview::rows(100))
        .await
        .unwrap();
    let views = unread.views.iter();
    let counts: Vec<_> = views
        .map(|view| (view.conversation, view.unread(user(reader))))
        .collect();
    assert!(counts.iter().all(|(_, count)| *count > 0));
    let sum: u64 = counts.iter().map(|(_, count)| u64::from(*count)).sum();
    assert_eq!(unread.total, sum);
    counts
}

pub async fn recents_are_newest_first(store: &dyn Store) {
    let mut log = Log::default();
    let group = Conversation::Group(log.group(store, &[1, 2], 5).await);
    log.send(1, pair(1, 2), 10, "first");
    log.send(3, pair(1, 3), 30, "x");
    log.send(2, group, 20, "x");
    log.send(4, pair(1, 4), 30, "same second, later");
    log.send(2, pair(2, 3), 90, "not ours");
    log.commit(store).await.unwrap();
    let wanted = [pair(1, 4), pair(1, 3), group, pair(1, 2)];
    assert_eq!(recents(store, 1, 0, 10).await, wanted);
    log.send(2, pair(1, 2), 40, "newest");
    log.commit(store).await.unwrap();
    let wanted = [pair(1, 2), pair(1, 4), pair(1, 3), group];
    assert_eq!(recents(store, 1, 0, 10).await, wanted);

    let view = store
        .recent_sessions(user(1), at(0), Preview::rows(1))
        .await
        .unwrap()
        .remove(0);
    let newest = store
        .history(pair(1, 2), None, 0, ReadLimit::rows(1))
        .await
        .unwrap()
        .remove(0);
    assert_eq!(
        view,
        MemberView {
            conversation: pair(1, 2),
            read_id: 0,
            low_sent_at_read: 0,
            skipped: 0,
            joined_id: 0,
            removed_at: None,
            newest,
            updated: at(40),
        }
    );
    assert_eq!(
        (view.newest.msg_id, view.newest.body.as_ref()),
        (id(2), b"newest".as_ref())
    );
}

pub async fn recents_after_a_time_and_at_most_so_many(store: &dyn Store) {
    let mut log = Log::default();
    for other in 2..=9 {
        log.send(1, pair(1, other), 10 * other, "x");
    }
    log.commit(store).await.unwrap();
    assert_eq!(recents(store, 1, 70, 10).await, [pair(1, 9), pair(1, 8)]);
    assert_eq!(recents(store, 1, 90, 10).await, []);
    assert_eq!(recents(store, 1, 0, 2).await, [pair(1, 9), pair(1, 8)]);
    assert_eq!(recents(store, 1, 0, 0).await, []);
}

pub async fn a_group_is_recent_once_it_has_a_message_for_the_member(store: &dyn Store) {
    let mut log = Log::default();
    let group = log.group(store, &[1, 2], 5).await;
    let conversation = Conversation::Group(group);
    assert_eq!(recents(store, 1, 0, 10).await, []);
    log.send(1, conversation, 10, "x");
    log.commit(store).await.unwrap();
    store
        .change_members(
            standing(store).await,
            &change(group, MemberChange::Add, &[3], 1),
        )
        .await
        .unwrap();
    assert_eq!(recents(store, 2, 0, 10).await, [conversation]);
    assert_eq!(recents(store, 3, 0, 10).await, []);
    log.send(1, conversation, 11, "x");
    log.commit(store).await.unwrap();
    assert_eq!(recents(store, 3, 0, 10).await, [conversation]);
}

pub async fn removed_sessions_reappear_with_a_newer_message(store: &dyn Store) {
    let mut log = Log::default();
    log.send(2, pair(1, 2), 10, "x");
    log.send(3, pair(1, 3), 11, "x");
    log.commit(store).await.unwrap();
    assert!(store.remove_session(user(1), pair(1, 2)).await.unwrap());
    assert_eq!(recents(store, 1, 0, 10).await, [pair(1, 3)]);
    assert_eq!(
        recents(store, 2, 0, 10).await,
        [pair(1, 2)],
        "only for him who removed it"
    );
    assert_eq!(
        unread(store, 1, &[]).await,
        [(pair(1, 3), 1)],
        "and it counts as read"
    );
    assert!(
        !store.remove_session(user(1), pair(1, 2)).await.unwrap(),
        "it is gone already"
    );
    log.send(1, pair(1, 2), 12, "x");
    log.send(2, pair(1, 2), 13, "x");
    log.commit(store).await.unwrap();
    let views = store
        .recent_sessions(user(1), at(0), Preview::rows(10))
        .await
        .unwrap();
    assert_eq!(views[0].conversation, pair(1, 2));
    assert_eq!((views[0].removed_at, views[0].read_id), (Some(1), 1));
    assert_eq!(
        unread(store, 1, &[]).await,
        [(pair(1, 2), 1), (pair(1, 3), 1)]
    );
    assert!(store.remove_session(user(1), pair(1, 2)).await.unwrap());
}

pub async fn what_is_not_listed_cannot_be_removed(store: &dyn Store) {
    let mut log = Log::default();
    let group = Conversation::Group(log.group(store, &[1, 2], 5).await);
    log.send(2, pair(2, 3), 10, "x");
    log.commit(store).await.unwrap();
    assert!(
        !store.remove_session(user(1), group).await.unwrap(),
        "no message yet"
    );
    assert!(
        !store.remove_session(user(1), pair(2, 3)).await.unwrap(),
        "not his"
    );
    assert!(
        !store.remove_session(user(1), pair(1, 9)).await.unwrap(),
        "nothing"
    );
}

pub async fn read_positions_only_grow(store: &dyn Store) {
    let mut log = Log::default();
    for _ in 0..10 {
        log.send(2, pair(1, 2), 10, "x");
    }
    log.commit(store).await.unwrap();
    let read = async || store.read_position(user(1), pair(1, 2)).await.unwrap();
    assert_eq!(read().await, 0);
    store
        .store_read_positions(&[position(1, pair(1, 2), 4)])
        .await
        .unwrap();
    assert_eq!(read().await, 4);
    store
        .store_read_positions(&[position(1, pair(1, 2), 3)])
        .await
        .unwrap();
    assert_eq!(read().await, 4);
    let several = [6, 8, 7].map(|read_id| position(1, pair(1, 2), read_id));
    store.store_read_positions(&several).await.unwrap();
    assert_eq!(read().await, 8);
    assert_eq!(store.read_position(user(2), pair(1, 2)).await.unwrap(), 0);
    store
        .store_read_positions(&[position(1, pair(1, 2), 4_000_000_000)])
        .await
        .unwrap();
    assert_eq!(read().await, 10, "no further than there are messages");
    store.store_read_positions(&[]).await.unwrap();
}

pub async fn read_positions_of_strangers_are_not_stored(store: &dyn Store) {
    let mut log = Log::default();
    let group = log.group(store, &[1, 2], 5).await;
    let conversation = Conversation::Group(group);
    log.send(2, pair(1, 2), 10, "x");
    log.send(2, conversation, 10, "x");
    log.commit(store).await.unwrap();
    let strange = [
        position(3, pair(1, 2), 1),
        position(3, conversation, 1),
        position(1, pair(1, 99), 1),
        position(1, conversation, 1),
    ];
    store.store_read_positions(&strange).await.unwrap();
    assert_eq!(store.read_position(user(3), pair(1, 2)).await.unwrap(), 0);
    assert_eq!(store.read_position(user(3), conversation).await.unwrap(), 0);
    assert_eq!(store.read_position(user(1), pair(1, 99)).await.unwrap(), 0);
    assert_eq!(
        store.read_position(user(1), conversation).await.unwrap(),
        1,
        "the good one is"
    );
    store
        .change_members(
            standing(store).await,
            &change(group, MemberChange::Remove, &[1], 1),
        )
        .await
        .unwrap();
    assert_eq!(
        store.read_position(user(1), conversation).await.unwrap(),
        0,
        "no member"
    );
}

pub async fn unread_counts_leave_own_messages_out(store: &dyn Store) {
    let mut log = Log::default();
    // Ids 1 to 6: two of user 1, one of user 2, two of user 1, one of user 2.
    for sender in [1, 1, 2, 1, 1, 2] {
        log.send(sender, pair(1, 2), 10, "x");
    }
    log.commit(store).await.unwrap();
    for (read_id, by_one, by_two) in [(0, 4, 2), (1, 3, 2), (2, 2, 2), (3, 2, 1), (5, 0, 1)] {
        let positions = [
            position(1, pair(1, 2), read_id),
            position(2, pair(1, 2), read_id),
        ];
        store.store_read_positions(&positions).await.unwrap();
        let count = |count| {
            if count > 0 {
                vec![(pair(1, 2), count)]
            } else {
                vec![]
            }
        };
        assert_eq!(unread(store, 1, &[]).await, count(by_two), "read {read_id}");
        assert_eq!(unread(store, 2, &[]).await, count(by_one), "read {read_id}");
    }
    store
        .store_read_positions(&[position(1, pair(1, 2), 6)])
        .await
        .unwrap();
    assert_eq!(
        store
            .unread_sessions(user(1), &[], Preview::rows(100))
            .await
            .unwrap(),
        Unread::default()
    );
}

pub async fn unread_counts_of_groups_begin_at_the_join(store: &dyn Store) {
    let mut log = Log::default();
    let group = log.group(store, &[1, 2], 5).await;
    let conversation = Conversation::Group(group);
    for _ in 0..4 {
        log.send(1, conversation, 10, "x");
    }
    log.commit(store).await.unwrap();
    store
        .change_members(
            standing(store).await,
            &change(group, MemberChange::Add, &[3], 4),
        )
        .await
        .unwrap();
    log.send(1, conversation, 10, "x");
    log.send(1, conversation, 10, "x");
    log.commit(store).await.unwrap();
    assert_eq!(unread(store, 2, &[]).await, [(conversation, 6)]);
    assert_eq!(unread(store, 3, &[]).await, [(conversation, 2)]);
    // The sender of the newest message has read it: the caller says so.
    assert_eq!(unread(store, 1, &[position(1, conversation, 6)]).await, []);
    store
        .store_read_positions(&[position(3, conversation, 5)])
        .await
        .unwrap();
    assert_eq!(unread(store, 3, &[]).await, [(conversation, 1)]);
}

pub async fn pending_positions_win(store: &dyn Store) {
    let mut log = Log::default();
    for sender in [2, 1, 2, 1, 2] {
        log.send(sender, pair(1, 2), 10, "x");
    }
    log.send(3, pair(1, 3), 11, "x");
    log.commit(store).await.unwrap();
    let others = [(pair(1, 3), 1)];
    let check = async |pending: &[u32], count| {
        let pending: Vec<_> = pending
            .iter()
            .map(|read_id| position(1, pair(1, 2), *read_id))
            .collect();
        let mut wanted = others.to_vec();
        wanted.extend((count > 0).then_some((pair(1, 2), count)));
        assert_eq!(unread(store, 1, &pending).await, wanted, "{pending:?}");
    };
    check(&[], 3).await;
    check(&[1], 2).await;
    check(&[1, 4, 2], 1).await;
    check(&[5], 0).await;
    check(&[77], 0).await;
    store
        .store_read_positions(&[position(1, pair(1, 2), 3)])
        .await
        .unwrap();
    check(&[1], 1).await;
    let of_somebody_else = [position(2, pair(1, 2), 5)];
    assert_eq!(
        unread(store, 1, &of_somebody_else).await,
        [others[0], (pair(1, 2), 1)]
    );
}

pub async fn former_members_have_no_session(store: &dyn Store) {
    let mut log = Log::default();
    let group = log.group(store, &[1, 2], 5).await;
    let conversation = Conversation::Group(group);
    log.send(1, conversation, 10, "x");
    log.commit(store).await.unwrap();
    store
        .change_members(
            standing(store).await,
            &change(group, MemberChange::Remove, &[2], 1),
        )
        .await
        .unwrap();
    assert_eq!(recents(store, 2, 0, 10).await, []);
    assert_eq!(unread(store, 2, &[]).await, []);
    assert!(!store.remove_session(user(2), conversation).await.unwrap());
}

pub async fn related_users_come_from_pairs_groups_and_departments(store: &dyn Store) {
    let department = |name: &str, path: &str, status| ImportedUser {
        department: Some(vec![path.into()]),
        status: Some(status),
        ..person(name)
    };
    import(
        store,
        vec![
            department("one", "A", 0),
            department("two", "A", 0),
            department("three", "A", 3),
            department("four", "B", 0),
        ],
        5,
    )
    .await;
    let mut log = Log::default();
    log.group(store, &[1, 11, 12], 5).await;
    let left = log.group(store, &[1, 13], 5).await;
    store
        .change_members(
            standing(store).await,
            &change(left, MemberChange::Remove, &[1], 0),
        )
        .await
        .unwrap();
    log.group(store, &[20, 21], 5).await;
    log.send(1, pair(1, 30), 100, "x");
    log.send(31, pair(1, 31), 99, "too old");
    log.send(32, pair(32, 30), 100, "not his");
    log.commit(store).await.unwrap();
    let related = async |of: u32, limit| -> Vec<u32> {
        let users: Vec<UserId> = store.related_users(user(of), at(100), limit).await.unwrap();
        users.iter().map(|user| user.get()).collect()
    };
    assert_eq!(related(1, 100).await, [2, 11, 12, 30]);
    assert_eq!(related(1, 2).await.len(), 2);
    assert_eq!(related(30, 100).await, [1, 32]);
    assert_eq!(related(99, 100).await, [0; 0]);
}

pub async fn lists_stop_at_their_bytes_and_leave_long_bodies_out(store: &dyn Store) {
    let mut log = Log::default();
    for (peer, size) in [(2, 50), (3, 200), (4, 50), (5, 50)] {
        log.send(peer, pair(1, peer), peer, &"x".repeat(size));
    }
    log.commit(store).await.unwrap();
    let limit = |bytes| Preview {
        rows: 10,
        bytes,
        body: 100,
    };
    let shape = |views: &[MemberView]| -> Vec<(Conversation, usize)> {
        views
            .iter()
            .map(|view| (view.conversation, view.newest.body.len()))
            .collect()
    };
    let all = [
        (pair(1, 5), 50),
        (pair(1, 4), 50),
        (pair(1, 3), 0),
        (pair(1, 2), 50),
    ];
    let cost = MESSAGE_BYTES + 50;
    for (bytes, lines) in [
        (1 << 20, 4),
        (2 * cost, 2),
        (2 * cost + MESSAGE_BYTES, 3),
        (0, 1),
    ] {
        let unread = store.unread_sessions(user(1), &[], limit(bytes));
        let unread = unread.await.unwrap();
        assert_eq!(shape(&unread.views), all[..lines], "{bytes}");
        assert_eq!(unread.total, 4);
        let recent = store.recent_sessions(user(1), at(0), limit(bytes));
        assert_eq!(shape(&recent.await.unwrap()), all[..lines], "{bytes}");
    }
}
