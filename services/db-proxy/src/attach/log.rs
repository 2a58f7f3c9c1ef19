//! Reading the log for a msg server that has missed something.

use std::sync::Arc;

use im_core::{Conversation, GroupId};
use im_order::CommitSeq;
use im_proto_rpc::v1;
use im_store::{LogEntry, ReadLimit, StoreError};
use im_writer::Members;

use super::Shared;
use crate::results::log_entry;

/// Entries of one read of the store.
const ENTRIES_PER_READ: u32 = 128;

impl Shared {
    /// A page of the log after a position, not beyond what has been published: what lies there comes
    /// by itself.
    pub(super) async fn read_log(&self, call: v1::ReadLog) -> Result<v1::LogPage, StoreError> {
        let after = CommitSeq::from_wire(call.after);
        let mut page = v1::LogPage {
            messages: Vec::new(),
            through: call.after,
            more: false,
        };
        let Some(published) = self.context.publisher.position() else {
            return Ok(page);
        };
        if published <= after {
            return Ok(page);
        }
        let limit = match call.limit {
            0 => self.config().log_page,
            asked => asked.min(self.config().log_page),
        };
        let limit = usize::try_from(limit.max(1)).unwrap_or(usize::MAX);
        let mut reached = after;
        let mut room = self.config().log_page_bytes.as_usize();
        while page.messages.len() < limit && room > 0 {
            let wanted = u32::try_from(limit - page.messages.len()).unwrap_or(u32::MAX);
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
