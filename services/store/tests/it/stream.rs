//! Backups that leave as a stream, and restores into volumes that are new.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use im_store::{BackupError, DataDir, backup, restore, restore_stream, spool, testing::TempStore};

use crate::backup::{open, stored};
use crate::log::{Log, pair};

/// A store with so many messages.
async fn with_messages(count: u32) -> TempStore {
    let temp = TempStore::open().await;
    let mut log = Log::default();
    for n in 0..count {
        log.send(1, pair(1, 2 + n % 50), 10, "some text to fill pages with");
    }
    log.commit(&temp.store).await.unwrap();
    temp
}

async fn streamed(dir: &Path) -> Vec<u8> {
    let copy = spool(dir, 0).await.unwrap();
    let mut out = Vec::new();
    let said = copy.bytes().unwrap();
    assert_eq!(copy.write_to(&mut out).unwrap(), said);
    out
}

/// The names in a directory.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_stream_is_a_backup_and_leaves_its_time_beside_the_store_and_nothing_else() {
    let TempStore { store, dir } = with_messages(300).await;
    let mut expected = names(dir.path());
    let bytes = streamed(dir.path()).await;
    expected.push("last-backup".to_owned());
    expected.sort();
    assert_eq!(names(dir.path()), expected);
    drop(store);

    let out = tempfile::tempdir().unwrap();
    let stream = out.path().join("stream");
    fs::write(&stream, bytes).unwrap();
    let target = out.path().join("restored");
    let source = File::open(&stream).unwrap();
    restore_stream(source, Path::new("standard input"), &target, 0)
        .await
        .unwrap();
    assert_eq!(stored(&open(&target).await).await, 300);
}

#[tokio::test]
async fn one_copy_for_a_stream_is_made_at_a_time() {
    let TempStore { store: _store, dir } = with_messages(1).await;
    let first = spool(dir.path(), 0).await.unwrap();
    let error = spool(dir.path(), 0).await.unwrap_err();
    assert!(matches!(error, BackupError::Busy(_)), "{error}");
    drop(first);
    spool(dir.path(), 0).await.unwrap();
}

#[tokio::test]
async fn a_copy_that_would_leave_too_little_room_is_not_begun() {
    let TempStore { store: _store, dir } = with_messages(1).await;
    let before = names(dir.path());
    let error = spool(dir.path(), u64::MAX).await.unwrap_err();
    assert!(
        matches!(error, BackupError::NoRoom { needed: 1.., .. }),
        "{error}"
    );
    assert!(error.to_string().contains("bytes are free"), "{error}");
    assert_eq!(names(dir.path()), before);
}

/// A process that was killed while it wrote cannot clean up.
#[tokio::test]
async fn what_a_killed_backup_has_left_goes_with_the_next_start_and_never_enters_a_backup() {
    let TempStore { store, dir } = with_messages(300).await;
    let left = dir.path().join("backup.partial");
    fs::write(&left, "x".repeat(10_000_000)).unwrap();
    let bytes = streamed(dir.path()).await;
    assert!(bytes.starts_with(b"SQLite format 3\0") && bytes.len() < 1_000_000);
    assert!(!left.try_exists().unwrap());

    fs::write(&left, "half").unwrap();
    drop(store);
    let dir_of = DataDir::open(dir.path()).unwrap();
    assert!(!left.try_exists().unwrap());
    drop(dir_of);
}

#[tokio::test]
async fn a_server_that_starts_leaves_the_copy_of_a_backup_alone_that_is_under_way() {
    let TempStore { store, dir } = with_messages(300).await;
    let copy = spool(dir.path(), 0).await.unwrap();
    drop(store);
    let held = DataDir::open(dir.path()).unwrap();
    assert!(dir.path().join("backup.partial").try_exists().unwrap());
    let said = copy.bytes().unwrap();
    assert_eq!(copy.write_to(&mut io::sink()).unwrap(), said);
    drop(held);
}

#[tokio::test]
async fn a_stream_that_was_cut_off_is_refused_with_both_lengths_and_nothing_changes() {
    let TempStore { store: _store, dir } = with_messages(2000).await;
    let bytes = streamed(dir.path()).await;
    let out = tempfile::tempdir().unwrap();
    let (file, target) = (out.path().join("file"), out.path().join("target"));
    for found in [100, 5000, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&file, &bytes[..found]).unwrap();
        let source = File::open(&file).unwrap();
        let error = restore_stream(source, Path::new("standard input"), &target, 0)
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "read standard input: it ends after {found} of {} bytes, so it was cut off: make \
                 another backup, or copy it again",
                bytes.len()
            )
        );
        assert_eq!(names(&target), ["lock"]);
    }
    // The same directory still takes the whole one.
    fs::write(&file, &bytes).unwrap();
    restore(&file, &target, 0).await.unwrap();
    assert_eq!(stored(&open(&target).await).await, 2000);
}

#[tokio::test]
async fn a_new_volume_with_lost_and_found_is_restored_into() {
    let TempStore { store: _store, dir } = with_messages(10).await;
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("file");
    backup(dir.path(), &file).await.unwrap();
    let volume = out.path().join("volume");
    fs::create_dir_all(volume.join("lost+found")).unwrap();
    restore(&file, &volume, 0).await.unwrap();
    assert_eq!(names(&volume), ["im.db", "lock", "lost+found", "version"]);
    assert_eq!(stored(&open(&volume).await).await, 10);

    let other = out.path().join("other");
    fs::create_dir_all(&other).unwrap();
    fs::write(
        other.join("lost+found"),
        "a file, which no file system makes",
    )
    .unwrap();
    let error = restore(&file, &other, 0).await.unwrap_err();
    assert!(matches!(error, BackupError::NotEmpty(_)), "{error}");
}
