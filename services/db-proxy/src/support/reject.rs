//! Why messages are rejected.

/// Why a message is not stored and never will be. It gets no acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RejectReason {
    UnknownType,
    NoSender,
    NoReceiver,
    ToOneself,
    EmptyBody,
    ShortVoice,
    BodyTooLarge,
    UnknownReceiver,
    NoSuchGroup,
    NotMember,
    ConversationFull,
    LowSpace,
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
        }
    }
}
