//! A store by its URL: opened, maintained, backed up, put back and closed without naming its kind.

use std::path::Path;
use std::sync::Arc;

use im_order::{CommitSeq, Partition};
use im_store::{BackupError, OpenError, OpenStore, SqliteOptions, StoreKind, StorePlace, store_at};
use tokio_util::sync::CancellationToken;

use crate::log::{Log, pair};

fn at(dir: &Path) -> Box<dyn StorePlace> {
    let url = format!("sqlite://{}", dir.display());
    let kinds = [StoreKind::sqlite(SqliteOptions::default())];
    store_at(&url, &kinds).unwrap()
}

async fn end(store: &dyn OpenStore) -> u64 {
    store.log_end().await.unwrap().0.to_wire()
}

#[tokio::test]
async fn a_store_is_opened_maintained_backed_up_and_closed_by_its_url() {
    let temp = tempfile::tempdir().unwrap();
    let (place, other) = (at(&temp.path().join("a")), at(&temp.path().join("b")));
    let store = place.open().await.unwrap();
    assert!(
        matches!(place.open().await, Err(OpenError::Dir(_))),
        "it is held"
    );
    let stop = CancellationToken::new();
    let maintenance = {
        let (store, stop) = (Arc::clone(&store), stop.clone());
        tokio::spawn(async move { store.run_maintenance(stop).await })
    };
    let mut log = Log::default();
    for n in 0..3 {
        log.send(1, pair(1, 2), 10, &format!("{n}"));
        log.commit(store.as_ref()).await.unwrap();
    }
    let usage = store.usage();
    assert!(usage.log.bytes > 0 && usage.log.limit > usage.log.bytes);
    assert_eq!(usage.changes.commits, 1, "the taking of the log");

    let file = temp.path().join("copy");
    place.back_up(&file).await.unwrap();
    log.send(1, pair(1, 2), 10, "later");
    log.commit(store.as_ref()).await.unwrap();
    stop.cancel();
    maintenance.await.unwrap();
    store.close().await.unwrap();
    drop(store);

    let again = place.open().await.unwrap();
    assert_eq!(end(again.as_ref()).await, 4);
    other.restore(&file, 0).await.unwrap();
    let refused = other.restore(&file, 0).await;
    assert!(
        matches!(refused, Err(BackupError::NotEmpty(_))),
        "{refused:?}"
    );
    let restored = other.open().await.unwrap();
    let owned = restored.take(Partition::ONLY).await.unwrap();
    assert_eq!(owned.end, CommitSeq::from_wire(3));
}

#[tokio::test]
async fn nothing_is_backed_up_of_a_place_without_a_store() {
    let temp = tempfile::tempdir().unwrap();
    let place = at(&temp.path().join("none"));
    let refused = place.back_up(&temp.path().join("copy")).await;
    assert!(
        matches!(refused, Err(BackupError::NotAStore(_))),
        "{refused:?}"
    );
}
