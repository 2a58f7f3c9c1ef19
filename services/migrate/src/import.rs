//! An import from its beginning to its end.

use std::collections::HashSet;
use std::time::Duration;

use im_core::time::UnixSeconds;
use im_order::{CommitSeq, Ownership};
use im_store::{
    ConversationRow, OpenStore, StoreError, TransferBatch, TransferredAccount, TransferredGroup,
    TransferredMessages,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::judge::{Judge, name_of};
use crate::messages::{Reader, Stage as Messages};
use crate::oddities::{Oddities, OddityKind};
use crate::owner::Owner;
use crate::progress::{self, Saved};
use crate::report::{Counts, Progress, Report, Stage};
use crate::source::{Shard, Source};
use crate::{ImportOptions, MigrateError, members, people, verify as comparing};

/// How long a store that takes nothing is tried, and the time between two attempts.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// The store, while its log is ours.
pub(crate) struct Target<'s> {
    pub(crate) store: &'s dyn OpenStore,
    pub(crate) owned: Ownership,
    /// Row of the next conversation.
    next_row: i64,
}

impl Target<'_> {
    /// Writes rows beside messages.
    pub(crate) async fn transfer(&self, mut batch: TransferBatch) -> Result<(), MigrateError> {
        batch.now = UnixSeconds::now();
        let written = self.store.transfer(self.owned.standing(), &batch).await;
        written.map_err(|error| match error {
            StoreError::Outdated => MigrateError::Taken(rows_of(&batch)),
            error => error.into(),
        })
    }

    /// Writes messages, behind which the log ends then.
    pub(crate) async fn append(
        &self,
        messages: &TransferredMessages,
    ) -> Result<CommitSeq, MigrateError> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.store.transfer_messages(messages).await {
                Ok(()) => return Ok(messages.batch.fence.span.through()),
                // Its log is full for a moment, or its server is away.
                Err(StoreError::Unavailable(_)) if Instant::now() < end => sleep(PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(crate) fn new_row(&mut self) -> ConversationRow {
        let row = ConversationRow(self.next_row);
        self.next_row += 1;
        row
    }

    /// Rows for groups that are new; those of others stay.
    pub(crate) async fn give_rows(
        &mut self,
        groups: &mut [TransferredGroup],
    ) -> Result<(), MigrateError> {
        let wanted: Vec<_> = groups.iter().map(people::conversation).collect();
        let states = self.store.conversation_states(&wanted).await?;
        for (group, state) in groups.iter_mut().zip(states) {
            group.row = match state {
                Some(state) => state.row,
                None => self.new_row(),
            };
        }
        Ok(())
    }
}

/// The rows of a transaction in words.
fn rows_of(batch: &TransferBatch) -> String {
    let ends = |of: &str, first: Option<u32>, last: Option<u32>| {
        let ends = first.zip(last);
        ends.map(|(first, last)| format!("{of} {first} to {last}"))
    };
    let id = |account: &TransferredAccount| account.profile.id.get();
    let accounts = &batch.accounts;
    let accounts = ends(
        "accounts",
        accounts.first().map(id),
        accounts.last().map(id),
    );
    let id = |group: &TransferredGroup| group.record.id.get();
    let groups = &batch.groups;
    let groups = ends("groups", groups.first().map(id), groups.last().map(id));
    accounts
        .or(groups)
        .unwrap_or_else(|| "departments".to_owned())
}

/// Takes the database of the original over. `tell` hears how far it is.
///
/// # Errors
/// What cannot be read or written; what was written until then stays, and the next import goes on there.
pub async fn import(
    store: &dyn OpenStore,
    options: &ImportOptions,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, MigrateError> {
    let (mut owner, owned) = Owner::take(store, "import-teamtalk").await?;
    let stop = CancellationToken::new();
    let done = {
        let working = async {
            let done = take_over(store, owned, options, tell).await;
            stop.cancel();
            done
        };
        let maintaining = store.run_maintenance(stop.clone());
        tokio::select! {
            (done, ()) = async { tokio::join!(working, maintaining) } => done,
            lost = owner.keep() => Err(lost),
        }
    };
    let given = owner.give().await;
    let report = done?;
    given?;
    Ok(report)
}

async fn take_over(
    store: &dyn OpenStore,
    owned: Ownership,
    options: &ImportOptions,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, MigrateError> {
    let mut source = Source::open(&options.source, &options.connection).await?;
    store.begin_transfer().await?;
    let (saved, turned) = progress::read(&store.transfer_states(progress::ALL).await?)?;
    let resumed = saved.is_some();
    let saved = saved.unwrap_or_default();
    let end = owned.end.to_wire();
    if saved.end != end {
        let known = saved.end;
        return Err(MigrateError::Used { found: end, known });
    }
    let (_, row) = store.log_end().await?;
    let mut target = Target {
        store,
        owned,
        next_row: row.0 + 1,
    };
    if !resumed {
        let anybody = store.users_since(UnixSeconds::EPOCH, 1).await?;
        if !anybody.users.is_empty() {
            return Err(MigrateError::NotNew);
        }
        // From here on what is there is the import's.
        let begun = TransferBatch {
            states: vec![saved.state()?],
            ..TransferBatch::default()
        };
        target.transfer(begun).await?;
    }
    let mut judge = Judge::default();
    let mut counts = Counts::default();
    tell(at(Stage::People));
    let base = options.avatar_base.as_deref();
    let removed = people::run(
        &mut source,
        Some(&mut target),
        base,
        &mut judge,
        &mut counts,
    )
    .await?;

    tell(at(Stage::Looking));
    let mut through = Vec::new();
    for shard in Shard::all() {
        through.push(source.last_key(shard).await?);
    }
    let mut renumbered = renumbered(&mut source, &through, &mut judge.oddities).await?;
    renumbered.extend(turned);
    let reader = Reader::new(source, judge, &saved.tables, through, options);
    let mut messages = Messages::new(reader, renumbered, options.rows);
    let saved = messages.run(&mut target, saved, &mut counts, tell).await?;
    let (mut source, mut judge) = messages.into_parts();

    tell(at(Stage::Members));
    members::run(&mut source, &target, &removed, &mut judge, &mut counts).await?;
    if let Some(file) = &options.redis {
        crate::redis::run(file, &target, &mut judge, &mut counts).await?;
    }
    let mut report = Report {
        resumed,
        counts,
        ..Report::default()
    };
    if options.verify {
        let known = std::mem::take(&mut judge.known);
        let compared = comparing::run(source, store, &saved, known, options, tell).await?;
        report.verification = Some(compared);
    }
    report.oddities = judge.oddities.into_list();
    Ok(report)
}

/// Compares what was taken over with the original, and changes nothing.
///
/// # Errors
/// What cannot be read; or the import has not ended.
pub async fn verify(
    store: &dyn OpenStore,
    options: &ImportOptions,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, MigrateError> {
    let states = match store.transfer_states(progress::ALL).await {
        Err(StoreError::Unavailable(_)) => Vec::new(),
        states => states?,
    };
    let (saved, _) = progress::read(&states)?;
    let is_whole = |saved: &Saved| {
        saved.held.is_empty() && saved.tables.iter().all(|table| table.above.is_empty())
    };
    let saved = saved.filter(is_whole).ok_or_else(|| {
        MigrateError::State("no import has ended in this store: import first".to_owned())
    })?;
    let mut source = Source::open(&options.source, &options.connection).await?;
    let (mut judge, mut counts) = (Judge::default(), Counts::default());
    people::run(&mut source, None, None, &mut judge, &mut counts).await?;
    let compared = comparing::run(source, store, &saved, judge.known, options, tell).await?;
    Ok(Report {
        verification: Some(compared),
        ..Report::default()
    })
}

/// Reads everything and writes nothing: what an import would find.
///
/// # Errors
/// What cannot be read.
pub async fn dry_run(
    options: &ImportOptions,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, MigrateError> {
    let mut source = Source::open(&options.source, &options.connection).await?;
    let (mut judge, mut counts) = (Judge::default(), Counts::default());
    tell(at(Stage::People));
    let base = options.avatar_base.as_deref();
    people::run(&mut source, None, base, &mut judge, &mut counts).await?;
    tell(at(Stage::Looking));
    let mut through = Vec::new();
    for shard in Shard::all() {
        through.push(source.last_key(shard).await?);
    }
    renumbered(&mut source, &through, &mut judge.oddities).await?;
    let most = most(&[], &through);
    let mut reader = Reader::new(source, judge, &[], through, options);
    loop {
        let chunk = reader.chunk(options.rows).await?;
        if chunk.rows == 0 {
            break;
        }
        counts.rows += chunk.rows;
        let done = counts.rows;
        let stage = Stage::Messages;
        tell(Progress { stage, done, most });
    }
    let (_, judge) = reader.into_parts();
    Ok(Report {
        dry_run: true,
        counts,
        oddities: judge.oddities.into_list(),
        ..Report::default()
    })
}

/// Conversations whose ids are given anew, by their numbers, of the rows up to these keys.
pub(crate) async fn renumbered(
    source: &mut Source,
    through: &[u32],
    oddities: &mut Oddities,
) -> Result<HashSet<u64>, MigrateError> {
    let mut found = HashSet::new();
    for (shard, through) in Shard::all().zip(through) {
        for conversation in source.odd_conversations(shard, *through).await? {
            if found.insert(conversation) {
                oddities.note(OddityKind::Renumbered, || name_of(conversation));
            }
        }
    }
    for (pair, is_removed) in source.doubled_relations().await? {
        if is_removed {
            oddities.note(OddityKind::RemovedRelation, || name_of(pair));
        } else {
            found.insert(pair);
            oddities.note(OddityKind::SameRelation, || name_of(pair));
        }
    }
    Ok(found)
}

/// Rows that there may be between places of the tables and their last keys.
pub(crate) fn most(from: &[crate::window::Position], through: &[u32]) -> u64 {
    let from = from.iter().map(|position| position.from);
    let from = from.chain(std::iter::repeat(0));
    let rows = through.iter().zip(from);
    rows.map(|(through, from)| u64::from(through.saturating_sub(from)))
        .sum()
}

fn at(stage: Stage) -> Progress {
    Progress {
        stage,
        done: 0,
        most: 0,
    }
}
