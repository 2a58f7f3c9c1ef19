//! Import of a directory file: every line is judged, passwords are hashed, and the whole is stored
//! or nothing.

use std::sync::Arc;

use futures::stream::{self, Stream, StreamExt as _};
use im_accounts::names::{Named, Names};
use im_accounts::{Imported, digest_of};
use im_core::time::UnixSeconds;
use im_proto_rpc::v1::{
    FieldChange, ImportItem, ImportProgress, ImportReport, Kick, PersonChange, TwinNames,
    import_item::Item,
};
use im_store::{DirectoryImport, ImportChange, ImportedUser};
use im_writer::Publication;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::audit::Entry;
use super::notes::Changed;
use super::rows::{Line, Rows, sex_word, status_word};
use super::sessions::kick_everywhere;
use super::{AdminError, AdminService};

/// The call, as the service names it.
pub(super) const IMPORT: &str = "ImportDirectory";

/// Progress is told once per so many lines.
const LINES_PER_PROGRESS: usize = 1_000;
/// Progress is told once per so many hashes: about twice a second.
const HASHES_PER_PROGRESS: u32 = 32;
/// Progress items that may wait for the administrator's program.
pub(super) const PROGRESS_QUEUE: usize = 16;
/// People in one item about changes.
pub(super) const CHANGES_PER_ITEM: usize = 500;
/// Sets of look-alike names that a report has.
const MOST_TWINS: usize = 100;

/// One import under way.
struct Import {
    /// The service that works for this call.
    admin: AdminService,
    progress: mpsc::Sender<Result<ImportProgress, Status>>,
    entry: Entry,
}

/// What became of the passwords of a file.
#[derive(Default)]
struct Hashed {
    count: u32,
    /// Passwords that turned out to be right, or are new: they need no hash again.
    verified: Vec<Imported>,
}

impl AdminService {
    /// Works while its result is read, and stops when that is dropped, unless it has begun to store.
    pub(super) fn import(
        &self,
        items: impl Stream<Item = Result<ImportItem, Status>> + Send + Unpin + 'static,
        entry: Entry,
    ) -> impl Stream<Item = Result<ImportProgress, Status>> + Send + 'static {
        let (progress, told) = mpsc::channel(PROGRESS_QUEUE);
        let import = Import {
            admin: self.working_for(&entry, IMPORT, None),
            progress,
            entry,
        };
        let work = stream::once(import.run(items)).filter_map(|()| async { None });
        stream::select(ReceiverStream::new(told), work)
    }
}

impl Import {
    async fn run(mut self, items: impl Stream<Item = Result<ImportItem, Status>> + Send + Unpin) {
        let last = self.apply(items).await;
        let Self {
            entry, progress, ..
        } = self;
        let last = match last {
            Ok(last) => {
                note(entry, &last);
                Ok(last)
            }
            Err(status) => Err(entry.refuse(status)),
        };
        // Whoever does not listen any more has dropped the stream that runs this too.
        drop(progress.send(last).await);
    }

    async fn apply(
        &mut self,
        mut items: impl Stream<Item = Result<ImportItem, Status>> + Send + Unpin,
    ) -> Result<ImportProgress, Status> {
        let config = Arc::clone(&self.admin.config);
        let mut rows = Rows::new(&config.accounts, &config.answers);
        let mut received = 0;
        let mut dry_run = false;
        while let Some(item) = items.next().await {
            let row = match item?.item {
                Some(Item::Options(options)) => {
                    dry_run = options.dry_run;
                    continue;
                }
                Some(Item::Row(row)) => row,
                None => continue,
            };
            received += 1;
            self.entry.about(lines(received), dry_run);
            if received > config.accounts.max_import_rows {
                let max = config.accounts.max_import_rows;
                return Err(Status::invalid_argument(format!(
                    "the file has more than {max} lines (db_proxy.accounts.max_import_rows)"
                )));
            }
            rows.push(row);
            if received % LINES_PER_PROGRESS == 0 {
                self.tell(Ok(progress(received, &Hashed::default(), 0, None)))
                    .await;
            }
        }
        let names = judge_names(&self.admin, &mut rows).await?;
        if !rows.errors.is_empty() {
            let report = refused(rows, dry_run);
            return Ok(progress(received, &Hashed::default(), 0, Some(report)));
        }
        let hashed = self.hash(&mut rows.lines, received, dry_run).await?;
        let mut report = self.store(rows, dry_run).await.map_err(Status::from)?;
        if report.applied {
            self.admin
                .accounts
                .remember_imported(&hashed.verified)
                .await;
        }
        report.twins = names
            .twins()
            .take(MOST_TWINS)
            .map(|names| TwinNames { names })
            .collect();
        Ok(progress(received, &hashed, 0, Some(report)))
    }

