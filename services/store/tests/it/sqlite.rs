//! What is particular to the embedded store: its log file, its limits, calls cut short.

use std::time::Duration;

use im_order::CommitSeq;
use im_store::{
    AccountStore, DataDir, DirectoryImport, DirectoryStore, GroupStore, ImportedUser, MemberChange,
    MessageStore, Preview, ReadLimit, SessionStore, SqliteOptions, SqliteStore, StoreError,
    testing::TempStore,
};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Row as _};
use tokio_util::sync::CancellationToken;

use crate::log::{Log, at, pair, standing, user};
use im_store::contract::groups::change;

fn small_log() -> SqliteOptions {
    SqliteOptions {
        checkpoint_bytes: 256 << 10,
        restart_bytes: 1 << 20,
        wal_limit_bytes: 4 << 20,
        maintenance_interval: Duration::from_millis(5),
        ..SqliteOptions::default()
    }
}

/// Stores messages of 500 bytes; an error leaves the writer's knowledge as it was.
async fn append(store: &SqliteStore, log: &mut Log, messages: u32) -> Result<(), StoreError> {
    let before = log.clone();
    for n in 0..messages {
        log.send(1, pair(1, 2 + n % 20), 10, &"x".repeat(500));
    }
    let result = log.commit(store).await;
    if result.is_err() {
        *log = before;
    }
    result
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_file_stays_short_under_constant_load() {
    let TempStore { store, dir: _dir } = TempStore::open_with(small_log()).await;
    let stop = CancellationToken::new();
    let maintenance = {
        let (store, stop) = (store.clone(), stop.clone());
        tokio::spawn(async move { store.run_maintenance(stop).await })
    };
    let mut log = Log::default();
    let mut greatest = 0;
    for _ in 0..400 {
        append(&store, &mut log, 40).await.unwrap();
        greatest = greatest.max(store.wal_bytes());
    }
    stop.cancel();
    maintenance.await.unwrap();
    // 8 MB of bodies went through it.
    assert!(greatest < 4 << 20, "{greatest}");
    assert!(greatest > 256 << 10, "{greatest}");
    assert_eq!(
        store.log_end().await.unwrap().0,
        CommitSeq::from_wire(16_000)
    );
}

#[tokio::test]
async fn one_round_of_maintenance_checkpoints_and_restarts_by_size() {
    let TempStore { store, dir: _dir } = TempStore::open_with(small_log()).await;
    let mut log = Log::default();
    append(&store, &mut log, 1).await.unwrap();
    let small = store.maintain().await.unwrap();
    assert!(
        small.used_before > 0 && small.pending > 0 && !small.restarted,
        "{small:?}"
    );
    while store.wal_bytes() < 512 << 10 {
        append(&store, &mut log, 40).await.unwrap();
    }
    let passive = store.maintain().await.unwrap();
    assert!(passive.pending == 0 && !passive.restarted, "{passive:?}");
    let before = store.wal_bytes();
    append(&store, &mut log, 1).await.unwrap();
    assert_eq!(
        store.wal_bytes(),
        before,
        "the next write starts the log again"
    );
    let fresh = store.maintain().await.unwrap();
    assert!(fresh.used_before < 128 << 10, "{fresh:?}");

    while store.wal_bytes() < 3 << 19 {
        append(&store, &mut log, 40).await.unwrap();
    }
    let restart = store.maintain().await.unwrap();
    assert!(restart.used_before > 1 << 20, "{restart:?}");
    assert!(restart.pending == 0 && restart.restarted, "{restart:?}");
    assert_eq!(store.maintain().await.unwrap().pending, 0);
}

#[tokio::test]
async fn a_quiet_store_empties_its_log() {
    let TempStore { store, dir: _dir } = TempStore::open().await;
    let mut log = Log::default();
    while store.wal_bytes() < 2 << 20 {
        append(&store, &mut log, 40).await.unwrap();
    }
    assert!(store.maintain().await.unwrap().pending > 1 << 20);
    assert_eq!(store.maintain().await.unwrap().pending, 0);
}

#[tokio::test]
async fn writes_are_refused_while_a_reader_keeps_the_log_above_its_limit() {
    let temp = TempStore::open_with(small_log()).await;
    let store = temp.store.clone();
    let mut log = Log::default();
    append(&store, &mut log, 40).await.unwrap();
    let mut reader = temp.foreign_reader().await;
    let refused = loop {
        match append(&store, &mut log, 200).await {
            Ok(()) => store.maintain().await.map(drop).unwrap(),
            Err(error) => break error,
        }
        assert!(store.wal_bytes() < 8 << 20);
    };
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
    assert!(store.wal_bytes() > 4 << 20);
    assert!(store.log_use().held, "shown from half of the limit on");
    // The old snapshot is still whole, and the store readable.
    assert_eq!(reader.messages().await, 40);
    assert_eq!(
        store.log_end().await.unwrap().0,
        CommitSeq::from_wire(log.seq)
    );
    drop(reader);
    let recovered = async {
        while append(&store, &mut log, 1).await.is_err() {
            store.maintain().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(10), recovered)
        .await
        .unwrap();
    assert!(!store.log_use().held);
    assert!(
        store.wal_bytes() <= (2 << 20) + (64 << 10),
        "cut when it started again"
    );
}

/// While a backup runs, far more than the log may grow to is stored, none of it two seconds late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_delays_no_commit_by_two_seconds_and_holds_everything_stored_before() {
    let TempStore { store, dir } = TempStore::open_with(small_log()).await;
    let stop = CancellationToken::new();
    let maintenance = {
        let (store, stop) = (store.clone(), stop.clone());
        tokio::spawn(async move { store.run_maintenance(stop).await })
    };
    let mut log = Log::default();
    for _ in 0..100 {
        append_again(&store, &mut log, 1_000).await;
    }
    let before = log.seq;
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("backup");
    let backing_up = {
        let (from, to) = (dir.path().to_path_buf(), file.clone());
        tokio::spawn(async move { im_store::backup(&from, &to).await })
    };
    let (mut slowest, mut commits) = (Duration::ZERO, 0);
    while !backing_up.is_finished() {
        let begun = tokio::time::Instant::now();
        append_again(&store, &mut log, 200).await;
        slowest = slowest.max(begun.elapsed());
        commits += 1;
    }
    backing_up.await.unwrap().unwrap();
    let end = log.seq;
    stop.cancel();
    maintenance.await.unwrap();
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    // At least 130 KB of log each: more than the log holds.
    assert!(commits * 130_000 > 4 << 20, "{commits} commits");

    let target = out.path().join("restored");
    im_store::restore(&file, &target, 0).await.unwrap();
    let data_dir = im_store::DataDir::open(&target).unwrap();
    let restored = SqliteStore::open(data_dir, small_log()).await.unwrap();
    let last = restored.log_end().await.unwrap().0.to_wire();
    assert!((before..=end).contains(&last), "{before} {last} {end}");
    assert_eq!(last % 200, 0, "no half batch");
    let entries = restored
        .read_log(CommitSeq::START, ReadLimit::rows(u32::MAX))
        .await
        .unwrap();
    assert_eq!(u64::try_from(entries.len()).unwrap(), last);
    // The newest messages that conversations know are those of the log.
    let mut raw = raw(&target).await;
    let torn: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM conversation c WHERE last_seq != \
         (SELECT max(seq) FROM message WHERE conv = c.conv)",
    )
    .fetch_one(&mut raw)
    .await
    .unwrap();
    let indexes: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND name = 'message_by_id'",
    )
    .fetch_one(&mut raw)
    .await
    .unwrap();
    assert_eq!((torn, indexes), (0, 1));
}

