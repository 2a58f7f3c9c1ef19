//! Messages: read, and stored for people and programs that have no client.

use im_accounts::ACTIVE;
use im_core::{Conversation, GroupId, MsgId, Peer, UserId};
use im_order::CommitSeq;
use im_proto_rpc::v1::{
    self, ConversationKey, GetMessageRequest, ListMessagesRequest, MessageList, MessageRecord,
    SendMessageRequest, send_done::Outcome,
};
use im_store::{ReadLimit, StoredMessage};
use serde_json::json;

use super::groups::{group_id, no_group};
use super::notes::Changed;
use super::pages::{Limits, PAGE_BYTES};
use super::{AdminError, AdminService};
use crate::sends;

/// Messages in one answer: the default, and the most.
const LIMITS: Limits = Limits {
    default: 50,
    most: 200,
};

/// Bytes of a client's message id.
const CLIENT_ID: usize = 16;

impl AdminService {
    /// The newest ones first, or the oldest ones behind an id.
    pub(super) async fn list_messages_of(
        &self,
        request: ListMessagesRequest,
    ) -> Result<MessageList, AdminError> {
        let bounds = [request.before, request.after, request.at];
        if bounds.iter().filter(|bound| **bound != 0).count() > 1 {
            return Err(AdminError::Invalid(
                "messages lie before an id, after one, or from a time on: ask for one of them"
                    .to_owned(),
            ));
        }
        let conversation = conversation(request.conversation.unwrap_or_default())?;
        if let Conversation::Group(group) = conversation
            && self.store.groups(&[group]).await?.is_empty()
        {
            return Err(no_group(group));
        }
        let rows = LIMITS.of(request.limit);
        let limit = ReadLimit {
            rows: rows + 1,
            bytes: PAGE_BYTES,
        };
        let is_from_a_time = request.at != 0;
        let after = match request.at {
            0 => request.after,
            at => self.before_time(conversation, at).await?,
        };
        let found = match (request.before, after) {
            (0, 0) if !is_from_a_time => self.store.history(conversation, None, 0, limit).await?,
            (1, 0) => Vec::new(),
            (0, after) => self.store.history_after(conversation, after, limit).await?,
            (before, _) => {
                let from = MsgId::from_wire(before - 1);
                self.store.history(conversation, from, 0, limit).await?
            }
        };
        let count = found.len();
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        let shown = found.into_iter().take(rows);
        let messages: Vec<_> = shown.map(|message| record(conversation, message)).collect();
        let more = count > rows || self.goes_on(conversation, &request, &messages).await?;
        Ok(MessageList { messages, more })
    }

    /// Whether a page that has fewer messages than were asked for was cut at its bytes.
    async fn goes_on(
        &self,
        conversation: Conversation,
        request: &ListMessagesRequest,
        shown: &[MessageRecord],
    ) -> Result<bool, AdminError> {
        let Some(last) = shown.last() else {
            return Ok(false);
        };
        let one = ReadLimit::rows(1);
        let next = if request.after != 0 || request.at != 0 {
            self.store.history_after(conversation, last.id, one).await?
        } else {
            match MsgId::from_wire(last.id.saturating_sub(1)) {
                None => return Ok(false),
                from => self.store.history(conversation, from, 0, one).await?,
            }
        };
        Ok(!next.is_empty())
    }

    /// The id of the last message before this unix second, 0 when there is none.
    async fn before_time(&self, conversation: Conversation, at: u32) -> Result<u32, AdminError> {
        let one = ReadLimit::rows(1);
        let newest = self.store.history(conversation, None, 0, one).await?;
        let newest = newest.first().map_or(0, |message| message.msg_id.get());
        let mut search = Bisection::new(newest, at);
        while let Some(id) = search.look() {
            let found = self.store.history_after(conversation, id - 1, one).await?;
            let first = found.first();
            search.found(first.map(|message| (message.msg_id.get(), message.time.get())));
        }
        Ok(search.before)
    }

    pub(super) async fn message(
        &self,
        request: GetMessageRequest,
    ) -> Result<MessageRecord, AdminError> {
        let missing = || {
            AdminError::NotFound(format!(
                "there is no message at position {}",
                request.position
            ))
        };
        i64::try_from(request.position).map_err(|_| missing())?;
        let before = request.position.checked_sub(1).ok_or_else(missing)?;
        let after = CommitSeq::from_wire(before);
        let found = self.store.read_log(after, ReadLimit::rows(1)).await?;
        let entry = found.into_iter().next().ok_or_else(missing)?;
        if entry.message.seq.to_wire() != request.position {
            return Err(missing());
        }
        Ok(record(entry.conversation, entry.message))
    }

