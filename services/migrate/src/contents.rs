//! Everything out of one store into a stream, and out of a stream into a new store of any kind.
//!
//! *Memory.* A page of the store and two that wait, each 1,000 rows or 256 KiB and one row; and for each conversation what it is
//! compared by, some 50 bytes. What is in order by no index the embedded store puts in order in temporary files.

use std::io::{Read, Write};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use im_core::time::UnixSeconds;
use im_store::{Content, OpenStore, SECTIONS, StoreError};
use serde::Serialize;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::interval;

use crate::MigrateError;
use crate::archive::Header;
use crate::archive::read::read;
use crate::archive::sums::{Summing, Sums};
use crate::archive::write::Writer;
use crate::integrity::{Inspector, Integrity};
use crate::judge::name_of;
use crate::owner::Owner;
use crate::report::{Progress, Stage};

/// Pages that wait.
const QUEUE: usize = 2;
/// Between two words about how far it is.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// Conversations that are told which are not the same.
const EXAMPLES: usize = 10;

/// What travels beside the rows of a section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SectionReport {
    /// The section's name.
    pub name: &'static str,
    /// Its rows.
    pub rows: u64,
    /// BLAKE3 of them, in hexadecimal digits.
    pub blake3: String,
}

/// What was moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContentReport {
    /// Kind of store that the rows come from, and the step of its schema.
    pub source: String,
    /// When they were read there, Unix seconds.
    pub at: u32,
    /// All sections, in their order.
    pub sections: Vec<SectionReport>,
    /// Messages.
    pub messages: u64,
    /// Conversations that have messages.
    pub conversations: u64,
    /// What comparing the store with the stream has found, if it was asked for.
    pub comparison: Option<ContentComparison>,
}

/// What comparing has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ContentComparison {
    /// Sections that are not the same.
    pub sections: Vec<&'static str>,
    /// Conversations that have other messages, or as many as other ones.
    pub conversations: u64,
    /// The first of them, with the messages of the stream and of the store.
    pub examples: Vec<(String, u32, u32)>,
}

impl ContentReport {
    fn new(source: String, at: u32, sums: &Sums) -> Self {
        let sections = SECTIONS.iter().zip(&sums.sections);
        let sections = sections.map(|(section, (rows, hash))| SectionReport {
            name: section.name,
            rows: *rows,
            blake3: blake3::Hash::from_bytes(*hash).to_hex().to_string(),
        });
        let messages = sums.conversations.values();
        Self {
            source,
            at,
            sections: sections.collect(),
            messages: messages.map(|found| u64::from(found.messages)).sum(),
            conversations: u64::try_from(sums.conversations.len()).unwrap_or(u64::MAX),
            comparison: None,
        }
    }

    /// Whether both sides are the same, as far as they were compared.
    pub fn is_good(&self) -> bool {
        let found = self.comparison.as_ref();
        found.is_none_or(|found| found.sections.is_empty())
    }

    /// In words, one line each.
    pub fn words(&self) -> Vec<String> {
        let filled = self.sections.iter().filter(|section| section.rows > 0);
        let filled = filled.map(|section| format!("{} {}", section.rows, section.name));
        let mut lines = vec![
            format!("from {}", self.source),
            filled.collect::<Vec<_>>().join(", "),
            format!(
                "{} messages in {} conversations",
                self.messages, self.conversations
            ),
        ];
        lines.extend(self.comparison.as_ref().map(ContentComparison::words));
        lines
    }
}

impl ContentComparison {
    fn new(stream: &Sums, store: &Sums) -> Self {
        let different = stream.different_conversations(store);
        let examples = different.iter().take(EXAMPLES).map(|number| {
            (
                name_of(*number),
                stream.messages(*number),
                store.messages(*number),
            )
        });
        Self {
            sections: stream.different_sections(store),
            conversations: u64::try_from(different.len()).unwrap_or(u64::MAX),
            examples: examples.collect(),
        }
    }