    /// Turns passwords into hashes. Who has the password already keeps their hash, so that a second
    /// import of a file changes nothing; where that is remembered it costs no hash either. A dry run
    /// hashes only to compare.
    async fn hash(
        &self,
        lines: &mut [Line],
        received: usize,
        dry_run: bool,
    ) -> Result<Hashed, Status> {
        let mut wanted = Vec::new();
        for (place, line) in lines.iter_mut().enumerate() {
            let Some(password) = line.password.take() else {
                continue;
            };
            let digest = digest_of(&password);
            let found = self.admin.store.credentials(&line.user.name).await;
            let stored = found.map_err(AdminError::from)?;
            if let Some(stored) = &stored
                && self.admin.accounts.is_remembered(stored, &digest)
            {
                continue;
            }
            let hash = stored
                .map(|stored| stored.hash)
                .filter(|hash| !hash.is_empty());
            if dry_run && hash.is_none() {
                // Never stored; says that there will be one.
                line.user.hash = Some("new".to_owned());
                continue;
            }
            wanted.push((place, hash, digest));
        }
        let total = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
        let mut hashed = Hashed::default();
        let mut work = stream::iter(wanted.into_iter().map(|(place, old, digest)| async move {
            let pool = self.admin.accounts.pool();
            let new = pool.remake(old.clone(), digest.clone()).await?;
            Ok::<_, AdminError>((place, old, new, digest))
        }))
        .buffer_unordered(self.admin.accounts.pool().parallel());
        while let Some(done) = work.next().await {
            let (place, old, new, digest) = done?;
            if let Some(line) = lines.get_mut(place) {
                if let Some(hash) = new.clone().or(old) {
                    hashed.verified.push(Imported {
                        name: line.user.name.clone(),
                        hash,
                        digest,
                    });
                }
                line.user.hash = new;
            }
            hashed.count += 1;
            if hashed.count % HASHES_PER_PROGRESS == 0 {
                self.tell(Ok(progress(received, &hashed, total, None)))
                    .await;
            }
        }
        Ok(hashed)
    }

    /// Stores the lines, and tells what they change. Storing goes on to its end whoever reads the answer: who
    /// reads slowly holds no lock, and who goes away leaves nobody logged in who may not be.
    async fn store(&self, rows: Rows, dry_run: bool) -> Result<ImportReport, AdminError> {
        let kept = tokio::spawn(keep(self.admin.clone(), rows, dry_run)).await;
        let fault = |_| AdminError::Unavailable("the import ended by a fault".to_owned());
        let Kept {
            report,
            changes,
            numbers,
            users,
        } = kept.map_err(fault)??;
        for changes in changes.chunks(CHANGES_PER_ITEM) {
            let changes = changes.iter().map(|change| {
                let number = numbers.get(change.place).copied().unwrap_or_default();
                let name = users.get(change.place).map(|user| user.name.clone());
                person_change(change, number, name.unwrap_or_default())
            });
            let item = ImportProgress {
                changes: changes.collect(),
                ..ImportProgress::default()
            };
            self.tell(Ok(item)).await;
        }
        Ok(report)
    }

    /// Whoever does not listen any more has dropped the stream that runs this too.
    async fn tell(&self, item: Result<ImportProgress, Status>) {
        drop(self.progress.send(item).await);
    }
}

/// Puts the stored names in place of those of the file that mean them, and notes those that look
/// like somebody else's.
async fn judge_names(admin: &AdminService, rows: &mut Rows) -> Result<Names, Status> {
    let stored = admin.store.login_names().await.map_err(AdminError::from)?;
    let mut names = Names::of(stored);
    let mut taken = Vec::new();
    for line in &mut rows.lines {
        match names.judge(&line.user.name) {
            Named::Known(stored) => line.user.name = stored,
            Named::New => {}
            Named::Taken(why) => taken.push((line.number, why)),
        }
    }
    for (line, why) in taken {
        rows.error(line, why);
    }
    rows.errors.sort_by_key(|error| error.line);
    Ok(names)
}

/// What became of a file.
struct Kept {
    report: ImportReport,
    /// None where nothing was stored.
    changes: Vec<ImportChange>,
    /// Line of each of the people.
    numbers: Vec<u32>,
    users: Vec<ImportedUser>,
}