    /// Under an idempotency key a repetition is found by its row or, when that was not written any more, by
    /// the message's retry key, within `db_proxy.writer.client_id_window`.
    pub(super) async fn send_message_of(
        &self,
        request: SendMessageRequest,
    ) -> Result<MessageRecord, AdminError> {
        let sender = self.account_or_id("", request.sender).await?;
        if sender.status != ACTIVE {
            return Err(AdminError::Refused(format!(
                "{:?} is not active",
                sender.name
            )));
        }
        let peer = match (
            UserId::from_wire(request.receiver),
            GroupId::from_wire(request.group),
        ) {
            (Some(user), None) => Peer::User(user),
            (None, Some(group)) => Peer::Group(group),
            _ => {
                return Err(AdminError::Invalid(
                    "a message has one receiver: a user or a group".to_owned(),
                ));
            }
        };
        let conversation = Conversation::of(sender.id, peer)
            .ok_or_else(|| AdminError::Invalid("the receiver is the sender".to_owned()))?;
        if !self.space.admits(request.body.len()) {
            return Err(AdminError::Unavailable(
                "little room is left in the store".to_owned(),
            ));
        }
        let key = self.call.as_ref().and_then(|call| call.key.as_ref());
        let client_msg_id = key.map(|key| key.message_id().get(..CLIENT_ID).map(<[u8]>::to_vec));
        let bytes = request.body.len();
        let send = v1::Send {
            from: request.sender,
            to: request.receiver.max(request.group),
            msg_type: request.r#type,
            data: request.body,
            client_msg_id: client_msg_id.flatten().unwrap_or_default().into(),
            ..v1::Send::default()
        };
        let incoming = self
            .rules
            .admit(0, send)
            .map_err(|why| AdminError::Invalid(format!("the message cannot be stored: {why:?}")))?;
        let would_be = MessageRecord {
            conversation: Some(key_of(conversation)),
            sender: request.sender,
            r#type: request.r#type,
            ..MessageRecord::default()
        };
        if request.dry_run {
            return Ok(would_be);
        }
        let done = sends::store(&self.writer, vec![incoming]).await?;
        let done = done.into_iter().next().unwrap_or_default();
        match done.outcome() {
            Outcome::Stored | Outcome::Repeated => {}
            Outcome::Refused => {
                return Err(AdminError::Refused(
                    "the sender cannot write there: is the group or the receiver known, and the \
                     sender a member? Or the before-send filter denied it"
                        .to_owned(),
                ));
            }
            Outcome::Failed => {
                return Err(AdminError::Unavailable(
                    "the message was not stored in time".to_owned(),
                ));
            }
        }
        let answer = MessageRecord {
            position: done.seq,
            id: done.msg_id,
            time: done.time,
            ..would_be
        };
        let changed = Changed::of(match peer {
            Peer::User(user) => format!("messages to user #{user}"),
            Peer::Group(group) => format!("messages to group {group}"),
        })
        .after(json!({
            "sender": sender.name,
            "id": done.msg_id,
            "position": done.seq,
            "bytes": bytes,
        }))
        .answer(&answer);
        if let Some(note) = self.note(changed) {
            self.store.note(&note).await?;
        }
        Ok(answer)
    }
}

fn conversation(key: ConversationKey) -> Result<Conversation, AdminError> {
    if key.group != 0 {
        return Ok(Conversation::Group(group_id(key.group)?));
    }
    let (Some(user), Some(other)) = (UserId::from_wire(key.user), UserId::from_wire(key.other))
    else {
        return Err(AdminError::Invalid(
            "a conversation is a group, or two people by id".to_owned(),
        ));
    };
    Conversation::of(user, Peer::User(other))
        .ok_or_else(|| AdminError::Invalid("nobody has a conversation with themselves".to_owned()))
}

fn key_of(conversation: Conversation) -> ConversationKey {
    match conversation {
        Conversation::Pair(low, high) => ConversationKey {
            user: low.get(),
            other: high.get(),
            group: 0,
        },
        Conversation::Group(group) => ConversationKey {
            group: group.get(),
            ..ConversationKey::default()
        },
    }
}

pub(super) fn record(conversation: Conversation, message: StoredMessage) -> MessageRecord {
    MessageRecord {
        position: message.seq.to_wire(),
        conversation: Some(key_of(conversation)),
        id: message.msg_id.get(),
        sender: message.sender.get(),
        r#type: message.msg_type,
        time: message.time.get(),
        body: message.body,
    }
}

/// Finds the greatest id of a message before a time. Times grow with ids, so that half of what is left is out
/// with each of at most 32 looks; ids may be missing.
#[derive(Debug)]
struct Bisection {
    at: u32,
    /// No message up to this one is of the time or later; 0 = none at all.
    before: u32,
    /// Every message from this one on is.
    from: u32,
    middle: u32,
}

impl Bisection {
    const fn new(newest: u32, at: u32) -> Self {
        Self {
            at,
            before: 0,
            from: newest.saturating_add(1),
            middle: 0,
        }
    }

    /// The first message from this id on is to be looked at; `None` at the end.
    const fn look(&mut self) -> Option<u32> {
        if self.from - self.before <= 1 {
            return None;
        }
        self.middle = self.before + (self.from - self.before) / 2;
        Some(self.middle)
    }

    /// Id and time of that message, if there is one.
    const fn found(&mut self, first: Option<(u32, u32)>) {
        match first {
            Some((id, time)) if id < self.from && time < self.at => self.before = id,
            _ => self.from = self.middle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_time_and_later_are_found_in_a_few_looks_with_gaps_and_equal_times() {
        let conversations: [Vec<(u32, u32)>; 4] = [
            vec![],
            vec![(1, 10)],
            (1..=1_000).map(|id| (id, 100 + id / 7)).collect(),
            (1..=1_000).map(|id| (id * id, 100 + id / 3)).collect(),
        ];
        for messages in conversations {
            let newest = messages.last().map_or(0, |(id, _)| *id);
            for at in (1..12).chain(95..450).chain([u32::MAX]) {
                let (mut search, mut looks) = (Bisection::new(newest, at), 0);
                while let Some(from) = search.look() {
                    looks += 1;
                    search.found(messages.iter().copied().find(|(id, _)| *id >= from));
                }
                let expected = messages.iter().rev().find(|(_, time)| *time < at);
                assert_eq!(search.before, expected.map_or(0, |(id, _)| *id), "{at}");
                assert!(looks <= 32);
            }
        }
    }
}
