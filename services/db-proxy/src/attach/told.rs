//! What msg servers tell beside what they ask: files that wait for somebody, sessions that come and go.

use std::sync::Arc;

use im_core::time::UnixSeconds;
use im_core::{Chain, UserId};
use im_proto_rpc::v1;
use im_proto_rpc::v1::db_result::Result as Done;
use im_store::ReadyFile;
use im_writer::SendSink as _;
use tracing::debug;

use super::link::Served;

/// Longest task and longest name of a file that are noted, bytes: more than any file server has.
const MAX_TASK: usize = 64;
const MAX_NAME: usize = 4_096;

impl Served {
    /// Writes to the log of changes that a file is ready, once. What makes no sense, or was told too late for that
    /// log, is done with too: nobody is to tell it again.
    pub(super) async fn note_file(self: Arc<Self>, tag: u64, kept: v1::FileKept) {
        let keep = self.shared.context.config.follow.changes_for;
        let since = UnixSeconds::now().saturating_sub(keep.as_seconds_u32());
        let file = kept.file.and_then(ready);
        let Some(file) = file.filter(|file| file.stored >= since) else {
            self.push_light(tag, Done::Noted(v1::Noted {}));
            return;
        };
        // Tried once: its file server tells it again, and what other calls of the link need is not held meanwhile.
        match self.shared.context.store.note_ready_file(&file).await {
            Ok(_) => self.push_light(tag, Done::Noted(v1::Noted {})),
            Err(error) => {
                debug!(error = %Chain(&error), "a file is not noted yet");
                self.results.push(vec![v1::DbResult { tag, result: None }]);
            }
        }
    }

    /// Tells the msg server whether sessions that come and go are asked for, and when that changes.
    pub(super) async fn say_what_is_wanted(self: Arc<Self>) {
        let mut wanted = self.shared.comings.wanted();
        let mut is_told = false;
        loop {
            let is_wanted = *wanted.borrow_and_update();
            if is_wanted != is_told {
                is_told = is_wanted;
                let said = v1::SessionsWanted { wanted: is_wanted };
                // It leaves as the result of a call would.
                self.open.add(1);
                self.results.push(vec![v1::DbResult {
                    tag: 0,
                    result: Some(Done::SessionsWanted(said)),
                }]);
            }
            let changed = self.ended.run_until_cancelled(wanted.changed()).await;
            if !matches!(changed, Some(Ok(()))) {
                return;
            }
        }
    }
}

fn ready(file: v1::StoredFile) -> Option<ReadyFile> {
    let fits = (1..=MAX_TASK).contains(&file.task.len()) && file.name.len() <= MAX_NAME;
    Some(ReadyFile {
        from: UserId::from_wire(file.from)?,
        to: UserId::from_wire(file.to)?,
        task: Some(file.task).filter(|_| fits)?,
        name: file.name,
        size: file.size,
        stored: UnixSeconds::from_wire(file.stored),
    })
}
