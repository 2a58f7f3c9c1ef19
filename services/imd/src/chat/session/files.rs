//! Files: sent to one person at a time, taken from anybody up to a size, and fetched at a login when they wait.
//!
//! Each is carried by itself beside the chat; so many at a time, and one block of each in memory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::StreamExt as _;
use im_client::proto::base::{OfflineFileInfo, TransferFileType};
use im_client::proto::file::{ImFileNotify, ImFileRsp};
use im_client::{FileOffer, Transfer, transfer};
use im_core::{Peer, UserId};
use tokio::fs::File;

use super::Session;
use crate::chat::received::{Draft, plain};

/// Files and pictures that are carried at a time; what waits at the server follows, the rest is left where it is.
pub(super) const MAX_MOVING: usize = 8;
/// Files at the server that are known here and not fetched yet; a later login finds the others.
const MAX_WAITING: usize = 1_000;
/// How long the other side may do nothing: a person may have to agree first.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where to put what others send, and how much of it.
#[derive(Clone, Debug)]
pub(in crate::chat) struct Receiving {
    pub(in crate::chat) folder: PathBuf,
    /// Largest file, bytes.
    pub(in crate::chat) max_file: u64,
}

/// A file that somebody sends.
pub(super) struct Incoming {
    transfer: Transfer,
    from: u32,
    sender: String,
    name: String,
}

/// What became of a file or picture.
pub(super) struct Moved {
    /// What the file server calls it; of a picture its URL.
    pub(super) task: String,
    /// What to say.
    pub(super) outcome: anyhow::Result<String>,
    /// A stored file that was fetched from this person: the server need not keep it.
    pub(super) fetched_from: Option<UserId>,
    /// Whether `/expect` may wait for it.
    pub(super) is_news: bool,
}

impl<W: Write> Session<W> {
    /// Says what became of a file or picture.
    pub(super) async fn settle(&mut self, moved: Moved) -> anyhow::Result<()> {
        self.tasks.remove(&moved.task);
        match moved.outcome {
            Ok(told) => {
                writeln!(self.out, "-- {told}")?;
                if let Some(from) = moved.fetched_from {
                    let deleted = self.client.delete_offline_file(from, &moved.task);
                    if let Err(error) = deleted.await {
                        writeln!(self.out, "-- it will come once more: {error}")?;
                    }
                }
                if moved.is_news {
                    self.remember(told);
                }
            }
            Err(error) => writeln!(self.out, "-- {error:#}")?,
        }
        if let Some(next) = self.waiting.pop_front() {
            self.start(next)?;
        }
        self.out.flush()?;
        Ok(())
    }

    /// Sends a file to the person of this conversation: directly when they have a PC online, otherwise it
    /// waits for them. A script waits until it is there.
    pub(super) async fn send_file(&mut self, path: &str) -> anyhow::Result<()> {
        let to = match self.conversation()? {
            Peer::User(user) if user.get() == self.client.user_id() => {
                bail!("this conversation is with yourself: files go to somebody else")
            }
            Peer::User(user) => user,
            Peer::Group(_) => bail!("a file goes to one person: /with NAME, then /file PATH"),
        };
        ensure!(
            self.moving.len() < MAX_MOVING,
            "{MAX_MOVING} files are on their way: wait for one of them"
        );
        let (file, size) = open(Path::new(path)).await?;
        let name = plain(path);
        let offer = FileOffer {
            to,
            name: name.clone(),
            size,
            // Where nobody is there to take it, the server answers that it is to be stored.
            mode: TransferFileType::FileTypeOnline,
        };
        let answer = self.client.offer_file(&offer).await.context("offer file")?;
        ensure!(
            answer.result_code == 0,
            "the platform does not take {name}: it has no file server, or the file is beyond one of its \
             bounds (size, or files that wait)"
        );
        let transfer = self.transfer_of(&answer, size)?;
        let is_direct = transfer.mode == TransferFileType::FileTypeOnline;
        let receiver = self.name_of(Peer::User(to));
        let how = if is_direct {
            "waiting for them to take it"
        } else {
            "storing it until they come"
        };
        writeln!(self.out, "-- {name} ({size} bytes) to {receiver}: {how}")?;
        self.out.flush()?;
        let (task, client) = (transfer.task_id.clone(), self.client.clone());
        let sending = async move {
            let mut file = file;
            transfer::give(&transfer, &mut file, PATIENCE)
                .await
                .with_context(|| format!("{name} did not reach {receiver}"))?;
            if is_direct {
                return anyhow::Ok(format!("{receiver} has {name}"));
            }
            client.add_offline_file(&offer, &transfer.task_id).await?;
            anyhow::Ok(format!("{name} waits for {receiver}"))
        };
        self.carry(task.clone(), None, false, sending);
        if self.scripted {
            self.until_moved(&task).await?;
        }
        Ok(())
    }

