//! What judges messages before they are stored, as the writer sees it.

use async_trait::async_trait;
use bytes::Bytes;
use im_core::{Conversation, Peer, UserId};

/// A message that a verdict is wanted of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who sent it.
    pub sender: UserId,
    /// To whom.
    pub peer: Peer,
    /// Number of `IM.BaseDefine.MsgType`.
    pub msg_type: u32,
    /// As it came.
    pub body: Bytes,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is stored as it is.
    Allow,
    /// This is stored in place of its body; it keeps its retry key.
    Replace(Bytes),
    /// It is refused.
    Deny,
    /// Nothing of use was said, and what is not judged is refused.
    Unjudged,
}

/// Judges messages before they are stored.
///
/// One question about a conversation is open at a time; what comes later in that conversation waits behind it.
#[async_trait]
pub trait Filter: Send + Sync + 'static {
    /// Whether a verdict is wanted. Asked for every message, by the writer: it must be quick.
    fn concerns(&self, sender: UserId, conversation: Conversation, msg_type: u32) -> bool;

    /// One verdict per question, in their order, within a bounded time.
    async fn judge(&self, questions: Vec<Question>) -> Vec<Verdict>;

    /// The verdict on a question that was not answered at all.
    fn unanswered(&self) -> Verdict;
}
