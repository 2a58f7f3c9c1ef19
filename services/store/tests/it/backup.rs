//! Backup and restore.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use im_core::time::UnixSeconds;
use im_order::CommitSeq;
use im_store::{
    BackupError, ChangeLogStore as _, Changed, DataDir, DataDirError, DirectoryImport,
    DirectoryStore as _, ImportedUser, MessageStore, ReadLimit, SqliteOptions, SqliteStore,
    StoreLife as _, backup, restore, testing::TempStore,
};

use crate::log::{Log, at, pair};

pub(crate) async fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(DataDir::open(dir).unwrap(), SqliteOptions::default())
        .await
        .unwrap()
}

pub(crate) async fn stored(store: &SqliteStore) -> u64 {
    let end = store.log_end().await.unwrap().0.to_wire();
    let entries = store
        .read_log(CommitSeq::START, ReadLimit::rows(u32::MAX))
        .await
        .unwrap();
    assert_eq!(u64::try_from(entries.len()).unwrap(), end);
    end
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_made_under_load_is_one_moment_of_the_store() {
    let TempStore { store, dir } = TempStore::open().await;
    let file = dir.path().join("backup");
    assert_eq!(store.last_backup().await, None);
    let before = UnixSeconds::now();
    let mut log = Log::default();
    for _ in 0..500 {
        log.send(1, pair(1, 2), 10, &"x".repeat(1000));
    }
    log.commit(&store).await.unwrap();
    let backing_up = {
        let (from, to) = (dir.path().to_path_buf(), file.clone());
        tokio::spawn(async move { backup(&from, &to).await })
    };
    while !backing_up.is_finished() {
        log.send(1, pair(1, 3), 10, "meanwhile");
        log.send(2, pair(1, 2), 10, "meanwhile");
        log.commit(&store).await.unwrap();
    }
    backing_up.await.unwrap().unwrap();
    assert!(
        store.last_backup().await.is_some_and(|at| at >= before),
        "whoever serves the store knows of it"
    );
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let other = tempfile::tempdir().unwrap();
    let target = other.path().join("restored");
    restore(&file, &target, 0).await.unwrap();
    let restored = open(&target).await;
    let end = stored(&restored).await;
    assert!((500..=log.seq).contains(&end), "{end}");
    assert_eq!(end % 2, 0, "no half batch");
    // It goes on where it was.
    let mut next = Log {
        seq: end,
        rows: 2,
        ..Log::default()
    };
    next.send(5, pair(5, 6), 20, "after");
    next.commit(&restored).await.unwrap();
    assert_eq!(stored(&restored).await, end + 1);
}

#[tokio::test]
async fn a_restored_store_writes_changes_behind_those_before_and_gives_no_id_again() {
    let TempStore { store, dir } = TempStore::open().await;
    let person = |name: &str| ImportedUser {
        name: name.into(),
        ..ImportedUser::default()
    };
    let import = async |store: &SqliteStore, name: &str| {
        let import = DirectoryImport {
            users: vec![person(name)],
            now: at(10),
        };
        store.import(&import).await.unwrap();
    };
    import(&store, "ann").await;
    import(&store, "ben").await;
    let later = UnixSeconds::now().saturating_add(100);
    assert_eq!(store.trim_changes(later, 9).await.unwrap(), 2);
    let end = store.change_log_end().await.unwrap();
    let file = dir.path().join("backup");
    backup(dir.path(), &file).await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let target = other.path().join("restored");
    restore(&file, &target, 0).await.unwrap();
    let restored = open(&target).await;
    assert_eq!(restored.change_log_end().await.unwrap(), end);
    import(&restored, "cat").await;
    let changes = restored.changes_after(end, 9).await.unwrap();
    let changed: Vec<_> = changes.into_iter().map(|row| row.changed).collect();
    assert_eq!(changed, [Changed::Person(3)]);
}

#[tokio::test]
async fn a_backup_never_overwrites() {
    let TempStore { store: _store, dir } = TempStore::open().await;
    let file = dir.path().join("backup");
    std::fs::write(&file, "precious").unwrap();
    let error = backup(dir.path(), &file).await.unwrap_err();
    assert!(matches!(error, BackupError::Exists(_)), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[tokio::test]
async fn a_failed_backup_leaves_nothing_behind() {
    let TempStore { store, dir } = TempStore::open().await;
    store.close().await.unwrap();
    drop(store);
    std::fs::write(dir.path().join("im.db"), "x".repeat(10_000)).unwrap();
    let out = tempfile::tempdir().unwrap();
    let error = backup(dir.path(), &out.path().join("backup"))
        .await
        .unwrap_err();
    assert!(matches!(error, BackupError::Database(_)), "{error}");
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn there_is_nothing_to_back_up_without_a_store() {
    let temp = tempfile::tempdir().unwrap();
    let error = backup(temp.path(), &temp.path().join("backup"))
        .await
        .unwrap_err();
    assert!(matches!(error, BackupError::NotAStore(_)), "{error}");
}

#[tokio::test]
async fn restores_only_into_an_empty_directory_that_nobody_holds() {
    let TempStore { store, dir } = TempStore::open().await;
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("backup");
    backup(dir.path(), &file).await.unwrap();
    let error = restore(&file, dir.path(), 0).await.unwrap_err();
    assert!(
        matches!(error, BackupError::Dir(DataDirError::Held { .. })),
        "{error}"
    );
    drop(store);
    let error = restore(&file, out.path(), 0).await.unwrap_err();
    assert!(matches!(error, BackupError::NotEmpty(_)), "{error}");
}

#[tokio::test]
async fn damaged_and_foreign_files_are_not_restored() {
    let TempStore { store, dir } = TempStore::open().await;
    let mut log = Log::default();
    for n in 0..2000 {
        log.send(1, pair(1, 2 + n % 50), 10, "some text to fill pages with");
    }
    log.commit(&store).await.unwrap();
    let out = tempfile::tempdir().unwrap();
    let good = out.path().join("good");
    backup(dir.path(), &good).await.unwrap();
    let bytes = std::fs::read(&good).unwrap();

    let mut flipped = bytes.clone();
    for at in (40_000..flipped.len() - 4096).step_by(4096) {
        flipped[at..at + 64].fill(0xff);
    }
    for (name, content) in [
        ("truncated", &bytes[..bytes.len() / 2]),
        ("flipped", &flipped),
        (
            "text",
            b"not a database, but long enough to be looked at as one",
        ),
        ("nothing", b""),
    ] {
        let file = out.path().join(name);
        std::fs::write(&file, content).unwrap();
        let target = out.path().join(format!("from-{name}"));
        let error = restore(&file, &target, 0).await.unwrap_err();
        assert!(
            matches!(
                error,
                BackupError::CutOff { .. } | BackupError::Damaged { .. } | BackupError::NoBackup(_)
            ),
            "{name}: {error}"
        );
        assert!(
            error.to_string().contains(&file.display().to_string()),
            "what was named: {error}"
        );
        assert!(!target.join("im.db").try_exists().unwrap());
        // The same directory still takes the good one.
        restore(&good, &target, 0).await.unwrap();
        assert_eq!(stored(&open(&target).await).await, 2000);
    }
    let error = restore(&out.path().join("missing"), &out.path().join("x"), 0)
        .await
        .unwrap_err();
    assert!(matches!(error, BackupError::NoBackup(_)), "{error}");
}