    fn transfer_of(&self, answer: &ImFileRsp, size: u32) -> anyhow::Result<Transfer> {
        let address = Transfer::first_address(&answer.ip_addr_list);
        Ok(Transfer {
            address: address.context("the platform names no file server")?,
            task_id: answer.task_id.clone(),
            user_id: self.client.user_id(),
            mode: answer.trans_mode(),
            size,
        })
    }

    /// Carries something beside the chat.
    pub(super) fn carry(
        &mut self,
        task: String,
        fetched_from: Option<UserId>,
        is_news: bool,
        moving: impl Future<Output = anyhow::Result<String>> + Send + 'static,
    ) {
        self.tasks.insert(task.clone());
        self.moving.push(Box::pin(async move {
            Moved {
                task,
                outcome: moving.await,
                fetched_from,
                is_news,
            }
        }));
    }

    /// Waits for one of them; a failure of it is one of the line that began it.
    pub(super) async fn until_moved(&mut self, task: &str) -> anyhow::Result<()> {
        while let Some(moved) = self.moving.next().await {
            if moved.task != task {
                self.settle(moved).await?;
            } else if let Err(error) = moved.outcome {
                self.tasks.remove(task);
                return Err(error);
            } else {
                return self.settle(moved).await;
            }
        }
        Ok(())
    }

    /// Takes what somebody offers, or says why not.
    pub(super) async fn offered(&mut self, offer: &ImFileNotify) -> anyhow::Result<()> {
        let mode = offer.trans_mode();
        let is_direct = mode == TransferFileType::FileTypeOnline;
        let is_mine = offer.to_user_id == self.client.user_id();
        // A file that is still on its way to the server is told of again when it is there.
        if !is_mine || !(is_direct || offer.offline_ready == 1) {
            return Ok(());
        }
        let Some(address) = Transfer::first_address(&offer.ip_addr_list) else {
            return Ok(());
        };
        let transfer = Transfer {
            address,
            task_id: offer.task_id.clone(),
            user_id: self.client.user_id(),
            mode,
            size: offer.file_size,
        };
        self.receive(transfer, offer.from_user_id, &offer.file_name)
            .await
    }

    /// Fetches the files that wait.
    pub(super) async fn fetch_waiting(&mut self) -> anyhow::Result<()> {
        let waiting = self.client.offline_files().await;
        let waiting = waiting.context("ask for files that wait")?;
        let Some(address) = Transfer::first_address(&waiting.ip_addr_list) else {
            return Ok(());
        };
        for file in waiting.offline_file_list {
            let OfflineFileInfo {
                from_user_id,
                task_id,
                file_name,
                file_size,
            } = file;
            let transfer = Transfer {
                address: address.clone(),
                task_id,
                user_id: self.client.user_id(),
                mode: TransferFileType::FileTypeOffline,
                size: file_size,
            };
            self.receive(transfer, from_user_id, &file_name).await?;
        }
        Ok(())
    }

