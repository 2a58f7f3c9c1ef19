//! Two processes that share a database.

use im_order::{Partition, Roster, Tenure};
use im_store::contract::log::{Log, pair};
use im_store::{MessageStore as _, RosterStore as _, Start, StoreError, TenureStore as _};

use im_store_mysql::MysqlOptions;

use crate::server::TempStore;

const A: Start<'static> = Start {
    name: "a",
    instance: 11,
};
const B: Start<'static> = Start {
    name: "b",
    instance: 22,
};

fn tenure(number: u64) -> Tenure {
    Tenure::from_wire(number)
}

fn owner(roster: &Roster) -> Option<(&str, u64)> {
    let owner = roster.owner.as_ref();
    owner.map(|(name, instance)| (name.as_str(), *instance))
}

#[tokio::test]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn each_round_counts_the_own_beat_and_reads_everybody_and_a_later_start_replaces() {
    let temp = TempStore::open().await;
    let store = &temp.store;
    store.join(A).await.unwrap();
    store.join(B).await.unwrap();
    store.beat(A).await.unwrap();
    store.beat(A).await.unwrap();
    let mut roster = store.beat(B).await.unwrap();
    roster.replicas.sort_by(|x, y| x.name.cmp(&y.name));
    let beats: Vec<_> = roster
        .replicas
        .iter()
        .map(|it| (&*it.name, it.instance, it.beat))
        .collect();
    assert_eq!(beats, [("a", 11, 2), ("b", 22, 1)]);
    assert_eq!(owner(&roster), None);
    let again = Start { instance: 33, ..A };
    store.join(again).await.unwrap();
    let roster = store.beat(A).await.unwrap();
    let found = roster.replicas.iter().find(|it| it.name == "a").unwrap();
    assert_eq!((found.instance, found.beat), (33, 0));
}

#[tokio::test]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn of_two_that_saw_the_same_tenure_one_takes_the_log_and_the_other_stores_nothing() {
    let temp = TempStore::open().await;
    let first = &temp.store;
    let second = &temp.another(MysqlOptions::default()).await;
    for (store, me) in [(first, A), (second, B)] {
        store.join(me).await.unwrap();
    }
    let seen = first.beat(A).await.unwrap().tenure;
    assert!(first.claim(A, seen).await.unwrap());
    assert!(!second.claim(B, seen).await.unwrap());
    let roster = second.beat(B).await.unwrap();
    assert_eq!(
        (owner(&roster), roster.tenure),
        (Some(("a", 11)), tenure(1))
    );

    // Its writer takes what the process has, and it stays the owner.
    let mut log = Log::default();
    log.send(1, pair(1, 2), 100, "of a");
    log.commit(first).await.unwrap();
    let roster = second.beat(B).await.unwrap();
    assert_eq!(
        (owner(&roster), roster.tenure),
        (Some(("a", 11)), tenure(2))
    );

    // The other takes it over: nothing of the first is stored any more, and its writer cannot take it back.
    assert!(second.claim(B, tenure(2)).await.unwrap());
    log.send(1, pair(1, 2), 100, "late");
    let late = log.commit(first).await;
    assert!(matches!(late, Err(StoreError::Fenced(_))), "{late:?}");
    let taken = first.take(Partition::ONLY).await;
    let Err(StoreError::Fenced(lost)) = taken else {
        panic!("{taken:?}");
    };
    assert_eq!((lost.held, lost.found), (tenure(1), tenure(3)));
    let taken = second.take(Partition::ONLY).await.unwrap();
    assert_eq!((taken.tenure, taken.end.to_wire()), (tenure(4), 1));
    assert_eq!(second.log_end().await.unwrap().0.to_wire(), 1);

    // At the same time it is one of them too, whichever.
    let seen = taken.tenure;
    let (a, b) = tokio::join!(first.claim(A, seen), second.claim(B, seen));
    assert!(a.unwrap() ^ b.unwrap());
}

#[tokio::test]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn a_log_is_given_up_by_its_owner_and_by_nobody_else() {
    let temp = TempStore::open().await;
    let store = &temp.store;
    for me in [A, B] {
        store.join(me).await.unwrap();
    }
    assert!(store.claim(A, Tenure::NONE).await.unwrap());
    store.give(B).await.unwrap();
    assert_eq!(owner(&store.beat(B).await.unwrap()), Some(("a", 11)));
    store.give(Start { instance: 12, ..A }).await.unwrap();
    assert_eq!(owner(&store.beat(B).await.unwrap()), Some(("a", 11)));
    store.join(B).await.unwrap();
    store.give(A).await.unwrap();
    let roster = store.beat(B).await.unwrap();
    assert_eq!((owner(&roster), roster.tenure), (None, tenure(1)));
    let there: Vec<_> = roster.replicas.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(there, ["b"], "nobody waits for who has left");
    assert!(store.claim(B, tenure(1)).await.unwrap());
}
