//! Files that wait for their receivers, at every file server.

use bytes::Bytes;
use im_proto_rpc::v1::monitor_answer::Answer;
use im_proto_rpc::v1::monitor_ask::Ask;
use im_proto_rpc::v1::{DeleteFile, FilesAsk, MonitorFiles, WaitingFile};

use super::merge::{self, Answered};
use super::{Monitor, NoAnswer, Told};

/// The role that has files.
pub(crate) const FILE: &str = "file";

/// Bytes of the id of a file.
pub(crate) const FILE_ID: usize = 16;

/// A file, and the server that has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) id: [u8; FILE_ID],
    pub(crate) server: String,
    pub(crate) file: WaitingFile,
}

/// A page of files.
#[derive(Debug, Default)]
pub(crate) struct FilesListed {
    pub(crate) files: Vec<Waiting>,
    /// Behind this id the next page begins, if some may follow.
    pub(crate) next: Option<[u8; FILE_ID]>,
    /// Servers that were asked.
    pub(crate) asked: usize,
    /// Of them, those that have not answered, by name.
    pub(crate) silent: Vec<String>,
}

impl Monitor {
    /// A page of at most so many files of all file servers, or of one.
    pub(crate) async fn files(
        &self,
        server: Option<&str>,
        ask: FilesAsk,
        limit: usize,
    ) -> FilesListed {
        let names = self.named(FILE, server);
        let asked = names.len();
        let each = u32::try_from(merge::share(limit, asked)).unwrap_or(u32::MAX);
        let ask = Ask::Files(FilesAsk { limit: each, ..ask });
        let told = |answer| match answer {
            Answer::Files(page) => Some(page),
            _ => None,
        };
        let Told { answers, silent } = self.ask_all(names, &ask, told).await;
        let pages = answers.into_iter().map(|(name, page)| placed(&name, page));
        let (files, next) = merge::merge(pages.collect(), limit);
        FilesListed {
            files: files.into_iter().map(|(_, file)| file).collect(),
            next,
            asked,
            silent,
        }
    }

    /// Deletes a file at its server; `false` when it has none of this id any more.
    ///
    /// # Errors
    /// The server does not report, or does not answer in time.
    pub(crate) async fn delete_file(
        &self,
        server: &str,
        id: [u8; FILE_ID],
    ) -> Result<bool, NoAnswer> {
        let ask = Ask::DeleteFile(DeleteFile {
            id: Bytes::copy_from_slice(&id),
        });
        match self.ask(server, ask).await? {
            Answer::Files(files) => Ok(!files.files.is_empty()),
            // Of a server that knows no such question.
            _ => Err(NoAnswer::Late),
        }
    }
}

/// What a server tells, with the places of its files.
fn placed(server: &str, page: MonitorFiles) -> Answered<[u8; FILE_ID], Waiting> {
    let files = page.files.into_iter().filter_map(|file| {
        let id = file.id.as_ref().try_into().ok()?;
        let server = server.to_owned();
        Some((id, Waiting { id, server, file }))
    });
    Answered {
        rows: files.collect(),
        through: page.through.as_ref().try_into().ok(),
    }
}
