//! Builds batches as the writer does: dense log positions, dense ids, counts of one side.

use std::collections::HashMap;

use crate::{
    AppendBatch, ConversationRow, GroupType, MessageRow, NewConversation, NewGroup, Store,
    StoreError,
};
use bytes::Bytes;
use im_core::time::UnixSeconds;
use im_core::{Conversation, GroupId, MsgId, RetryKey, UserId};
use im_order::{CommitSeq, Fence, Ownership, Partition, Tenure};

pub fn user(id: u32) -> UserId {
    UserId::from_wire(id).unwrap()
}

pub fn id(id: u32) -> MsgId {
    MsgId::from_wire(id).unwrap()
}

pub fn at(seconds: u32) -> UnixSeconds {
    UnixSeconds::from_wire(seconds)
}

pub fn pair(a: u32, b: u32) -> Conversation {
    Conversation::Pair(user(a.min(b)), user(a.max(b)))
}

#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub row: ConversationRow,
    pub last_id: u32,
    pub low_sent: u32,
}

/// What a writer remembers, and the batch that it is gathering.
#[derive(Clone, Default)]
pub struct Log {
    /// Taken with the first commit or group.
    pub tenure: Tenure,
    pub seq: u64,
    pub rows: i64,
    pub known: HashMap<Conversation, Known>,
    pub batch: AppendBatch,
}

impl Log {
    /// Adds a message to the batch, and a pair that is new.
    pub fn send(
        &mut self,
        sender: u32,
        conversation: Conversation,
        time: u32,
        body: &str,
    ) -> &mut MessageRow {
        let known = self.known.entry(conversation).or_insert_with(|| {
            self.rows += 1;
            let row = ConversationRow(self.rows);
            self.batch
                .new_conversations
                .push(NewConversation { row, conversation });
            Known {
                row,
                last_id: 0,
                low_sent: 0,
            }
        });
        self.seq += 1;
        known.last_id += 1;
        if let Conversation::Pair(low, _) = conversation {
            known.low_sent += u32::from(low.get() == sender);
        }
        self.batch.messages.push(MessageRow {
            seq: CommitSeq::from_wire(self.seq),
            row: known.row,
            msg_id: id(known.last_id),
            sender: user(sender),
            msg_type: 1,
            time: at(time),
            low_sent: known.low_sent,
            key: None,
            body: Bytes::copy_from_slice(body.as_bytes()),
        });
        self.batch.messages.last_mut().unwrap()
    }

    /// Stores the batch and begins another.
    pub async fn commit(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        self.own(store).await?;
        let batch = self.fenced();
        self.batch = AppendBatch::default();
        store.append(&batch).await
    }

    /// Takes the log, unless that was done.
    pub async fn own(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        if self.tenure == Tenure::NONE {
            self.tenure = store.take(Partition::ONLY).await?.tenure;
        }
        Ok(())
    }

    /// The batch, to be stored where this writer believes that the log ends.
    pub fn fenced(&self) -> AppendBatch {
        let messages = &self.batch.messages;
        let through = CommitSeq::from_wire(self.seq);
        let after = messages
            .first()
            .map_or(through, |first| first.seq.previous());
        AppendBatch {
            fence: self.owned(after).adding(through),
            ..self.batch.clone()
        }
    }

    fn owned(&self, end: CommitSeq) -> Ownership {
        Ownership {
            partition: Partition::ONLY,
            tenure: self.tenure,
            end,
        }
    }

    /// Makes a group whose creator is its first member.
    pub async fn group(&mut self, store: &dyn Store, members: &[u32], now: u32) -> GroupId {
        self.own(store).await.unwrap();
        self.rows += 1;
        let row = ConversationRow(self.rows);
        let members: Vec<UserId> = members.iter().map(|id| user(*id)).collect();
        let group = store
            .create_group(
                self.owned(CommitSeq::from_wire(self.seq)).standing(),
                &NewGroup {
                    row,
                    name: format!("group {}", row.0),
                    avatar: "avatar".into(),
                    creator: Some(members[0]),
                    group_type: GroupType::Temporary,
                    members,
                    now: at(now),
                },
            )
            .await
            .unwrap();
        self.known.insert(
            Conversation::Group(group),
            Known {
                row,
                last_id: 0,
                low_sent: 0,
            },
        );
        group
    }
}

/// The condition of a change by whoever owns the log now; takes it, if that is nobody.
pub async fn standing(store: &dyn Store) -> Fence {
    let mut owned = store.ownership(Partition::ONLY).await.unwrap();
    if owned.tenure == Tenure::NONE {
        owned = store.take(Partition::ONLY).await.unwrap();
    }
    owned.standing()
}

/// A key made of one number.
pub fn key(number: u8) -> RetryKey {
    RetryKey([number; 16])
}
