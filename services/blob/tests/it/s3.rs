//! What is particular to a bucket, on a real S3 server.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use im_blob::{
    BlobError, BlobInfo, BlobMeta, BlobName, BlobPlace, BlobStore, DirectoryOptions, LIST_MAX, Put,
    S3Options, S3Store,
};
use im_e2e::bucket::{BUCKET, S3Server};

fn options(server: &S3Server) -> S3Options {
    let mut options = S3Options::new(BUCKET, server.endpoint());
    options.keys = Some((server.access_key_file(), server.secret_key_file()));
    options.prefix = String::from("some/where");
    options.timeout = Duration::from_secs(20);
    options
}

async fn open(server: &S3Server, options: &S3Options) -> Result<S3Store, BlobError> {
    let spool = DirectoryOptions::default().free_space_floor(0).workers(2);
    S3Store::open(options, spool_of(server), spool).await
}

fn spool_of(server: &S3Server) -> PathBuf {
    server.folder().join("spool")
}

/// A store on a server of its own.
pub(crate) struct TempStore {
    pub(crate) store: S3Store,
    server: S3Server,
}

impl TempStore {
    pub(crate) async fn open() -> Self {
        let server = S3Server::start().await.unwrap();
        let store = open(&server, &options(&server)).await.unwrap();
        Self { store, server }
    }
}

fn put(bound: u64) -> Put {
    Put {
        name: BlobName::random(),
        meta: BlobMeta::new("", "").unwrap(),
        bound,
        expected: bound,
    }
}

async fn store_one(store: &S3Store, bytes: &Bytes) -> BlobInfo {
    let mut writer = store.begin(put(bytes.len() as u64)).await.unwrap();
    for part in bytes.chunks(1 << 20) {
        writer.write(bytes.slice_ref(part)).await.unwrap();
    }
    writer.finish().await.unwrap()
}

fn pattern(length: usize) -> Bytes {
    (0..length)
        .map(|at| u8::try_from(at * 31 % 251).unwrap())
        .collect()
}

#[tokio::test]
#[ignore = "needs an S3 server: its step names one"]
async fn what_needs_several_requests_is_whole_never_replaced_and_leaves_no_draft() {
    let temp = TempStore::open().await;
    let store = &temp.store;
    // Three parts, and the last has a record only.
    let bytes = pattern(16 << 20);
    let put = put(bytes.len() as u64);
    let mut first = store.begin(put.clone()).await.unwrap();
    let mut second = store.begin(put.clone()).await.unwrap();
    for part in bytes.chunks(1 << 20) {
        first.write(bytes.slice_ref(part)).await.unwrap();
    }
    second.write(bytes.slice(..9 << 20)).await.unwrap();
    let info = first.finish().await.unwrap();
    assert_eq!(info.blake3, *blake3::hash(&bytes).as_bytes());
    assert!(matches!(second.finish().await, Err(BlobError::Taken)));
    let reader = store.open(put.name).await.unwrap();
    let mut read = Vec::new();
    while read.len() < bytes.len() {
        let part = reader.read(read.len() as u64, 300_000).await.unwrap();
        assert!(!part.is_empty());
        read.extend_from_slice(&part);
    }
    assert!(read == bytes, "other bytes than were written");
    let left = temp.server.objects();
    let name = put.name.to_string();
    let drafts = left
        .iter()
        .filter(|path| path.file_name() != Some(name.as_ref()));
    assert_eq!(drafts.count(), 0, "{left:?}");
}

#[tokio::test]
#[ignore = "needs an S3 server: its step names one"]
async fn another_process_finds_what_was_stored_and_its_folder_is_emptied() {
    let temp = TempStore::open().await;
    let info = store_one(&temp.store, &pattern(10)).await;
    let left = spool_of(&temp.server).join("left");
    std::fs::write(&left, "by a process that was killed").unwrap();
    let again = open(&temp.server, &options(&temp.server)).await.unwrap();
    assert_eq!(again.head(info.name).await.unwrap(), info);
    assert!(!left.try_exists().unwrap());
    let mut other = options(&temp.server);
    other.prefix = String::from("else/where");
    let other = open(&temp.server, &other).await.unwrap();
    let page = other.list(None, LIST_MAX).await.unwrap();
    assert!(page.blobs.is_empty());
}

