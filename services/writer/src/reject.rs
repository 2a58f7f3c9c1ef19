//! Why messages are rejected.

im_core::label_values! {
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
}