/// Tries until it is stored, as the writer does: this log is full after a few commits.
async fn append_again(store: &SqliteStore, log: &mut Log, count: u32) {
    while append(store, log, count).await.is_err() {
        tokio::task::yield_now().await;
    }
}

async fn raw(dir: &std::path::Path) -> sqlx::SqliteConnection {
    use sqlx::ConnectOptions;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("im.db"));
    options.read_only(true).connect().await.unwrap()
}

#[tokio::test]
async fn a_full_database_refuses_writes_until_there_is_space() {
    let TempStore { store, dir: _dir } = TempStore::open().await;
    let mut log = Log::default();
    append(&store, &mut log, 40).await.unwrap();
    let person = |name: &str| ImportedUser {
        name: name.into(),
        ..ImportedUser::default()
    };
    let import = DirectoryImport {
        users: vec![person("ann")],
        now: at(10),
    };
    store.import(&import).await.unwrap();
    let group = log.group(&store, &[1], 10).await;

    store.limit_pages(Some(1)).await.unwrap();
    let mut refused = 0;
    for _ in 0..20 {
        match append(&store, &mut log, 40).await {
            Ok(()) => {}
            Err(StoreError::Unavailable(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 10, "{refused}");
    let many = (0..2000).map(|n| person(&format!("user{n}"))).collect();
    let result = store
        .import(&DirectoryImport {
            users: many,
            now: at(10),
        })
        .await;
    assert!(
        matches!(result, Err(StoreError::Unavailable(_))),
        "{result:?}"
    );
    // Nothing of what failed is there.
    assert_eq!(
        store.log_end().await.unwrap().0,
        CommitSeq::from_wire(log.seq)
    );
    assert_eq!(
        store.users_since(at(0), 10_000).await.unwrap().users.len(),
        1
    );
    assert_eq!(store.members(group).await.unwrap().len(), 1);
    assert_eq!(
        store
            .recent_sessions(user(1), at(0), Preview::rows(100))
            .await
            .unwrap()
            .len(),
        20
    );

    store.limit_pages(None).await.unwrap();
    append(&store, &mut log, 40).await.unwrap();
    assert_eq!(
        store.log_end().await.unwrap().0,
        CommitSeq::from_wire(log.seq)
    );
}

#[tokio::test]
async fn calls_cut_short_at_any_moment_are_whole_or_nothing() {
    let TempStore { store, dir: _dir } = TempStore::open().await;
    let mut log = Log::default();
    append(&store, &mut log, 40).await.unwrap();
    let mut stored = 0;
    for micros in (0..3000).step_by(60) {
        let before = log.clone();
        let wait = Duration::from_micros(micros);
        // A large one, so that there is a middle.
        let cut = tokio::time::timeout(wait, append(&store, &mut log, 600)).await;
        let end = store.settled_end().await;
        if end == before.seq {
            assert!(cut.is_err());
            log = before;
        } else {
            assert_eq!(end, before.seq + 600);
            stored += 1;
        }
    }
    append(&store, &mut log, 1).await.unwrap();
    let entries = store
        .read_log(CommitSeq::START, ReadLimit::rows(u32::MAX))
        .await
        .unwrap();
    assert_eq!(u64::try_from(entries.len()).unwrap(), 41 + 600 * stored);
}

trait SettledEnd {
    async fn settled_end(&self) -> u64;
}

impl SettledEnd for SqliteStore {
    /// Where the log ends once a call that was cut short has come to its end.
    async fn settled_end(&self) -> u64 {
        // A write waits for its turn, and for what is left to be undone.
        self.set_push_shield(user(99), 0).await.unwrap();
        self.log_end().await.unwrap().0.to_wire()
    }
}

#[tokio::test]
async fn a_store_is_found_again_as_it_was_left() {
    let TempStore { store, dir } = TempStore::open().await;
    let mut log = Log::default();
    append(&store, &mut log, 100).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(store.wal_bytes(), 0, "merged when closed");
    drop(store);
    let data_dir = DataDir::open(dir.path()).unwrap();
    let store = SqliteStore::open(data_dir, SqliteOptions::default())
        .await
        .unwrap();
    assert_eq!(store.log_end().await.unwrap().0, CommitSeq::from_wire(100));
    append(&store, &mut log, 100).await.unwrap();
    assert_eq!(store.log_end().await.unwrap().0, CommitSeq::from_wire(200));
}

#[tokio::test]
async fn a_store_keeps_its_directory_locked() {
    let TempStore { store, dir } = TempStore::open().await;
    let clone = store.clone();
    drop(store);
    assert!(DataDir::open(dir.path()).is_err());
    drop(clone);
    DataDir::open(dir.path()).unwrap();
}

/// Bytes of the checkpointed file per message of 100 bytes with a retry key.
#[tokio::test]
async fn a_stored_message_of_100_bytes_takes_at_most_200_bytes_of_disk() {
    let TempStore { store, dir } = TempStore::open().await;
    let size = || std::fs::metadata(dir.path().join("im.db")).unwrap().len();
    let mut log = Log::default();
    let send = async |log: &mut Log| {
        for n in 0..500 {
            let other = 2 + (n * 7919 + u32::try_from(log.seq).unwrap()) % 1000;
            let row = log.send(1, pair(1, other), 1_700_000_000, &"x".repeat(100));
            row.key = Some(crate::log::key(7));
        }
        log.commit(&store).await.unwrap();
    };
    for _ in 0..4 {
        send(&mut log).await;
    }
    store.checkpoint_now().await;
    let before = size();
    for _ in 0..40 {
        send(&mut log).await;
    }
    store.checkpoint_now().await;
    let each = (size() - before) / (40 * 500);
    assert!((100..=200).contains(&each), "{each}");
}

trait CheckpointNow {
    async fn checkpoint_now(&self);
}

impl CheckpointNow for SqliteStore {
    /// Merges the log into the database file.
    async fn checkpoint_now(&self) {
        use sqlx::{ConnectOptions, Executor};
        let mut connection = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(self.data_dir().database())
            .connect()
            .await
            .unwrap();
        connection
            .execute("PRAGMA wal_checkpoint(TRUNCATE)")
            .await
            .unwrap();
    }
}

/// A database of an earlier version has pages of 4 KiB: it keeps them, and its log is measured in them.
#[tokio::test]
async fn a_database_keeps_the_size_of_its_pages() {
    use sqlx::{ConnectOptions, Executor};

    async fn page_bytes(dir: &std::path::Path) -> i64 {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("im.db"));
        let mut connection = options.connect().await.unwrap();
        sqlx::query_scalar("PRAGMA page_size")
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }

    let fresh = TempStore::open_with(small_log()).await;
    assert_eq!(page_bytes(fresh.dir.path()).await, 1024);

    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(dir.path()).unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(data.database())
        .create_if_missing(true)
        .page_size(4096);
    let mut old = options.connect().await.unwrap();
    old.execute("CREATE TABLE earlier (n INTEGER)")
        .await
        .unwrap();
    sqlx::Connection::close(old).await.unwrap();
    let store = SqliteStore::open(data, small_log()).await.unwrap();
    append(&store, &mut Log::default(), 40).await.unwrap();
    assert_eq!(page_bytes(dir.path()).await, 4096);
    let found = store.maintain().await.unwrap();
    assert!(
        found.used_before > 0 && found.used_before % (4096 + 24) == 0,
        "{found:?}"
    );
}

/// S-62: a member who left keeps a row, which says when and by whom, and begins anew when they join again.
#[tokio::test]
async fn who_has_left_keeps_a_row_with_its_time_and_author() {
    let TempStore { store, dir } = TempStore::open().await;
    let mut log = Log::default();
    let group = log.group(&store, &[1, 2, 3], 7).await;
    let mut reader = SqliteConnectOptions::new()
        .filename(dir.path().join("im.db"))
        .read_only(true)
        .connect()
        .await
        .unwrap();
    for (step, is_member) in [(MemberChange::Remove, 0), (MemberChange::Add, 1)] {
        let fence = standing(&store).await;
        store
            .change_members(fence, &change(group, step, &[2], 0))
            .await
            .unwrap();
        let row = sqlx::query(
            "SELECT active, created, updated, changed_by FROM member WHERE user = 2 AND grouped = 1",
        )
        .fetch_all(&mut reader)
        .await
        .unwrap();
        let [row] = row.as_slice() else {
            panic!("one row is kept");
        };
        let found: [i64; 4] = [0, 1, 2, 3].map(|column| row.get(column));
        assert_eq!(found, [is_member, 7, 1000, 1]);
    }
}