impl From<ImportReport> for Kept {
    /// The file was refused.
    fn from(report: ImportReport) -> Self {
        Self {
            report,
            changes: Vec::new(),
            numbers: Vec::new(),
            users: Vec::new(),
        }
    }
}

/// Stores the lines or, in a dry run, finds out what that would do.
async fn keep(admin: AdminService, mut rows: Rows, dry_run: bool) -> Result<Kept, AdminError> {
    let _changing = admin.changing.lock().await;
    if !dry_run {
        // Others may have got names since they were judged first.
        if let Err(status) = judge_names(&admin, &mut rows).await {
            return Err(AdminError::Unavailable(status.message().to_owned()));
        }
        if !rows.errors.is_empty() {
            return Ok(refused(rows, dry_run).into());
        }
    }
    let lines = std::mem::take(&mut rows.lines);
    let (numbers, users): (Vec<u32>, Vec<_>) = lines
        .into_iter()
        .map(|line| (line.number, line.user))
        .unzip();
    let import = DirectoryImport {
        users,
        now: UnixSeconds::now(),
    };
    let outcome = if dry_run {
        admin.store.rehearse_import(&import).await
    } else {
        let changed = Changed::of("directory").after(json!({ "lines": import.users.len() }));
        let outcome = admin.noting(changed).import(&import).await;
        // Whatever became of it: what was remembered may be old.
        admin.accounts.forget_everybody();
        outcome
    }?;
    if !outcome.conflicts.is_empty() {
        for (place, message) in outcome.conflicts {
            let number = numbers.get(place).copied().unwrap_or_default();
            rows.error(number, message);
        }
        return Ok(refused(rows, dry_run).into());
    }
    if !dry_run {
        let kicks = outcome.disabled.iter().map(|user| kick_everywhere(*user));
        let kicks = kicks.map(|kick: Kick| Publication::Kick(kick));
        admin.publisher.publish(kicks.collect());
    }
    let report = ImportReport {
        applied: !dry_run,
        dry_run,
        added: outcome.added,
        updated: outcome.updated,
        unchanged: outcome.unchanged,
        departments_added: outcome.departments_added,
        ..ImportReport::default()
    };
    Ok(Kept {
        report,
        changes: outcome.changes,
        numbers,
        users: import.users,
    })
}

fn lines(received: usize) -> String {
    format!("directory of {received} lines")
}

/// The line of an import that came to its end.
fn note(mut entry: Entry, last: &ImportProgress) {
    let received = last.received;
    let report = last.report.clone().unwrap_or_default();
    let refused = report.errors.len();
    if let Some(error) = report.errors.first() {
        let more = report.errors_left_out;
        entry.refuse(Status::failed_precondition(format!(
            "{refused} lines, and {more} more; line {}: {}",
            error.line, error.message
        )));
        return;
    }
    let ImportReport {
        added,
        updated,
        unchanged,
        ..
    } = report;
    entry.about(
        format!(
            "directory of {received} lines: {added} added, {updated} changed, {unchanged} unchanged"
        ),
        report.dry_run,
    );
    entry.done();
}

fn person_change(change: &ImportChange, line: u32, name: String) -> PersonChange {
    let fields = change.fields.iter().map(|field| FieldChange {
        field: field.field.to_owned(),
        before: shown(field.field, &field.before),
        after: shown(field.field, &field.after),
    });
    PersonChange {
        line,
        name,
        added: change.added,
        fields: fields.collect(),
    }
}

/// Numbers that have words are shown as these.
fn shown(field: &str, value: &str) -> String {
    match (field, value.parse()) {
        ("status", Ok(number)) => status_word(number).to_owned(),
        ("sex", Ok(number)) => sex_word(number).to_owned(),
        _ => value.to_owned(),
    }
}

fn progress(
    received: usize,
    hashed: &Hashed,
    to_hash: u32,
    report: Option<ImportReport>,
) -> ImportProgress {
    ImportProgress {
        received: u32::try_from(received).unwrap_or(u32::MAX),
        hashed: hashed.count,
        to_hash,
        report,
        ..ImportProgress::default()
    }
}

fn refused(rows: Rows, dry_run: bool) -> ImportReport {
    ImportReport {
        dry_run,
        errors: rows.errors,
        errors_left_out: rows.errors_left_out,
        ..ImportReport::default()
    }
}
