//! The log of changes, for whoever delivers to subscriptions; and that it does not grow for ever.

use std::time::Duration;

use im_core::Chain;
use im_core::time::UnixSeconds;
use im_order::CommitSeq;
use im_proto_rpc::v1;
use im_proto_rpc::v1::follow_item::Item;
use im_store::{ChangeRow, Changed};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Shared;
use super::answer::{persist, refused};
use super::holders::Hold;
use super::hooks::NAME;

/// Changes of one page.
const PAGE: u32 = 1_000;

/// How often what is old is dropped.
const TRIM_EVERY: Duration = Duration::from_secs(60);

impl Shared {
    /// What was changed behind a place.
    pub(super) async fn changes(&self, asked: v1::ChangesAfter, hold: &Hold) -> Item {
        if hold.name != NAME {
            return refused("this name makes no deliveries");
        }
        let rows = match asked.rows {
            0 => PAGE,
            rows => rows.min(PAGE),
        };
        let after = CommitSeq::from_wire(asked.after);
        let store = &self.context.store;
        // Before the rows: what is written meanwhile comes with the next page.
        let end = persist(|| store.change_log_end()).await;
        let found = persist(|| store.changes_after(after, rows)).await;
        let more = found.len() >= usize::try_from(rows).unwrap_or(usize::MAX);
        let last = found.last().map_or(after, |row| row.seq);
        let through = if more { last } else { last.max(end).max(after) };
        Item::Changes(v1::ChangePage {
            changes: found.into_iter().map(record).collect(),
            through: through.to_wire(),
            more,
        })
    }

    /// Drops changes that are old or too many, until `stop`.
    pub(super) async fn trim_changes(&self, stop: CancellationToken) {
        loop {
            let pause = tokio::time::sleep(TRIM_EVERY);
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
            let config = self.config();
            let since = UnixSeconds::now().saturating_sub(config.changes_for.as_seconds_u32());
            let store = &self.context.store;
            loop {
                match store.trim_changes(since, config.changes).await {
                    Ok(0) => break,
                    Ok(dropped) => self.metrics.dropped_changes(dropped),
                    Err(error) => {
                        warn!(error = %Chain(&error), "old changes were not dropped");
                        break;
                    }
                }
            }
        }
    }
}

fn record(row: ChangeRow) -> v1::ChangeRecord {
    let mut record = v1::ChangeRecord {
        seq: row.seq.to_wire(),
        at: row.at.get(),
        value: row.value,
        ..v1::ChangeRecord::default()
    };
    match row.changed {
        Changed::Group(id) => record.group = id,
        Changed::Person(id) => record.user = id,
        Changed::Department(id) => record.department = id,
        Changed::File(file) => {
            record.file = Some(v1::StoredFile {
                task: file.task,
                from: file.from.get(),
                to: file.to.get(),
                name: file.name,
                size: file.size,
                stored: file.stored.get(),
            });
        }
    }
    record
}
