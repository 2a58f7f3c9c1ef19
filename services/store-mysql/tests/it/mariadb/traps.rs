//! What looks right on a MySQL-protocol server and is not: each is a test.

use std::collections::BTreeSet;
use std::time::Duration;

use im_core::UserId;
use im_core::time::UnixSeconds;
use im_order::{CommitSeq, Partition};
use im_store::contract::accounts::{import, person};
use im_store::contract::log::{Log, pair};
use im_store::{
    AccountStore as _, ChangeLogStore as _, Changed, DirectoryStore as _, MessageStore as _,
    Preview, ReadLimit, SessionStore as _, StoreError, TenureStore as _,
};
use im_store_mysql::{MysqlOptions, MysqlStore};
use sqlx::Row as _;
use tokio::time::Instant;

use crate::server::{Server, TempStore, run};

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(60);

fn user(id: u32) -> UserId {
    UserId::from_wire(id).unwrap()
}

fn at(seconds: u32) -> UnixSeconds {
    UnixSeconds::from_wire(seconds)
}

/// Without strict mode a server takes a broken fence for a whole one.
#[tokio::test]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn a_server_without_strict_mode_is_told_to_be_strict() {
    let server = Server::start().await;
    let mut root = server.root().await;
    run(&mut root, "SET GLOBAL sql_mode = ''".to_owned()).await;
    let store = MysqlStore::open(server.database("im"), MysqlOptions::default()).await;
    let store = store.unwrap();
    let mut log = Log::default();
    log.send(1, pair(1, 2), 100, "first");
    log.commit(&store).await.unwrap();
    let mut former = log.clone();
    log.tenure = store.take(Partition::ONLY).await.unwrap().tenure;
    former.send(1, pair(1, 2), 100, "late");
    let late = former.commit(&store).await;
    assert!(matches!(late, Err(StoreError::Fenced(_))), "{late:?}");
    log.send(1, pair(1, 2), 100, "second");
    log.commit(&store).await.unwrap();
    assert_eq!(store.log_end().await.unwrap().0, CommitSeq::from_wire(2));
}

/// `COMMIT` behind a text that has failed would store what it had done until then.
#[tokio::test]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn a_batch_that_fails_half_way_leaves_nothing_for_the_next_one_to_commit() {
    let TempStore {
        store,
        lease: _lease,
    } = TempStore::open().await;
    let mut log = Log::default();
    log.send(1, pair(1, 2), 100, "first");
    log.commit(&store).await.unwrap();
    let mut bad = log.clone();
    bad.known.get_mut(&pair(1, 2)).unwrap().last_id = 0;
    bad.send(1, pair(1, 3), 100, "never");
    bad.send(1, pair(1, 2), 100, "never");
    let refused = bad.commit(&store).await;
    assert!(matches!(refused, Err(StoreError::Outdated)), "{refused:?}");
    let owned = store.ownership(Partition::ONLY).await.unwrap();
    assert_eq!(owned.end, CommitSeq::from_wire(1));
    log.send(1, pair(1, 3), 100, "second");
    log.commit(&store).await.unwrap();
    let read = store
        .read_log(CommitSeq::START, ReadLimit::rows(9))
        .await
        .unwrap();
    let bodies: Vec<&[u8]> = read.iter().map(|entry| &entry.message.body[..]).collect();
    assert_eq!(bodies, [b"first".as_slice(), b"second"]);
}

/// Collations of MySQL take no heed of spaces at the end, and most of case and accents.
#[tokio::test]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn names_are_one_only_if_they_are_the_same_byte_by_byte() {
    let TempStore {
        store,
        lease: _lease,
    } = TempStore::open().await;
    let names = ["ann", "ann ", "Ann", "änn", "ann\u{e9}", "anne\u{301}"];
    import(&store, names.iter().map(|name| person(name)).collect(), 10).await;
    for (id, name) in (1..).zip(names) {
        let found = store.profile_by_name(name).await.unwrap().unwrap();
        assert_eq!(found.id.get(), id, "{name:?}");
    }
    assert_eq!(store.profile_by_name("ANN").await.unwrap(), None);
    for (address, count) in [("a", 2), ("a ", 1)] {
        for _ in 0..count {
            let failure = im_store::NewFailure {
                name: "ann ",
                known: true,
                addresses: &[address],
                now: at(100),
                since: at(0),
                max_pairs: 100,
                kept_above: 100,
            };
            store.add_login_failure(&failure).await.unwrap();
        }
    }
    let counts = store
        .login_failures("ann ", &["a", "a "], at(0), at(100))
        .await;
    assert_eq!(counts.unwrap(), [2, 1]);
    let none = store
        .login_failures("ann", &["a", "a "], at(0), at(100))
        .await;
    assert_eq!(none.unwrap(), [0, 0]);
}

