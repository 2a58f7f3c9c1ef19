//! Why messages are rejected.

/// Why a message is not stored, and will not be as it is. It gets no acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// Its type is none that can be sent.
    UnknownType,
    /// It names no sender.
    NoSender,
    /// It names no receiver.
    NoReceiver,
    /// Its receiver is its sender.
    ToOneself,
    /// It says nothing.
    EmptyBody,
    /// Of a voice message only the duration has come.
    ShortVoice,
    /// Its body is longer than `writer.max_body`.
    BodyTooLarge,
    /// Nobody has the receiver's id.
    UnknownReceiver,
    /// There is no such group.
    NoSuchGroup,
    /// Its sender is no member of the group.
    NotMember,
    /// The conversation has used up its ids.
    ConversationFull,
    /// Little room is left in the store, and it is large.
    LowSpace,
    /// The before-send filter denied it.
    Filtered,
    /// The before-send filter said nothing of use, and what it says nothing of is denied.
    Unjudged,
}

impl RejectReason {
    /// Metric label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownType => "unknown_type",
            Self::NoSender => "no_sender",
            Self::NoReceiver => "no_receiver",
            Self::ToOneself => "to_oneself",
            Self::EmptyBody => "empty_body",
            Self::ShortVoice => "short_voice",
            Self::BodyTooLarge => "body_too_large",
            Self::UnknownReceiver => "unknown_receiver",
            Self::NoSuchGroup => "no_such_group",
            Self::NotMember => "not_member",
            Self::ConversationFull => "conversation_full",
            Self::LowSpace => "low_space",
            Self::Filtered => "filtered",
            Self::Unjudged => "unjudged",
        }
    }
}