    async fn receive(&mut self, transfer: Transfer, from: u32, name: &str) -> anyhow::Result<()> {
        if self.tasks.contains(&transfer.task_id) {
            return Ok(());
        }
        self.know_user(from).await?;
        let (sender, name, size) = (self.user_name(from), plain(name), transfer.size);
        let is_direct = transfer.mode == TransferFileType::FileTypeOnline;
        let max_file = self.receiving.max_file;
        if u64::from(size) > max_file {
            let what = if is_direct {
                "refused"
            } else {
                "left at the server"
            };
            writeln!(
                self.out,
                "-- {name} from {sender} has {size} bytes, more than --max-file {max_file}B: {what}"
            )?;
            // Whoever is not told sees that nobody comes.
            if is_direct && self.moving.len() < MAX_MOVING {
                let task = transfer.task_id.clone();
                self.carry(task, None, false, async move {
                    transfer::refuse(&transfer, PATIENCE).await?;
                    anyhow::Ok(format!("told {sender} that {name} is refused"))
                });
            }
            return Ok(());
        }
        let file = Incoming {
            transfer,
            from,
            sender,
            name,
        };
        if self.moving.len() < MAX_MOVING {
            return self.start(file);
        }
        if is_direct || self.waiting.len() >= MAX_WAITING {
            let Incoming { sender, name, .. } = file;
            writeln!(
                self.out,
                "-- {name} from {sender} is not taken now: {MAX_MOVING} files are on their way"
            )?;
        } else {
            self.tasks.insert(file.transfer.task_id.clone());
            self.waiting.push_back(file);
        }
        Ok(())
    }

    /// Begins to take a file.
    fn start(&mut self, file: Incoming) -> anyhow::Result<()> {
        let Incoming {
            transfer,
            from,
            sender,
            name,
        } = file;
        let size = transfer.size;
        writeln!(self.out, "-- {sender} sends {name} ({size} bytes)")?;
        let folder = self.receiving.folder.clone();
        let is_direct = transfer.mode == TransferFileType::FileTypeOnline;
        let fetched_from = UserId::from_wire(from).filter(|_| !is_direct);
        let task = transfer.task_id.clone();
        self.carry(task, fetched_from, true, async move {
            let draft = begin(folder, name.clone()).await?;
            let mut writer = draft.writer()?;
            transfer::take(&transfer, &mut writer, PATIENCE)
                .await
                .with_context(|| format!("{name} from {sender} did not arrive"))?;
            let path = kept(draft, writer).await?;
            anyhow::Ok(format!("{} is from {sender}", path.display()))
        });
        Ok(())
    }
}

/// Opens a file that can be sent; gives its length.
async fn open(path: &Path) -> anyhow::Result<(File, u32)> {
    let shown = path.display();
    let file = File::open(path);
    let file = file.await.with_context(|| format!("read {shown}"))?;
    let known = file.metadata().await;
    let known = known.with_context(|| format!("read {shown}"))?;
    ensure!(known.is_file(), "{shown} is no file");
    ensure!(
        known.len() > 0,
        "{shown} is empty: only files with content are sent"
    );
    let Ok(size) = u32::try_from(known.len()) else {
        bail!(
            "{shown} has {} bytes, a file takes at most {}",
            known.len(),
            u32::MAX
        );
    };
    Ok((file, size))
}

/// Begins a file that was received.
pub(super) async fn begin(folder: PathBuf, name: String) -> anyhow::Result<Draft> {
    tokio::task::spawn_blocking(move || Draft::begin(&folder, &name)).await?
}

/// Keeps it when everything is written.
pub(super) async fn kept(draft: Draft, writer: File) -> anyhow::Result<PathBuf> {
    writer.sync_all().await.context("write")?;
    drop(writer);
    tokio::task::spawn_blocking(move || draft.keep()).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_sent_is_said_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("empty"), "").unwrap();
        std::fs::write(path("good"), "content").unwrap();
        let huge = std::fs::File::create(path("huge")).unwrap();
        // Nothing of it is on the disk.
        huge.set_len(u64::from(u32::MAX) + 1).unwrap();
        for (name, expected) in [
            ("missing", "read "),
            ("empty", "is empty"),
            (".", "is no file"),
            (
                "huge",
                "has 4294967296 bytes, a file takes at most 4294967295",
            ),
        ] {
            let error = open(&path(name)).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
        assert_eq!(open(&path("good")).await.unwrap().1, 7);
    }
}
