//! Import of a directory file: every line is judged, passwords are hashed, and the whole is stored
//! or nothing.

use std::sync::Arc;

use futures::stream::{self, Stream, StreamExt as _};
use im_config::DbProxyConfig;
use im_core::time::UnixSeconds;
use im_proto_rpc::v1::{DirectoryRow, ImportError, ImportProgress, ImportReport, Kick};
use im_store::{DirectoryImport, Store};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::info;

use super::rows::{Line, Rows};
use super::sessions::kick_everywhere;
use super::{AdminError, AdminService};
use crate::accounts::{Accounts, digest_of};
use crate::publication::Publication;
use crate::publish::Publisher;

/// Progress is told once per so many lines.
const LINES_PER_PROGRESS: usize = 1_000;
/// Progress is told once per so many hashes: about twice a second.
const HASHES_PER_PROGRESS: u32 = 32;
/// Progress items that may wait for the administrator's program.
const PROGRESS_QUEUE: usize = 16;

/// One import under way.
struct Import {
    store: Arc<dyn Store>,
    publisher: Publisher,
    accounts: Arc<Accounts>,
    config: Arc<DbProxyConfig>,
    progress: mpsc::Sender<Result<ImportProgress, Status>>,
}

impl AdminService {
    /// Works while its result is read, and stops when that is dropped.
    pub(super) fn import(
        &self,
        rows: impl Stream<Item = Result<DirectoryRow, Status>> + Send + Unpin + 'static,
    ) -> impl Stream<Item = Result<ImportProgress, Status>> + Send + 'static {
        let (progress, items) = mpsc::channel(PROGRESS_QUEUE);
        let import = Import {
            store: Arc::clone(&self.store),
            publisher: self.publisher.clone(),
            accounts: Arc::clone(&self.accounts),
            config: Arc::clone(&self.config),
            progress,
        };
        let work = stream::once(import.run(rows)).filter_map(|()| async { None });
        stream::select(ReceiverStream::new(items), work)
    }
}

impl Import {
    async fn run(self, rows: impl Stream<Item = Result<DirectoryRow, Status>> + Send + Unpin) {
        let last = self.apply(rows).await;
        self.tell(last).await;
    }

    async fn apply(
        &self,
        mut stream: impl Stream<Item = Result<DirectoryRow, Status>> + Send + Unpin,
    ) -> Result<ImportProgress, Status> {
        let mut rows = Rows::new(&self.config.accounts, &self.config.answers);
        let mut received = 0;
        while let Some(row) = stream.next().await {
            let row = row?;
            received += 1;
            if received > self.config.accounts.max_import_rows {
                let max = self.config.accounts.max_import_rows;
                return Err(Status::invalid_argument(format!(
                    "the file has more than {max} lines"
                )));
            }
            rows.push(row);
            if received % LINES_PER_PROGRESS == 0 {
                self.tell(Ok(progress(received, 0, None))).await;
            }
        }
        if !rows.errors.is_empty() {
            return Ok(progress(received, 0, Some(refused(rows.errors))));
        }
        let Rows { mut lines, .. } = rows;
        let hashed = self
            .hash(&mut lines, received)
            .await
            .map_err(Status::from)?;
        let report = self.store(lines).await.map_err(Status::from)?;
        Ok(progress(received, hashed, Some(report)))
    }

    /// Turns passwords into hashes. Who has the password already keeps his hash, so that a second
    /// import of a file changes nothing.
    async fn hash(&self, lines: &mut [Line], received: usize) -> Result<u32, AdminError> {
        let wanted: Vec<(usize, String, String)> = lines
            .iter_mut()
            .enumerate()
            .filter_map(|(place, line)| {
                let password = line.password.take()?;
                Some((place, line.user.name.clone(), digest_of(&password)))
            })
            .collect();
        let mut work = stream::iter(wanted.into_iter().map(|(place, name, digest)| async move {
            let stored = self
                .store
                .credentials(&name)
                .await?
                .map(|credentials| credentials.hash);
            let hash = self.accounts.pool().remake(stored, digest).await?;
            Ok::<_, AdminError>((place, hash))
        }))
        .buffer_unordered(self.accounts.pool().parallel());
        let mut hashed = 0;
        while let Some(done) = work.next().await {
            let (place, hash) = done?;
            if let Some(line) = lines.get_mut(place) {
                line.user.hash = hash;
            }
            hashed += 1;
            if hashed % HASHES_PER_PROGRESS == 0 {
                self.tell(Ok(progress(received, hashed, None))).await;
            }
        }
        Ok(hashed)
    }

    async fn store(&self, lines: Vec<Line>) -> Result<ImportReport, AdminError> {
        let (numbers, users): (Vec<u32>, Vec<_>) = lines
            .into_iter()
            .map(|line| (line.number, line.user))
            .unzip();
        let import = DirectoryImport {
            users,
            now: UnixSeconds::now(),
        };
        let outcome = self.store.import(&import).await;
        // Whatever became of it: what was remembered may be old.
        self.accounts.forget_everybody();
        let outcome = outcome?;
        if !outcome.conflicts.is_empty() {
            let errors = outcome
                .conflicts
                .into_iter()
                .map(|(place, message)| ImportError {
                    line: numbers.get(place).copied().unwrap_or_default(),
                    message,
                })
                .take(self.config.accounts.max_import_errors)
                .collect();
            return Ok(refused(errors));
        }
        let kicks = outcome.disabled.iter().map(|user| kick_everywhere(*user));
        self.publisher
            .publish(kicks.map(|kick: Kick| Publication::Kick(kick)).collect());
        info!(
            added = outcome.added,
            updated = outcome.updated,
            unchanged = outcome.unchanged,
            disabled = outcome.disabled.len(),
            "directory imported"
        );
        Ok(ImportReport {
            applied: true,
            added: outcome.added,
            updated: outcome.updated,
            unchanged: outcome.unchanged,
            departments_added: outcome.departments_added,
            errors: Vec::new(),
        })
    }

    /// Whoever does not listen any more has dropped the stream that runs this too.
    async fn tell(&self, item: Result<ImportProgress, Status>) {
        drop(self.progress.send(item).await);
    }
}

fn progress(received: usize, hashed: u32, report: Option<ImportReport>) -> ImportProgress {
    ImportProgress {
        received: u32::try_from(received).unwrap_or(u32::MAX),
        hashed,
        report,
    }
}

fn refused(errors: Vec<ImportError>) -> ImportReport {
    ImportReport {
        applied: false,
        errors,
        ..ImportReport::default()
    }
}