    fn words(&self) -> String {
        if self.sections.is_empty() {
            return "compared: the store holds the same, row by row".to_owned();
        }
        let examples = self.examples.iter().map(|(name, stream, store)| {
            format!("{name}: {stream} messages in the archive, {store} in the store")
        });
        let examples: Vec<_> = examples.collect();
        format!(
            "compared: NOT the same are {}; {} conversations ({})",
            self.sections.join(", "),
            self.conversations,
            examples.join("; ")
        )
    }
}

/// Rows that are done, and all of them.
#[derive(Debug, Default)]
struct Meter {
    done: AtomicU64,
    most: AtomicU64,
}

impl Meter {
    fn see(&self, content: &Content) {
        match content {
            Content::Counts(counts) => self.most.store(counts.iter().sum(), Ordering::Relaxed),
            Content::Rows(page) => {
                let rows = u64::try_from(page.rows.len()).unwrap_or(u64::MAX);
                self.done.fetch_add(rows, Ordering::Relaxed);
            }
            Content::End => {}
        }
    }

    fn progress(&self, stage: Stage) -> Progress {
        Progress {
            stage,
            done: self.done.load(Ordering::Relaxed),
            most: self.most.load(Ordering::Relaxed),
        }
    }
}

/// Waits for work that a meter counts, and tells of it.
async fn told<T>(
    work: impl Future<Output = T>,
    meter: &Meter,
    stage: Stage,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> T {
    let mut work = pin!(work);
    let mut ticks = interval(TELL_EVERY);
    loop {
        tokio::select! {
            done = &mut work => {
                tell(meter.progress(stage));
                return done;
            }
            _ = ticks.tick() => tell(meter.progress(stage)),
        }
    }
}

/// What a thread has done, and a store: the one that has failed first says why.
async fn joined<T>(
    thread: JoinHandle<Result<T, MigrateError>>,
    store: impl Future<Output = Result<(), StoreError>>,
) -> Result<T, MigrateError> {
    let (thread, store) = tokio::join!(thread, store);
    let thread = thread.unwrap_or_else(|error| Err(MigrateError::Archive(error.to_string())));
    match (thread, store) {
        // The one that was left alone knows only that.
        (Err(MigrateError::LeftAlone) | Ok(_), Err(error)) => Err(error.into()),
        (Err(error), _) => Err(error),
        (Ok(value), Ok(())) => Ok(value),
    }
}

/// Says whether what a store holds, as it is at one moment, fits together. Servers may use it meanwhile.
///
/// # Errors
/// The store cannot be read.
pub async fn inspect(
    store: &dyn OpenStore,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> Result<Integrity, MigrateError> {
    let meter = Meter::default();
    let (to, mut from) = channel(QUEUE);
    let looking = async {
        let mut inspector = Inspector::default();
        while let Some(content) = from.recv().await {
            meter.see(&content);
            inspector.take(&content)?;
        }
        drop(from);
        Ok::<_, MigrateError>(inspector.end())
    };
    let working = async { tokio::join!(store.read_contents(to), looking) };
    let (read, looked) = told(working, &meter, Stage::Reading, tell).await;
    read?;
    looked?.ok_or(MigrateError::LeftAlone)
}

/// Writes everything that the store holds, while nobody else uses it. `source` says what the store is.
///
/// # Errors
/// A server uses the store, or it cannot be read, or the stream not written.
pub async fn export(
    store: &dyn OpenStore,
    source: &str,
    out: impl Write + Send + 'static,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> Result<ContentReport, MigrateError> {
    let (mut owner, _) = Owner::take(store, "export").await?;
    let done = {
        let source = source.to_owned();
        let at = UnixSeconds::now().get();
        let meter = Arc::new(Meter::default());
        let (to, from) = channel(QUEUE);
        let writing = {
            let meter = Arc::clone(&meter);
            let source = source.clone();
            tokio::task::spawn_blocking(move || write_all(from, out, &source, at, &meter))
        };
        let working = joined(writing, store.read_contents(to));
        let working = told(working, &meter, Stage::Reading, tell);
        tokio::select! {
            done = working => done.map(|sums| ContentReport::new(source, at, &sums)),
            lost = owner.keep() => Err(lost),
        }
    };
    let given = owner.give().await;
    let report = done?;
    given?;
    Ok(report)
}

fn write_all(
    mut from: Receiver<Content>,
    out: impl Write,
    source: &str,
    at: u32,
    meter: &Meter,
) -> Result<Sums, MigrateError> {
    let mut writer = Writer::new(out);
    loop {
        let content = from.blocking_recv().ok_or(MigrateError::LeftAlone)?;
        if content == Content::End {
            return Ok(writer.finish()?.0);
        }
        writer.put(&content, source, at)?;
        meter.see(&content);
    }
}

/// Fills a new store with what a stream holds, in one transaction; then compares both, if it is to.
///
/// # Errors
/// A server uses the store, it has rows already, or the stream cannot be read: then nothing of it is there.
pub async fn import_contents(
    store: &dyn OpenStore,
    input: impl Read + Send + 'static,
    is_compared: bool,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> Result<ContentReport, MigrateError> {
    let (mut owner, owned) = Owner::take(store, "import").await?;
    let done = {
        let meter = Arc::new(Meter::default());
        let (to, from) = channel(QUEUE);
        let reading = {
            let meter = Arc::clone(&meter);
            tokio::task::spawn_blocking(move || read_all(input, &to, &meter))
        };
        let working = joined(reading, store.fill(owned.standing(), from));
        let working = told(working, &meter, Stage::Filling, tell);
        tokio::select! {
            done = working => done,
            lost = owner.keep() => Err(lost),
        }
    };
    let given = owner.give().await;
    let (header, sums) = done?;
    given?;
    let mut report = ContentReport::new(header.source, header.at, &sums);
    if is_compared {
        report.comparison = Some(compare(store, &sums, tell).await?);
    }
    Ok(report)
}

fn read_all(
    input: impl Read,
    to: &Sender<Content>,
    meter: &Meter,
) -> Result<(Header, Sums), MigrateError> {
    let send = |content| {
        let sent = to.blocking_send(content);
        sent.map_err(|_| MigrateError::LeftAlone)
    };
    let all = read(input, &mut |content| {
        meter.see(&content);
        send(content)
    })?;
    // Whoever takes it commits now: nothing was cut off or damaged.
    send(Content::End)?;
    Ok(all)
}

/// Compares a store with what a stream holds, and changes neither.
///
/// # Errors
/// One of them cannot be read.
pub async fn compare_contents(
    store: &dyn OpenStore,
    input: impl Read + Send + 'static,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> Result<ContentReport, MigrateError> {
    let meter = Arc::new(Meter::default());
    let reading = {
        let meter = Arc::clone(&meter);
        tokio::task::spawn_blocking(move || look_through(input, &meter))
    };
    let reading = joined(reading, async { Ok(()) });
    let (header, sums) = told(reading, &meter, Stage::Reading, tell).await?;
    let mut report = ContentReport::new(header.source, header.at, &sums);
    report.comparison = Some(compare(store, &sums, tell).await?);
    Ok(report)
}

fn look_through(input: impl Read, meter: &Meter) -> Result<(Header, Sums), MigrateError> {
    read(input, &mut |content| {
        meter.see(&content);
        Ok(())
    })
}

async fn compare(
    store: &dyn OpenStore,
    stream: &Sums,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> Result<ContentComparison, MigrateError> {
    let meter = Arc::new(Meter::default());
    let (to, from) = channel(QUEUE);
    let summing = {
        let meter = Arc::clone(&meter);
        tokio::task::spawn_blocking(move || sum_all(from, &meter))
    };
    let working = joined(summing, store.read_contents(to));
    let found = told(working, &meter, Stage::Comparing, tell).await?;
    Ok(ContentComparison::new(stream, &found))
}

fn sum_all(mut from: Receiver<Content>, meter: &Meter) -> Result<Sums, MigrateError> {
    let mut sums = Summing::new();
    loop {
        let content = from.blocking_recv().ok_or(MigrateError::LeftAlone)?;
        meter.see(&content);
        match content {
            Content::Counts(_) => {}
            Content::Rows(page) => drop(sums.page(&page)),
            Content::End => return Ok(sums.finish()),
        }
    }
}
