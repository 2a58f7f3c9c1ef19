//! Files that are stored: found at the start, listed, confirmed, deleted, expired.

use std::sync::Arc;

use bytes::Bytes;
use im_blob::{BlobError, BlobMeta, LIST_MAX, Put};
use im_core::time::UnixSeconds;
use im_core::{Chain, UserId};
use im_proto_rpc::v1::{MonitorFiles, StoredFile, WaitingFile};
use prost::Message as _;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Hub;
use crate::TaskId;
use crate::conn::Conn;
use crate::id::FileId;
use crate::metrics::Refusal;
use crate::tasks::{ConnId, File, Found, Offer, Pull, Search};

/// Type of everything that is stored here: what is in it is the people's affair.
const CONTENT_TYPE: &str = "application/octet-stream";

impl Hub {
    /// Takes up what is stored.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn restore(&self) -> Result<(), BlobError> {
        let mut after = None;
        let (mut files, mut strange) = (0, 0);
        loop {
            let page = self.blobs.list(after, LIST_MAX).await?;
            strange += page.corrupt;
            for blob in &page.blobs {
                let stored = since(blob.created, self.wall());
                match file(blob.meta.tag(), blob.size, stored) {
                    Some(file) => {
                        let task = TaskId::of_blob(blob.name);
                        let mut state = self.state();
                        state.tasks.restore(task, file);
                        // What was noted before is noted once.
                        state.untold.add(task, Instant::now());
                        drop(state);
                        files += 1;
                    }
                    None => strange += 1,
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if strange > 0 {
            warn!(
                strange,
                "the directory has files that are none of this server's"
            );
        }
        info!(files, "files wait for their receivers");
        self.show(&self.state());
        Ok(())
    }

    /// How the file of a task is stored.
    pub(crate) fn put(task: TaskId, offer: &Offer) -> Option<Put> {
        let tag = StoredFile {
            task: String::new(),
            from: offer.from.get(),
            to: offer.to.get(),
            name: offer.name.clone(),
            size: 0,
            stored: 0,
        };
        let meta = BlobMeta::new(CONTENT_TYPE, tag.encode_to_vec()).ok()?;
        Some(Put {
            name: task.blob(),
            meta,
            bound: offer.size.into(),
            expected: offer.size.into(),
        })
    }

    /// An upload is stored. False when its task has ended meanwhile: nobody will know of the file.
    pub(crate) fn uploaded(&self, conn: &Conn) -> bool {
        let stored = self.wall();
        let waiting: Option<(ConnId, Pull)> = {
            let mut state = self.state();
            let Ok((task, waiting)) = state.tasks.uploaded(conn.id, stored) else {
                return false;
            };
            state.untold.add(task, Instant::now());
            self.show(&state);
            waiting
        };
        self.kept.send_replace(());
        if let Some((receiver, pull)) = waiting {
            let receiver = self.state().conns.get(&receiver).cloned();
            if let Some(receiver) = receiver {
                receiver.answer(pull);
            }
        }
        true
    }

    /// Changes when there is a file to tell of.
    pub(crate) fn kept(&self) -> watch::Receiver<()> {
        self.kept.subscribe()
    }

    /// Files that are to be told of now, by whoever asks and for a while by nobody else.
    pub(crate) fn tell(&self, most: usize) -> Vec<StoredFile> {
        let mut state = self.state();
        let tasks = state.untold.take(most, Instant::now()).into_iter();
        let files = tasks.filter_map(|task| Some(told(task, state.tasks.file(task)?)));
        files.collect()
    }

    /// It is noted that a file waits.
    pub(crate) fn noted(&self, task: &str) {
        if let Ok(task) = task.parse() {
            self.state().untold.remove(task);
        }
    }

    /// What waits for a user.
    pub(crate) fn waiting(&self, user: UserId) -> Vec<StoredFile> {
        let state = self.state();
        let waiting = state.tasks.waiting(user).into_iter();
        waiting.map(|(task, file)| told(task, file)).collect()
    }

    /// The file of a task that this user has sent, if it is stored.
    pub(crate) fn confirmed(&self, from: UserId, task: TaskId) -> Option<StoredFile> {
        let state = self.state();
        state.tasks.confirm(from, task).map(|file| told(task, file))
    }

    /// Deletes a file that this user has fetched or does not want. From now on it is in no list.
    pub(crate) fn delete(self: &Arc<Self>, to: UserId, task: TaskId) -> bool {
        {
            let mut state = self.state();
            if !state.tasks.delete(to, task) {
                return false;
            }
            state.untold.remove(task);
            self.show(&state);
        }
        let hub = Arc::clone(self);
        // As many as there are files.
        self.tasks.spawn(async move { hub.remove(task).await });
        true
    }

    /// Files that wait, as administrators look for them.
    pub(crate) fn search(&self, search: &Search) -> MonitorFiles {
        let state = self.state();
        let Found { files, through } = state.tasks.search(search);
        let files = files.into_iter();
        MonitorFiles {
            files: files.map(|(id, file)| listed(id, file)).collect(),
            through: through.map_or_else(Bytes::new, |id| Bytes::copy_from_slice(&id.0)),
        }
    }

    /// One of them.
    pub(crate) fn found(&self, id: FileId) -> Option<WaitingFile> {
        let state = self.state();
        let (_, file) = state.tasks.by_id(id)?;
        Some(listed(id, file))
    }

    /// Deletes one of them, as whoever it is for could.
    pub(crate) fn delete_by_id(self: &Arc<Self>, id: FileId) -> Option<WaitingFile> {
        let (task, to, file) = {
            let state = self.state();
            let (task, file) = state.tasks.by_id(id)?;
            (task, file.to, listed(id, file))
        };
        self.delete(to, task).then_some(file)
    }

    /// Deletes a file that is in no list any more; one that cannot be deleted now is another time.
    async fn remove(&self, task: TaskId) {
        if let Err(error) = self.blobs.delete(task.blob()).await {
            warn!(error = %Chain(&error), ?task, "a file was not deleted");
            self.metrics.refused(Refusal::Store);
            self.state().doomed.push(task);
        }
    }

    /// A file was stored of whose task nobody knows any more.
    pub(crate) fn discard(self: &Arc<Self>, task: TaskId) {
        let hub = Arc::clone(self);
        self.tasks.spawn(async move { hub.remove(task).await });
    }

    /// The store does not take a file.
    pub(crate) fn store_failed(&self, task: TaskId, error: &BlobError) {
        warn!(error = %Chain(error), ?task, "a file cannot be stored");
        self.metrics.refused(Refusal::Store);
    }

    /// A stored file cannot be read: nobody is offered it any more.
    pub(crate) fn lost(&self, task: TaskId, error: &BlobError) {
        warn!(error = %Chain(error), ?task, "a stored file cannot be read");
        self.metrics.refused(Refusal::Store);
        if matches!(error, BlobError::NotFound | BlobError::Corrupt(_)) {
            let mut state = self.state();
            state.tasks.forget(task);
            state.untold.remove(task);
            self.show(&state);
        }
    }

    /// Deletes files that nobody has fetched in time, and what uploads have left that are no more.
    pub(crate) async fn clean(&self) {
        let before = self
            .wall()
            .saturating_sub(self.config.keep.as_seconds_u32());
        let old = self.state().tasks.older_than(before);
        for task in old {
            let is_forgotten = {
                let mut state = self.state();
                state.untold.remove(task);
                state.tasks.forget(task)
            };
            if is_forgotten {
                self.metrics.expired_files.inc();
                info!(?task, "nobody fetched a file in time");
            }
            self.remove(task).await;
        }
        let doomed = std::mem::take(&mut self.state().doomed);
        for task in doomed {
            self.remove(task).await;
        }
        if let Err(error) = self.blobs.sweep().await {
            warn!(error = %Chain(&error), "what uploads have left was not removed");
            self.metrics.refused(Refusal::Store);
        }
        self.show(&self.state());
    }
}

/// Since when a file waits that says when it was stored: one of a clock that was ahead does not wait for longer
/// than others.
fn since(stored: UnixSeconds, now: UnixSeconds) -> UnixSeconds {
    stored.min(now)
}

/// What is stored beside the bytes.
fn file(tag: &[u8], size: u64, stored: UnixSeconds) -> Option<File> {
    let tag = StoredFile::decode(tag).ok()?;
    Some(File {
        from: UserId::from_wire(tag.from)?,
        to: UserId::from_wire(tag.to)?,
        name: tag.name,
        size: u32::try_from(size).ok()?,
        stored,
        reader: None,
    })
}

fn listed(id: FileId, file: &File) -> WaitingFile {
    WaitingFile {
        id: Bytes::copy_from_slice(&id.0),
        from: file.from.get(),
        to: file.to.get(),
        name: file.name.clone(),
        size: file.size,
        stored: file.stored.get(),
    }
}

fn told(task: TaskId, file: &File) -> StoredFile {
    StoredFile {
        task: task.to_string(),
        from: file.from.get(),
        to: file.to.get(),
        name: file.name.clone(),
        size: file.size,
        stored: file.stored.get(),
    }
}

#[cfg(test)]
mod tests {
    use im_blob::{BlobPlace, DirectoryOptions};
    use im_config::FileConfig;
    use tokio::time::{Duration, advance};

    use super::*;
    use crate::metrics::Metrics;

    async fn hub(place: &BlobPlace) -> Hub {
        let blobs = place.open(DirectoryOptions::default()).await.unwrap();
        let (config, metrics) = (FileConfig::default(), Metrics::default());
        let hub = Hub::new(config, metrics, blobs, Vec::new());
        hub.restore().await.unwrap();
        hub
    }

    /// The clock of the system stands still here: what passes is the time of the process.
    #[tokio::test(start_paused = true)]
    async fn a_file_waits_for_as_long_as_passes_and_not_by_the_clock_of_the_system() {
        let dir = tempfile::tempdir().unwrap();
        let place = BlobPlace::Directory(dir.path().to_path_buf());
        let (sender, receiver) = (UserId::from_wire(1).unwrap(), UserId::from_wire(2).unwrap());
        let offer = Offer {
            from: sender,
            to: receiver,
            name: "a.txt".to_owned(),
            size: 5,
            offline: true,
        };
        let put = Hub::put(TaskId::random(), &offer).unwrap();
        let before = hub(&place).await;
        let mut writer = before.blobs.begin(put).await.unwrap();
        writer.write("hello".into()).await.unwrap();
        writer.finish().await.unwrap();
        drop(before);

        let hub = hub(&place).await;
        let waiting = || hub.waiting(receiver).len();
        let keep = hub.config.keep.duration();
        for (passes, expected) in [
            (Duration::ZERO, 1),
            (keep.saturating_sub(Duration::from_mins(1)), 1),
            (Duration::from_mins(2), 0),
        ] {
            advance(passes).await;
            hub.clean().await;
            assert_eq!(waiting(), expected, "{passes:?}");
        }
        let page = hub.blobs.list(None, LIST_MAX).await.unwrap();
        assert!(page.blobs.is_empty(), "it is gone from the disk");
        assert_eq!(hub.metrics.expired_files.get(), 1);
    }

    /// As after a start under a clock that was a year ahead.
    #[test]
    fn a_file_of_tomorrow_waits_as_long_as_one_of_today() {
        let now = UnixSeconds::from_wire(1_000);
        assert_eq!(since(UnixSeconds::from_wire(400), now).get(), 400);
        assert_eq!(since(UnixSeconds::from_wire(31_000_000), now), now);
    }
}