/// Counters that are read and then written give a number twice; those that are not locked up to the commit give them in another
/// order than that of commits, so that a reader passes one that comes later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn two_processes_that_change_the_directory_miss_and_repeat_no_stamp_and_no_place() {
    // All wait for one row; a slow machine has its time.
    let options = MysqlOptions {
        acquire_timeout: LIMIT,
        lock_timeout: LIMIT,
        ..MysqlOptions::default()
    };
    let temp = TempStore::open_with(options.clone()).await;
    let people = (1..=8).map(|n| person(&format!("u{n}")));
    import(&temp.store, people.collect(), 10).await;
    let start = temp.store.change_log_end().await.unwrap();
    let stores = [temp.store.clone(), temp.another(options).await];
    let mut tasks = Vec::new();
    for (at_store, store) in stores.into_iter().enumerate() {
        for id in 1..=8 {
            let store = store.clone();
            tasks.push(tokio::spawn(async move {
                for round in 0..3 {
                    let text = format!("{at_store} {round}");
                    store.set_signature(user(id), &text, at(10)).await.unwrap();
                }
            }));
        }
    }
    let mut found = Vec::new();
    let mut after = start;
    // Reads on while they write: each change in its turn, none twice.
    let end = Instant::now() + LIMIT;
    while found.len() < 48 {
        assert!(Instant::now() < end, "{} changes", found.len());
        let rows = temp.store.changes_after(after, 5).await.unwrap();
        after = rows.last().map_or(after, |row| row.seq);
        found.extend(rows);
    }
    for task in tasks {
        task.await.unwrap();
    }
    let places: Vec<u64> = found.iter().map(|row| row.seq.to_wire()).collect();
    let first = start.to_wire() + 1;
    assert_eq!(places, (first..first + 48).collect::<Vec<_>>());
    let stamps: BTreeSet<u32> = found.iter().map(|row| row.value).collect();
    assert_eq!(stamps.len(), 48, "one stamp each");
    assert!(
        found
            .iter()
            .all(|row| matches!(row.changed, Changed::Person(_)))
    );
    let newest = temp.store.directory_stamp().await.unwrap();
    assert_eq!(Some(&newest.get()), stamps.last());
}

/// A batch that does not fit into what the server takes at once.
#[tokio::test]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn a_batch_of_any_size_is_one_transaction() {
    let options = MysqlOptions {
        text_bytes: 10_000,
        ..MysqlOptions::default()
    };
    let TempStore {
        store,
        lease: _lease,
    } = TempStore::open_with(options).await;
    let mut log = Log::default();
    for n in 0..200 {
        log.send(1, pair(1, 2 + n % 70), 100, &"x".repeat(900));
    }
    let mut bad = log.clone();
    bad.tenure = store.take(Partition::ONLY).await.unwrap().tenure;
    log.tenure = store.take(Partition::ONLY).await.unwrap().tenure;
    let refused = bad.commit(&store).await;
    assert!(matches!(refused, Err(StoreError::Fenced(_))), "{refused:?}");
    assert_eq!(store.log_end().await.unwrap().0, CommitSeq::START);
    log.commit(&store).await.unwrap();
    assert_eq!(store.log_end().await.unwrap().0, CommitSeq::from_wire(200));
    let recent = store
        .recent_sessions(user(1), at(0), Preview::rows(100))
        .await;
    assert_eq!(recent.unwrap().len(), 70);
}

/// The receipts of transactions do not pile up, and none is forgotten that somebody may still ask for.
#[tokio::test]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn receipts_of_old_transactions_are_forgotten() {
    let temp = TempStore::open().await;
    import(&temp.store, vec![person("ann")], 10).await;
    assert_eq!(temp.store.forget_receipts().await.unwrap(), 0);
    let mut connection = temp.connection().await;
    run(
        &mut connection,
        "UPDATE receipt SET at = at - 601".to_owned(),
    )
    .await;
    temp.store
        .set_signature(user(1), "x", at(10))
        .await
        .unwrap();
    assert!(temp.store.forget_receipts().await.unwrap() > 0);
    let left = sqlx::query("SELECT count(*) FROM receipt")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(left.get::<i64, _>(0), 1);
}

/// A database that was put back may skip ids: the log goes on behind them, and nobody counts them as unread.
#[tokio::test]
#[ignore = "needs MariaDB, which MARIADB names"]
async fn ids_that_a_restore_skips_are_neither_given_nor_counted() {
    let temp = TempStore::open().await;
    let store = &temp.store;
    let mut log = Log::default();
    for _ in 0..3 {
        log.send(1, pair(1, 2), 100, "x");
    }
    log.commit(store).await.unwrap();
    // As the document says.
    let page = include_str!("../../../../../docs/production-stores.md");
    let (_, skip) = page
        .split_once("because it needs a restored database\n")
        .unwrap();
    let (skip, _) = skip.split_once("```").unwrap();
    run(&mut temp.connection().await, skip.to_owned()).await;
    assert_eq!(store.skipped_ids().await.unwrap(), 100_000);
    let states = store.conversation_states(&[pair(1, 2)]).await.unwrap();
    assert_eq!(states[0].as_ref().unwrap().last_id, 100_003);
    log.known.get_mut(&pair(1, 2)).unwrap().last_id = 100_003;
    log.send(1, pair(1, 2), 101, "y");
    log.commit(store).await.unwrap();
    let unread = store
        .unread_sessions(user(2), &[], Preview::rows(9))
        .await
        .unwrap();
    assert_eq!((unread.total, unread.views[0].skipped), (4, 100_000));
    // A pair that begins now skips as many.
    for (skipped, is_right) in [(99_999, false), (100_000, true)] {
        let mut next = log.clone();
        next.send(1, pair(1, 3), 102, "z");
        let first = next.batch.messages.last_mut().unwrap();
        first.msg_id = im_store::contract::log::id(skipped + 1);
        let sent = next.commit(store).await;
        assert_eq!(sent.is_ok(), is_right, "{sent:?}");
        assert!(is_right || matches!(sent, Err(StoreError::Outdated)));
    }
    assert_eq!(
        store
            .latest_id(pair(1, 3))
            .await
            .unwrap()
            .map(im_core::MsgId::get),
        Some(100_001)
    );
}
