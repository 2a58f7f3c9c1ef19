//! Decides what happens to each send of a batch: ids, log positions, retries, refusals.
//!
//! Pure: no I/O, no clock. Works on the writer's [`Memory`], which must know every conversation of
//! the batch (see `load`), and changes it as if the batch were committed; when it is not, the memory
//! must [`Memory::forget`] the batch.

use std::sync::Arc;

use im_core::time::UnixSeconds;
use im_core::{Cache, Conversation, GroupId, MsgId, UserId};
use im_order::CommitSeq;
use im_proto_rpc::v1;
use im_store::{AppendBatch, ConversationRow, MessageRow, NewConversation};

use super::job::{Incoming, Receiver};
use super::retries::{Kept, RetryWindow};
use crate::members::Members;
use crate::publication::{Outgoing, Recipients};
use crate::reject::RejectReason;

/// What the writer remembers of one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// `None`: a pair of existing users that have not spoken yet.
    pub(super) row: Option<ConversationRow>,
    pub(super) last_id: u32,
    pub(super) low_sent: u32,
}

/// Everything the writer remembers. All of it is bounded and can be read again from the store.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) conversations: Cache<Conversation, Known>,
    pub(super) groups: Cache<GroupId, Arc<Members>>,
    pub(super) retries: RetryWindow,
    pub(super) users: Cache<UserId, ()>,
    /// Position of the newest message of the log.
    pub(super) end: CommitSeq,
    /// Greatest conversation row in use.
    pub(super) last_row: ConversationRow,
    /// Ids that a conversation skips when it starts.
    pub(super) skipped: u32,
}

/// What happened to a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Stored by this batch.
    Stored(Kept),
    /// A repetition of a message that is stored, by this batch or before.
    Repeated(Kept),
    /// Never to be stored.
    Refused(RejectReason),
}

/// A decided batch.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) append: AppendBatch,
    /// One per send, in order.
    pub(super) decisions: Vec<Decision>,
    /// What to publish after the commit, in log order.
    pub(super) outgoing: Vec<Outgoing>,
    /// Read positions that move with a user's own group messages.
    pub(super) read: Vec<(UserId, Conversation, u32)>,
}

impl Memory {
    /// Decides a batch of about `count` sends.
    pub(super) fn plan<'a>(
        &mut self,
        sends: impl Iterator<Item = &'a Incoming>,
        count: usize,
        now: UnixSeconds,
    ) -> Plan {
        let mut plan = Plan::default();
        plan.decisions.reserve_exact(count);
        plan.outgoing.reserve_exact(count);
        plan.append.messages.reserve_exact(count);
        for send in sends {
            let decision = self.decide(send, now, &mut plan);
            plan.decisions.push(decision);
        }
        plan
    }

    /// Forgets what a batch that was not committed has changed, and whatever else is known of its
    /// conversations. The end of the log must be read again too.
    pub(super) fn forget<'a>(&mut self, sends: impl Iterator<Item = &'a Incoming>, plan: &Plan) {
        for send in sends {
            self.conversations.remove(&send.conversation);
            if let Conversation::Group(group) = send.conversation {
                self.groups.remove(&group);
            }
        }
        // Only its own: the keys of repetitions are of messages that are stored.
        for key in plan
            .append
            .messages
            .iter()
            .filter_map(|row| row.key.as_ref())
        {
            self.retries.remove(key);
        }
    }

    /// Forgets all conversations and groups. Retry keys stay: they are of committed messages.
    pub(super) fn clear(&mut self) {
        self.conversations.clear();
        self.groups.clear();
    }

    fn decide(&mut self, send: &Incoming, now: UnixSeconds, plan: &mut Plan) -> Decision {
        let receiver = send.receiver();
        let Some(known) = self.conversations.get(&send.conversation) else {
            return Decision::Refused(match receiver {
                Receiver::User(_) => RejectReason::UnknownReceiver,
                Receiver::Group(_) => RejectReason::NoSuchGroup,
            });
        };
        let (to, recipients) = match receiver {
            Receiver::User(user) => (user.get(), Recipients::Pair(send.sender, user)),
            Receiver::Group(group) => match self.groups.get(&group) {
                Some(members) if members.contains(send.sender) => {
                    (group.get(), Recipients::Group(Arc::clone(members)))
                }
                Some(_) => return Decision::Refused(RejectReason::NotMember),
                None => return Decision::Refused(RejectReason::NoSuchGroup),
            },
        };
        // Membership comes first: who has left is not told that his message was stored before.
        if let Some(key) = &send.key
            && let Some(kept) = self.retries.find(&key.key, key.window_seconds, now)
        {
            return Decision::Repeated(kept);
        }
        // It was taken for a repetition when it came, and is none any more.
        if send.needs_verdict {
            return Decision::Refused(RejectReason::Unjudged);
        }
        let Some(msg_id) = known.last_id.checked_add(1).and_then(MsgId::from_wire) else {
            return Decision::Refused(RejectReason::ConversationFull);
        };
        let row = *known.row.get_or_insert_with(|| {
            let row = ConversationRow(self.last_row.0 + 1);
            self.last_row = row;
            plan.append.new_conversations.push(NewConversation {
                row,
                conversation: send.conversation,
            });
            row
        });
        known.last_id = msg_id.get();
        match send.conversation {
            Conversation::Pair(low, _) => known.low_sent += u32::from(low == send.sender),
            Conversation::Group(_) => {
                plan.read
                    .push((send.sender, send.conversation, msg_id.get()));
            }
        }
        let seq = self.end.next();
        self.end = seq;
        let kept = Kept {
            msg_id,
            time: now,
            seq,
        };
        if let Some(key) = &send.key {
            self.retries.insert(key.key, kept, now);
        }
        plan.append.messages.push(MessageRow {
            seq,
            row,
            msg_id,
            sender: send.sender,
            msg_type: send.msg_type,
            time: now,
            low_sent: known.low_sent,
            key: send.key.map(|key| key.key),
            body: send.body.clone(),
        });
        let message = v1::LiveMessage {
            seq: seq.to_wire(),
            from: send.sender.get(),
            to,
            msg_id: msg_id.get(),
            time: now.get(),
            msg_type: send.msg_type,
            data: send.body.clone(),
            origin: send.origin.0,
            recipients: Vec::new(),
            trace: send.trace.to_wire(),
        };
        plan.outgoing.push(Outgoing {
            message,
            recipients,
        });
        Decision::Stored(kept)
    }
}

#[cfg(test)]
mod tests;
