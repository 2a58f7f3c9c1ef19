//! The partition's row of the embedded store: stores from before there was one, and rows that were
//! tampered with.

use std::path::Path;

use im_core::ClientType;
use im_order::{CommitSeq, Partition};
use im_store::{
    ConversationRow, DataDir, DeviceStore, MessageStore, PushTarget, ReadLimit, SqliteOptions,
    SqliteStore, StoreError, TenureStore, testing::TempStore,
};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, SqlSafeStr};

use crate::log::{Known, Log, pair, user};

async fn three_more(store: &SqliteStore, log: &mut Log) -> Result<(), StoreError> {
    for _ in 0..3 {
        log.send(1, pair(1, 2), 10, "x");
    }
    log.commit(store).await
}

/// As a version without partitions made it.
pub(crate) async fn of_version_four(dir: &Path) -> SqliteConnection {
    let steps = [
        (
            1,
            "initial",
            include_str!("../../migrations/0001_initial.sql"),
        ),
        (
            2,
            "logins",
            include_str!("../../migrations/0002_logins.sql"),
        ),
        (
            3,
            "stored",
            include_str!("../../migrations/0003_stored.sql"),
        ),
        (4, "gaps", include_str!("../../migrations/0004_gaps.sql")),
    ];
    let steps = steps.map(|(version, name, text)| {
        let text = text.into_sql_str();
        Migration::new(version, name.into(), MigrationType::Simple, text, false)
    });
    let options = SqliteConnectOptions::new().filename(dir.join("im.db"));
    let mut connection = options.create_if_missing(true).connect().await.unwrap();
    let migrator = Migrator::with_migrations(steps.into());
    migrator.run(&mut connection).await.unwrap();
    connection
}

/// A person had one token then.
#[tokio::test]
async fn tokens_of_a_version_with_one_per_person_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut old = of_version_four(dir.path()).await;
    sqlx::query("INSERT INTO device_token VALUES (7, 17, 'phone'), (8, 18, 'other')")
        .execute(&mut old)
        .await
        .unwrap();
    old.close().await.unwrap();
    let options = SqliteOptions::default();
    let store = SqliteStore::open(DataDir::open(dir.path()).unwrap(), options).await;
    let told = store.unwrap().push_targets(&[user(7)]).await.unwrap();
    let expected = PushTarget {
        user: user(7),
        client_type: ClientType::Ios,
        token: "phone".to_owned(),
        session: 0,
    };
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].target, expected);
}

#[tokio::test]
async fn a_store_of_a_version_without_partitions_goes_on_where_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut old = of_version_four(dir.path()).await;
    for statement in [
        "INSERT INTO conversation VALUES (1, 1, 1, 2, 2, 2, 10, 2)",
        "INSERT INTO member VALUES (1, 1, 0, 1, 0, 0, 0, NULL, 10, 10, NULL)",
        "INSERT INTO member VALUES (2, 1, 0, 1, 0, 0, 0, NULL, 10, 10, NULL)",
        "INSERT INTO message VALUES (1, 1, 1, 1, 1, 10, 1, NULL, x'61')",
        "INSERT INTO message VALUES (2, 1, 2, 1, 1, 10, 2, NULL, x'62')",
    ] {
        sqlx::query(statement).execute(&mut old).await.unwrap();
    }
    old.close().await.unwrap();

    let options = SqliteOptions::default();
    let data_dir = DataDir::open(dir.path()).unwrap();
    let store = SqliteStore::open(data_dir, options.clone()).await.unwrap();
    let owned = store.take(Partition::ONLY).await.unwrap();
    assert_eq!((owned.tenure.to_wire(), owned.end.to_wire()), (1, 2));
    let mut log = Log {
        tenure: owned.tenure,
        seq: 2,
        rows: 1,
        ..Log::default()
    };
    let known = Known {
        row: ConversationRow(1),
        last_id: 2,
        low_sent: 2,
    };
    log.known.insert(pair(1, 2), known);
    log.send(2, pair(1, 2), 20, "c");
    log.send(2, pair(2, 3), 20, "d");
    log.commit(&store).await.unwrap();
    let history = store.history(pair(1, 2), None, 0, ReadLimit::rows(9)).await;
    let history = history.unwrap();
    let bodies: Vec<&[u8]> = history.iter().map(|message| &message.body[..]).collect();
    assert_eq!(bodies, [b"c", b"b", b"a"]);
    store.close().await.unwrap();
    drop(store);

    let data_dir = DataDir::open(dir.path()).unwrap();
    let store = SqliteStore::open(data_dir, options).await.unwrap();
    let owned = store.take(Partition::ONLY).await.unwrap();
    assert_eq!((owned.tenure.to_wire(), owned.end.to_wire()), (2, 4));
}

#[tokio::test]
async fn an_empty_store_of_a_version_without_partitions_begins_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let old = of_version_four(dir.path()).await;
    old.close().await.unwrap();
    let data_dir = DataDir::open(dir.path()).unwrap();
    let store = SqliteStore::open(data_dir, SqliteOptions::default())
        .await
        .unwrap();
    let mut log = Log::default();
    three_more(&store, &mut log).await.unwrap();
    assert_eq!(store.log_end().await.unwrap().0, CommitSeq::from_wire(3));
}

/// Changes the row of the partition as no owner does.
async fn tamper(dir: &Path, statement: &'static str) {
    let options = SqliteConnectOptions::new().filename(dir.join("im.db"));
    let mut other = options.connect().await.unwrap();
    sqlx::query(statement).execute(&mut other).await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test]
async fn a_process_that_got_past_the_lock_and_took_the_log_ends_our_tenure() {
    let TempStore { store, dir } = TempStore::open().await;
    let mut log = Log::default();
    three_more(&store, &mut log).await.unwrap();
    tamper(dir.path(), "UPDATE part SET tenure = tenure + 1").await;
    let result = three_more(&store, &mut log).await;
    assert!(matches!(result, Err(StoreError::Fenced(_))), "{result:?}");
    assert_eq!(store.log_end().await.unwrap().0, CommitSeq::from_wire(3));
}

#[tokio::test]
async fn a_log_that_ends_elsewhere_than_its_partition_says_is_not_taken() {
    let TempStore { store, dir } = TempStore::open().await;
    let mut log = Log::default();
    three_more(&store, &mut log).await.unwrap();
    tamper(dir.path(), "UPDATE part SET last_seq = 2").await;
    let result = store.take(Partition::ONLY).await;
    match result {
        Err(StoreError::Corrupt(text)) => {
            assert_eq!(text, "partition 0 ends at 2, its newest message is 3");
        }
        other => panic!("{other:?}"),
    }
    let owned = store.ownership(Partition::ONLY).await.unwrap();
    assert_eq!(owned.tenure, log.tenure, "nothing of the taking is stored");
    tamper(dir.path(), "DELETE FROM part").await;
    let result = store.take(Partition::ONLY).await;
    assert!(matches!(result, Err(StoreError::Corrupt(_))), "{result:?}");
}
