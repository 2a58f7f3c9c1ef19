//! What is particular to a directory.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use bytes::Bytes;
use im_blob::{
    BlobError, BlobInfo, BlobMeta, BlobName, BlobStore, DirectoryOptions, DirectoryStore, LIST_MAX,
    Put,
};

/// A store in a temporary directory, which goes away with it.
pub(crate) struct TempStore {
    pub(crate) store: DirectoryStore,
    dir: tempfile::TempDir,
}

impl TempStore {
    pub(crate) async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The disk of the test may be nearly full.
        let options = DirectoryOptions::default().free_space_floor(0).workers(2);
        let root = dir.path().join("made/here");
        let store = DirectoryStore::open(&root, options).await.unwrap();
        Self { store, dir }
    }

    fn path(&self, name: BlobName) -> PathBuf {
        let text = name.to_string();
        let (folder, _) = text.split_at(2);
        self.store.root().join(folder).join(&text)
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

async fn store_one(store: &DirectoryStore, bytes: &'static [u8]) -> BlobInfo {
    let mut writer = store.begin(put(bytes.len() as u64)).await.unwrap();
    writer.write(Bytes::from_static(bytes)).await.unwrap();
    writer.finish().await.unwrap()
}

#[tokio::test]
async fn files_and_folders_are_for_their_owner_only_and_begin_with_the_content() {
    let temp = TempStore::open().await;
    let info = store_one(&temp.store, b"content").await;
    let path = temp.path(info.name);
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.clone()), 0o600);
    assert_eq!(mode(path.parent().unwrap().to_owned()), 0o700);
    assert_eq!(mode(temp.store.root().to_owned()), 0o700);
    assert!(fs::read(path).unwrap().starts_with(b"content"));
}

#[tokio::test]
async fn blobs_are_there_after_the_directory_was_opened_again_and_drafts_are_not() {
    let temp = TempStore::open().await;
    let info = store_one(&temp.store, b"content").await;
    let left = temp.store.root().join("draft").join("left");
    fs::write(&left, "by a process that was killed").unwrap();
    let options = DirectoryOptions::default();
    let again = DirectoryStore::open(temp.store.root(), options)
        .await
        .unwrap();
    assert_eq!(again.head(info.name).await.unwrap(), info);
    assert!(!left.try_exists().unwrap());
}

#[tokio::test]
async fn a_damaged_file_is_told_from_a_blob_and_hides_no_other() {
    let temp = TempStore::open().await;
    let (damaged, whole) = (
        store_one(&temp.store, b"damaged").await,
        store_one(&temp.store, b"whole").await,
    );
    let path = temp.path(damaged.name);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let head = temp.store.head(damaged.name).await;
    assert!(matches!(head, Err(BlobError::Corrupt(_))));
    let page = temp.store.list(None, LIST_MAX).await.unwrap();
    assert_eq!(page.blobs, [whole]);
    assert_eq!(page.corrupt, 1);
    assert!(temp.store.delete(damaged.name).await.unwrap());
}

#[tokio::test]
async fn a_link_leads_out_of_no_store_and_other_files_are_no_blobs() {
    let temp = TempStore::open().await;
    let info = store_one(&temp.store, b"content").await;
    let mut bytes = *info.name.as_bytes();
    bytes[15] ^= 1;
    let name = BlobName::from_bytes(bytes);
    symlink(temp.path(info.name), temp.path(name)).unwrap();
    assert!(temp.store.open(name).await.is_err());
    fs::remove_file(temp.path(name)).unwrap();
    fs::write(temp.path(info.name).with_file_name("README"), "x").unwrap();
    let page = temp.store.list(None, LIST_MAX).await.unwrap();
    assert_eq!(page.blobs, [info]);
}

#[tokio::test]
async fn what_would_leave_less_than_the_floor_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let floor = DirectoryOptions::default().free_space_floor(u64::MAX);
    let store = DirectoryStore::open(temp.path(), floor).await.unwrap();
    let room = store.room().await.unwrap().unwrap();
    // The floor is a tenth of the file system at most; others may use it meanwhile.
    let over = room.free.saturating_sub(room.all / 10) + (64 << 20);
    assert!(matches!(
        store.begin(put(over)).await,
        Err(BlobError::NoRoom)
    ));
}

#[tokio::test]
async fn writers_together_do_not_promise_more_than_there_is() {
    let temp = TempStore::open().await;
    let room = temp.store.room().await.unwrap().unwrap();
    let most = room.free / 4 * 3;
    let first = temp.store.begin(put(most)).await.unwrap();
    let second = temp.store.begin(put(most)).await;
    assert!(matches!(second, Err(BlobError::NoRoom)));
    drop(first);
    temp.store.begin(put(most)).await.unwrap();
    drop(temp.dir);
}

/// Whether the file system of tests reads what is in memory without waiting; some do not.
fn reads_at_once(path: &std::path::Path) -> bool {
    let file = fs::File::open(path).unwrap();
    let mut byte = [0];
    let into = &mut [std::io::IoSliceMut::new(&mut byte)];
    rustix::io::preadv2(&file, into, 0, rustix::io::ReadWriteFlags::NOWAIT).is_ok()
}

/// The only thread for file work is busy for ever, and nobody waits for it who reads what was just written.
#[test]
fn what_is_in_memory_is_read_without_another_thread() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().max_blocking_threads(1);
    let (free, busy) = std::sync::mpsc::channel::<()>();
    runtime.build().unwrap().block_on(async {
        let temp = TempStore::open().await;
        let info = store_one(&temp.store, b"content").await;
        if !reads_at_once(&temp.path(info.name)) {
            println!("skipped: the file system of {:?} cannot", temp.dir.path());
            return;
        }
        let working = tokio::task::spawn_blocking(move || busy.recv());
        let read = async {
            let reader = temp.store.open(info.name).await.unwrap();
            (reader.info().clone(), reader.read(3, 100).await.unwrap())
        };
        let read = tokio::time::timeout(std::time::Duration::from_secs(30), read).await;
        drop(free);
        assert_eq!(read.unwrap(), (info, Bytes::from_static(b"tent")));
        assert!(working.await.unwrap().is_err());
    });
}
