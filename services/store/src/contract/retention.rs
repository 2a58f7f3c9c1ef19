//! Taking the bodies of old messages away.

use im_core::Conversation;
use im_order::CommitSeq;

use super::log::{Log, at, key, pair};
use crate::{Expired, ReadLimit, RetentionKind, RetentionStep, Store};

fn step(kind: RetentionKind, until: u64) -> RetentionStep {
    RetentionStep {
        kind,
        before: at(200),
        now: at(300),
        until: CommitSeq::from_wire(until),
        rows: 3,
    }
}

fn expired(through: u64, bodies: u64, has_more: bool) -> Expired {
    Expired {
        through: CommitSeq::from_wire(through),
        bodies,
        has_more,
    }
}

/// Two people and a group write in turn, a message each 20 seconds from 100 on, so that five are old at 200.
async fn eight(store: &dyn Store) -> (Log, Conversation) {
    let mut log = Log::default();
    let group = Conversation::Group(log.group(store, &[1, 2, 3], 90).await);
    for n in 0..8 {
        let conversation = if n % 2 == 0 { pair(1, 2) } else { group };
        let sent = log.send(1, conversation, 100 + 20 * n, "something");
        sent.key = u8::try_from(n).ok().map(key);
    }
    log.commit(store).await.unwrap();
    (log, group)
}

async fn bodies(store: &dyn Store) -> Vec<bool> {
    let log = store.read_log(CommitSeq::START, ReadLimit::rows(9)).await;
    let entries = log.unwrap().into_iter();
    entries
        .map(|entry| !entry.message.body.is_empty())
        .collect()
}

pub async fn bodies_of_old_messages_go_step_by_step_and_their_rows_stay(store: &dyn Store) {
    let (mut log, group) = eight(store).await;
    let before = store.history(group, None, 0, ReadLimit::rows(9)).await;
    let pairs = step(RetentionKind::Pairs, 8);
    assert_eq!(
        store.expire_bodies(pairs).await.unwrap(),
        expired(3, 2, true)
    );
    assert_eq!(
        store.expire_bodies(pairs).await.unwrap(),
        expired(5, 1, false)
    );
    assert_eq!(
        store.expire_bodies(pairs).await.unwrap(),
        expired(5, 0, false)
    );
    let groups = step(RetentionKind::Groups, 8);
    assert_eq!(
        store.expire_bodies(groups).await.unwrap(),
        expired(3, 1, true)
    );
    assert_eq!(
        bodies(store).await,
        [false, false, false, true, false, true, true, true]
    );
    // Everything but the bodies is as before, and so are ids and retry keys.
    let after = store.history(group, None, 0, ReadLimit::rows(9)).await;
    let (mut before, after) = (before.unwrap(), after.unwrap());
    before.last_mut().unwrap().body.clear();
    assert_eq!(after, before);
    let keys = store.recent_keys(at(0), 9).await.unwrap();
    assert_eq!(keys.len(), 8);
    log.send(2, pair(1, 2), 290, "next");
    log.commit(store).await.unwrap();
    let newest = store.history(pair(1, 2), None, 0, ReadLimit::rows(1)).await;
    assert_eq!(newest.unwrap()[0].msg_id.get(), 5);
}

pub async fn nothing_behind_the_position_that_may_be_reached_goes(store: &dyn Store) {
    eight(store).await;
    let pairs = |until| step(RetentionKind::Pairs, until);
    assert_eq!(
        store.expire_bodies(pairs(0)).await.unwrap(),
        expired(0, 0, false)
    );
    assert_eq!(
        store.expire_bodies(pairs(2)).await.unwrap(),
        expired(2, 1, false)
    );
    // A position before the last one reached gives nothing back and takes nothing.
    assert_eq!(
        store.expire_bodies(pairs(1)).await.unwrap(),
        expired(2, 0, false)
    );
    assert_eq!(bodies(store).await.iter().filter(|kept| !**kept).count(), 1);
}
