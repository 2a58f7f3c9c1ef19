use std::collections::BTreeSet;

use bytes::Bytes;
use futures::future::join_all;
use im_blob::{
    BlobError, BlobInfo, BlobMeta, BlobName, BlobStore, LIST_MAX, Put, READ_MAX, expire,
};
use im_core::time::UnixSeconds;

/// 0, 1, 2 … in a pattern that no shifted copy of it equals.
fn content(bytes: usize) -> Bytes {
    (0..bytes).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

fn put(bound: u64) -> Put {
    Put {
        name: BlobName::random(),
        meta: BlobMeta::new("text/plain", "tag").unwrap(),
        bound,
        expected: bound,
    }
}

/// Writes it in parts of this size.
async fn store_in_parts(store: &dyn BlobStore, put: Put, bytes: &Bytes, part: usize) -> BlobInfo {
    let mut writer = store.begin(put).await.unwrap();
    for start in (0..bytes.len()).step_by(part) {
        let end = bytes.len().min(start + part);
        writer.write(bytes.slice(start..end)).await.unwrap();
        assert_eq!(writer.written(), end as u64);
    }
    writer.finish().await.unwrap()
}

async fn store_one(store: &dyn BlobStore, bytes: &Bytes) -> BlobInfo {
    store_in_parts(store, put(bytes.len() as u64), bytes, 1000).await
}

async fn names(store: &dyn BlobStore) -> BTreeSet<BlobName> {
    let page = store.list(None, LIST_MAX).await.unwrap();
    assert_eq!((page.next, page.corrupt), (None, 0));
    page.blobs.iter().map(|blob| blob.name).collect()
}

pub(super) async fn what_was_written_is_read_back_with_its_hash_and_description(
    store: &dyn BlobStore,
) {
    let bytes = content(100_000);
    let before = UnixSeconds::now();
    let meta = BlobMeta::new("image/png", Bytes::from_static(&[0, 255, 10])).unwrap();
    let mut put = put(100_000);
    put.meta = meta.clone();
    let info = store_in_parts(store, put.clone(), &bytes, 32_768).await;
    assert_eq!(info.name, put.name);
    assert_eq!(info.size, 100_000);
    assert_eq!(info.blake3, *blake3::hash(&bytes).as_bytes());
    assert_eq!(info.meta, meta);
    assert!((before..=UnixSeconds::now()).contains(&info.created));
    assert_eq!(store.head(put.name).await.unwrap(), info);
    let reader = store.open(put.name).await.unwrap();
    assert_eq!(reader.info(), &info);
    assert_eq!(reader.read(0, READ_MAX).await.unwrap(), bytes);
}

pub(super) async fn an_empty_blob_is_a_blob(store: &dyn BlobStore) {
    let info = store_one(store, &Bytes::new()).await;
    assert_eq!(info.size, 0);
    let reader = store.open(info.name).await.unwrap();
    assert_eq!(reader.read(0, 10).await.unwrap(), Bytes::new());
}

pub(super) async fn parts_are_read_from_any_offset_and_end_with_the_blob(store: &dyn BlobStore) {
    let bytes = content(10_000);
    let info = store_one(store, &bytes).await;
    let reader = store.open(info.name).await.unwrap();
    for (offset, length) in [(0, 1), (1, 9_998), (4_095, 2), (9_999, 1), (0, 0)] {
        let part = reader.read(offset as u64, length).await.unwrap();
        assert_eq!(
            part,
            bytes.slice(offset..offset + length),
            "{offset} {length}"
        );
    }
    let last = reader.read(9_990, 32_768).await.unwrap();
    assert_eq!(last, bytes.slice(9_990..));
    let none = reader.read(10_000, 32_768).await.unwrap();
    assert!(
        none.is_empty(),
        "nothing of what is kept beside the content"
    );
}

pub(super) async fn a_read_behind_the_end_or_of_too_much_is_refused(store: &dyn BlobStore) {
    let info = store_one(store, &content(10)).await;
    let reader = store.open(info.name).await.unwrap();
    for (offset, length) in [(11, 1), (11, 0), (u64::MAX, 1), (0, READ_MAX + 1)] {
        let read = reader.read(offset, length).await;
        assert!(
            matches!(read, Err(BlobError::OutOfRange)),
            "{offset} {length}"
        );
    }
    assert_eq!(reader.read(0, READ_MAX).await.unwrap().len(), 10);
}

pub(super) async fn a_blob_is_not_there_before_it_is_finished(store: &dyn BlobStore) {
    let put = put(10);
    let mut writer = store.begin(put.clone()).await.unwrap();
    writer.write(content(10)).await.unwrap();
    assert!(matches!(
        store.head(put.name).await,
        Err(BlobError::NotFound)
    ));
    assert!(matches!(
        store.open(put.name).await,
        Err(BlobError::NotFound)
    ));
    assert!(names(store).await.is_empty());
    assert!(!store.delete(put.name).await.unwrap());
    writer.finish().await.unwrap();
    assert_eq!(names(store).await, BTreeSet::from([put.name]));
}

pub(super) async fn a_writer_that_is_dropped_leaves_nothing_and_its_name_free(
    store: &dyn BlobStore,
) {
    let put = put(10);
    let mut writer = store.begin(put.clone()).await.unwrap();
    writer.write(content(5)).await.unwrap();
    drop(writer);
    assert!(names(store).await.is_empty());
    let info = store_in_parts(store, put, &content(7), 7).await;
    assert_eq!(info.size, 7);
}

pub(super) async fn a_blob_is_never_replaced(store: &dyn BlobStore) {
    let info = store_one(store, &content(10)).await;
    let again = Put {
        name: info.name,
        ..put(20)
    };
    let begun = store.begin(again).await;
    assert!(matches!(begun, Err(BlobError::Taken)));
    assert_eq!(store.head(info.name).await.unwrap(), info);
}

pub(super) async fn of_two_writers_of_one_name_one_wins(store: &dyn BlobStore) {
    let put = put(10);
    let mut first = store.begin(put.clone()).await.unwrap();
    let mut second = store.begin(put.clone()).await.unwrap();
    first.write(content(1)).await.unwrap();
    second.write(content(2)).await.unwrap();
    second.finish().await.unwrap();
    assert!(matches!(first.finish().await, Err(BlobError::Taken)));
    assert_eq!(store.head(put.name).await.unwrap().size, 2);
}

pub(super) async fn the_bound_is_kept_to_the_byte(store: &dyn BlobStore) {
    let bytes = content(2_000);
    let exact = store_in_parts(store, put(2_000), &bytes, 999).await;
    assert_eq!(exact.size, 2_000);
    let mut writer = store.begin(put(1_999)).await.unwrap();
    writer.write(bytes.slice(..1_000)).await.unwrap();
    let beyond = writer.write(bytes.slice(1_000..)).await;
    assert!(matches!(beyond, Err(BlobError::TooLarge { bound: 1_999 })));
}

pub(super) async fn a_writer_that_failed_cannot_be_finished(store: &dyn BlobStore) {
    let put = put(10);
    let mut writer = store.begin(put.clone()).await.unwrap();
    assert!(writer.write(content(11)).await.is_err());
    assert!(writer.write(content(1)).await.is_err());
    assert!(writer.finish().await.is_err());
    assert!(matches!(
        store.head(put.name).await,
        Err(BlobError::NotFound)
    ));
}

pub(super) async fn what_would_not_fit_is_refused_before_its_first_byte(store: &dyn BlobStore) {
    let Some(room) = store.room().await.unwrap() else {
        return;
    };
    assert!(room.free <= room.all);
    let begun = store.begin(put(room.all + 1)).await;
    assert!(matches!(begun, Err(BlobError::NoRoom)));
    assert!(names(store).await.is_empty());
}

pub(super) async fn a_deleted_blob_is_gone_and_deleting_it_again_says_so(store: &dyn BlobStore) {
    let (one, other) = (
        store_one(store, &content(1)).await,
        store_one(store, &content(2)).await,
    );
    assert!(store.delete(one.name).await.unwrap());
    assert!(!store.delete(one.name).await.unwrap());
    assert!(matches!(
        store.head(one.name).await,
        Err(BlobError::NotFound)
    ));
    assert_eq!(names(store).await, BTreeSet::from([other.name]));
}

pub(super) async fn a_blob_that_is_open_may_be_read_to_its_end_while_it_is_deleted(
    store: &dyn BlobStore,
) {
    let bytes = content(1_000);
    let info = store_one(store, &bytes).await;
    let reader = store.open(info.name).await.unwrap();
    store.delete(info.name).await.unwrap();
    // A store far away may have nothing to read any more; no store gives other bytes.
    match reader.read(0, 1_000).await {
        Ok(read) => assert_eq!(read, bytes),
        Err(error) => assert!(matches!(error, BlobError::NotFound)),
    }
}

pub(super) async fn pages_name_every_blob_once_in_order(store: &dyn BlobStore) {
    let mut stored = BTreeSet::new();
    for n in 0..25 {
        stored.insert(store_one(store, &content(n)).await.name);
    }
    for limit in [1, 7, 24, 25, 26] {
        let mut listed = Vec::new();
        let mut after = None;
        loop {
            let page = store.list(after, limit).await.unwrap();
            assert!(page.blobs.len() <= limit);
            listed.extend(page.blobs.iter().map(|blob| blob.name));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert!(listed.iter().eq(&stored), "{limit}");
    }
}

pub(super) async fn old_blobs_expire_and_young_ones_and_others_stay(store: &dyn BlobStore) {
    let (mine, other) = (
        store_one(store, &content(1)).await,
        store_one(store, &content(2)).await,
    );
    let is_mine = |blob: &BlobInfo| blob.name == mine.name;
    let before = mine.created.min(other.created);
    assert_eq!(expire(store, before, is_mine).await.unwrap(), 0);
    let after = UnixSeconds::now().saturating_add(1);
    assert_eq!(expire(store, after, is_mine).await.unwrap(), 1);
    assert_eq!(names(store).await, BTreeSet::from([other.name]));
}

pub(super) async fn a_sweep_touches_no_living_writer(store: &dyn BlobStore) {
    let put = put(10);
    let mut writer = store.begin(put.clone()).await.unwrap();
    writer.write(content(5)).await.unwrap();
    assert_eq!(store.sweep().await.unwrap(), 0);
    writer.write(content(5)).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(store.sweep().await.unwrap(), 0);
    assert_eq!(names(store).await, BTreeSet::from([put.name]));
}

pub(super) async fn many_write_and_read_at_once(store: &dyn BlobStore) {
    let bytes = content(50_000);
    let all = (0..40).map(|n| {
        let bytes = bytes.slice(n..);
        async move {
            let info = store_one(store, &bytes).await;
            let reader = store.open(info.name).await.unwrap();
            assert_eq!(reader.read(0, READ_MAX).await.unwrap(), bytes);
        }
    });
    join_all(all).await;
    assert_eq!(names(store).await.len(), 40);
}
