//! Pages of the log with recipients, for msg servers that have missed something and for followers.

use std::sync::Arc;

use im_core::{Conversation, GroupId};
use im_order::CommitSeq;
use im_proto_rpc::v1;
use im_store::{LogEntry, ReadLimit, StoreError};
use im_writer::{Context, Members};

use crate::results::log_entry;

/// Entries of one read of the store.
const ENTRIES_PER_READ: u32 = 128;

/// Reads pages of the log.
#[derive(Clone)]
pub(crate) struct LogReader {
    context: Context,
}

/// What a page holds at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageLimit {
    /// Messages.
    pub(crate) rows: u32,
    /// Bytes of them as they travel; the first one comes whatever its size.
    pub(crate) bytes: usize,
}

impl LogReader {
    pub(crate) const fn new(context: Context) -> Self {
        Self { context }
    }

    /// A page of the log after a position, not beyond what has been published: what lies there comes
    /// by itself. What has expired is passed and left out, so that a page may be empty and not the last.
    pub(crate) async fn page(
        &self,
        after: CommitSeq,
        most: PageLimit,
    ) -> Result<v1::LogPage, StoreError> {
        let mut page = v1::LogPage {
            messages: Vec::new(),
            through: after.to_wire(),
            more: false,
        };
        let Some(published) = self.context.publisher.position() else {
            return Ok(page);
        };
        if published <= after {
            return Ok(page);
        }
        let limit = usize::try_from(most.rows.max(1)).unwrap_or(usize::MAX);
        let mut reached = after;
        let mut room = most.bytes;
        let mut looked_at = 0;
        while looked_at < limit && room > 0 {
            let wanted = u32::try_from(limit - looked_at).unwrap_or(u32::MAX);
            let within = ReadLimit {
                rows: wanted.min(ENTRIES_PER_READ),
                bytes: room,
            };
            let store = &self.context.store;
            let read = store.read_log(reached, within).await?;
            let publisher = &self.context.publisher;
            let origins = publisher.origins_of(read.iter().map(|entry| entry.message.seq));
            // The store stops at bytes too: only an empty read means the end.
            let nothing_left = read.is_empty();
            let entries = read.into_iter().zip(origins);
            for (entry, origin) in entries.take_while(|(e, _)| e.message.seq <= published) {
                let seq = entry.message.seq;
                looked_at += 1;
                if entry.message.body.is_empty() {
                    reached = seq;
                    page.through = seq.to_wire();
                    continue;
                }
                let message = self.live(entry, origin).await?;
                let bytes = log_entry(&message);
                if bytes > room && !page.messages.is_empty() {
                    page.more = true;
                    return Ok(page);
                }
                reached = seq;
                page.through = seq.to_wire();
                room = room.saturating_sub(bytes);
                page.messages.push(message);
            }
            if nothing_left || reached >= published {
                page.through = published.to_wire();
                return Ok(page);
            }
        }
        page.more = true;
        Ok(page)
    }

    async fn live(&self, entry: LogEntry, origin: u64) -> Result<v1::LiveMessage, StoreError> {
        let LogEntry {
            conversation,
            message,
        } = entry;
        let (to, recipients) = match conversation {
            Conversation::Pair(low, high) => {
                let to = if message.sender == low { high } else { low };
                (to.get(), vec![message.sender.get(), to.get()])
            }
            Conversation::Group(group) => {
                let members = self.members(group).await?;
                (group.get(), members.recipients_of(message.msg_id.get()))
            }
        };
        Ok(v1::LiveMessage {
            seq: message.seq.to_wire(),
            from: message.sender.get(),
            to,
            msg_id: message.msg_id.get(),
            time: message.time.get(),
            msg_type: message.msg_type,
            data: message.body,
            origin,
            recipients,
            trace: 0,
        })
    }

    async fn members(&self, group: GroupId) -> Result<Arc<Members>, StoreError> {
        let ticket = match self.context.members.get(group) {
            Ok(members) => return Ok(members),
            Err(ticket) => ticket,
        };
        let members = Arc::new(Members::new(self.context.store.members(group).await?));
        self.context.members.put(ticket, group, &members);
        Ok(members)
    }
}