#[tokio::test]
#[ignore = "needs an S3 server: its step names one"]
async fn a_folder_that_kept_blobs_before_the_bucket_came_is_left_as_it_was() {
    let server = S3Server::start().await.unwrap();
    let folder = server.folder().join("pictures");
    let spool = DirectoryOptions::default().free_space_floor(0).workers(2);
    let before = BlobPlace::Directory(folder.clone());
    let before = before.open(spool).await.unwrap();
    let mut writer = before.begin(put(10)).await.unwrap();
    writer.write(pattern(10)).await.unwrap();
    let info = writer.finish().await.unwrap();
    let bucket = BlobPlace::Bucket {
        bucket: options(&server),
        folder,
    };
    let bucket = bucket.open(spool).await.unwrap();
    assert!(matches!(
        bucket.head(info.name).await,
        Err(BlobError::NotFound)
    ));
    assert_eq!(before.head(info.name).await.unwrap(), info);
}

#[tokio::test]
#[ignore = "needs an S3 server: its step names one"]
async fn a_new_key_needs_no_restart_and_a_wrong_one_is_told() {
    let temp = TempStore::open().await;
    let secret = temp.server.secret_key_file();
    let info = store_one(&temp.store, &pattern(10)).await;
    let right = std::fs::read(&secret).unwrap();
    std::fs::write(&secret, "of somebody else").unwrap();
    let refused = temp.store.head(info.name).await;
    assert!(
        matches!(refused, Err(BlobError::Unavailable(_))),
        "{refused:?}"
    );
    let opened = open(&temp.server, &options(&temp.server)).await;
    assert!(matches!(opened, Err(BlobError::Unavailable(_))));
    std::fs::write(&secret, right).unwrap();
    assert_eq!(temp.store.head(info.name).await.unwrap(), info);
}

#[tokio::test]
#[ignore = "needs an S3 server: its step names one"]
async fn a_service_that_replaces_objects_is_refused() {
    // Without what it knows of its objects it does not look whether there is one.
    let server = S3Server::start_forgetful().await.unwrap();
    let error = open(&server, &options(&server)).await.unwrap_err();
    let told = format!("{error:?}");
    assert!(told.contains("replaces an object"), "{told}");
}

#[tokio::test]
#[ignore = "needs an S3 server: its step names one"]
async fn a_bucket_that_is_not_there_and_a_server_that_is_gone_are_told() {
    let mut temp = TempStore::open().await;
    let mut other = options(&temp.server);
    other.bucket = String::from("nowhere");
    assert!(open(&temp.server, &other).await.is_err());
    temp.server.kill().unwrap();
    let head = temp.store.head(BlobName::random()).await;
    assert!(matches!(head, Err(BlobError::Unavailable(_))), "{head:?}");
}

#[tokio::test]
#[ignore = "needs an S3 server: its step names one"]
async fn a_damaged_object_is_told_from_a_blob_and_hides_no_other() {
    let temp = TempStore::open().await;
    let damaged = store_one(&temp.store, &pattern(1_000)).await;
    let whole = store_one(&temp.store, &pattern(10)).await;
    let name = damaged.name.to_string();
    let files = temp.server.objects();
    let path = files.iter().find(|path| path.ends_with(&name)).unwrap();
    std::fs::write(path, "nothing of ours").unwrap();
    let head = temp.store.head(damaged.name).await;
    assert!(matches!(head, Err(BlobError::Corrupt(_))), "{head:?}");
    let page = temp.store.list(None, LIST_MAX).await.unwrap();
    assert_eq!((page.blobs, page.corrupt), (vec![whole], 1));
}
