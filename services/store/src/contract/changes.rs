use crate::{Changed, GroupChange, MemberChange, ReadyFile, Store};
use im_core::time::UnixSeconds;
use im_order::CommitSeq;

use super::accounts::{import, person};
use crate::contract::log::{Log, at, standing, user};

/// What was written behind a place.
async fn behind(store: &dyn Store, after: CommitSeq) -> Vec<Changed> {
    let rows = store.changes_after(after, 99).await.unwrap();
    rows.into_iter().map(|row| row.changed).collect()
}

pub async fn whoever_changes_a_group_or_the_directory_writes_to_the_log_of_changes(
    store: &dyn Store,
) {
    assert_eq!(store.change_log_end().await.unwrap(), CommitSeq::START);
    import(store, vec![person("ann"), person("ben")], 10).await;
    let end = async || store.change_log_end().await.unwrap();
    let both = [Changed::Person(1), Changed::Person(2)];
    assert_eq!(behind(store, CommitSeq::START).await, both);
    let mut place = end().await;
    import(store, vec![person("ann"), person("ben")], 11).await;
    assert_eq!(behind(store, place).await, [], "an equal import is none");

    let group = Log::default().group(store, &[1, 2], 20).await;
    assert_eq!(behind(store, place).await, [Changed::Group(group.get())]);
    place = end().await;
    let change = GroupChange {
        group,
        change: MemberChange::Remove,
        users: vec![user(2)],
        last_id: 0,
        now: at(30),
        by: None,
    };
    store
        .change_members(standing(store).await, &change)
        .await
        .unwrap();
    store.rename_group(group, "Others", at(31)).await.unwrap();
    let rows = store.changes_after(place, 99).await.unwrap();
    let versions: Vec<_> = rows
        .into_iter()
        .map(|row| (row.changed, row.value))
        .collect();
    let it = Changed::Group(group.get());
    assert_eq!(versions, [(it.clone(), 2), (it, 3)]);
    place = end().await;

    let lab = store
        .create_department(&["Lab".to_owned()], at(40))
        .await
        .unwrap();
    store
        .rename_department(lab, "Office", at(41))
        .await
        .unwrap();
    store.set_status(user(2), 3, at(42)).await.unwrap();
    store.set_signature(user(1), "away", at(43)).await.unwrap();
    let (lab, ben, ann) = (
        Changed::Department(lab),
        Changed::Person(2),
        Changed::Person(1),
    );
    assert_eq!(behind(store, place).await, [lab.clone(), lab, ben, ann]);
    let some = store.changes_after(place, 2).await.unwrap();
    assert_eq!(some.len(), 2);
}

pub async fn what_fails_leaves_nothing_in_the_log_of_changes(store: &dyn Store) {
    import(store, vec![person("ann"), person("ben")], 10).await;
    let place = store.change_log_end().await.unwrap();
    assert!(store.rename_account(user(2), "ann", at(20)).await.is_err());
    assert!(
        store
            .rename_group(im_core::GroupId::from_wire(9).unwrap(), "x", at(20))
            .await
            .is_err()
    );
    assert_eq!(behind(store, place).await, []);
    store.set_hash(user(1), "another hash").await.unwrap();
    assert_eq!(behind(store, place).await, [], "nobody sees a password");
}

pub async fn old_changes_and_those_beyond_a_bound_are_dropped(store: &dyn Store) {
    let people = (0..5).map(|n| person(&format!("p{n}"))).collect();
    import(store, people, 10).await;
    let end = store.change_log_end().await.unwrap();
    let never = UnixSeconds::EPOCH;
    assert_eq!(store.trim_changes(never, 5).await.unwrap(), 0);
    assert_eq!(store.trim_changes(never, 3).await.unwrap(), 2);
    let left = store.changes_after(CommitSeq::START, 99).await.unwrap();
    assert_eq!(left.len(), 3);
    assert_eq!(left.last().unwrap().seq, end);
    let later = UnixSeconds::now().saturating_add(100);
    assert_eq!(store.trim_changes(later, 99).await.unwrap(), 3);
    assert_eq!(store.change_log_end().await.unwrap(), end, "the end stays");
    import(store, vec![person("ann")], 20).await;
    assert_eq!(behind(store, end).await, [Changed::Person(6)]);
}

pub async fn a_file_that_is_ready_is_noted_once_while_the_log_tells_of_it(store: &dyn Store) {
    let file = |task: &str| ReadyFile {
        task: task.to_owned(),
        from: user(1),
        to: user(2),
        name: "C:\\报告.txt".to_owned(),
        size: u32::MAX,
        stored: at(7),
    };
    let (one, other) = (file("a"), file("b"));
    assert!(store.note_ready_file(&one).await.unwrap());
    assert!(!store.note_ready_file(&one).await.unwrap());
    assert!(store.note_ready_file(&other).await.unwrap());
    let both = [Changed::File(one.clone()), Changed::File(other.clone())];
    assert_eq!(behind(store, CommitSeq::START).await, both);
    assert_eq!(
        store.trim_changes(UnixSeconds::EPOCH, 1).await.unwrap(),
        1,
        "the first has gone"
    );
    assert!(!store.note_ready_file(&other).await.unwrap());
    assert!(store.note_ready_file(&one).await.unwrap());
    let again = [Changed::File(other), Changed::File(one)];
    assert_eq!(behind(store, CommitSeq::START).await, again);
}
