//! Conversations: an unordered pair of users, or a group.

use crate::{GroupId, UserId};

/// Kind of a conversation (`IM.BaseDefine.SessionType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SessionType {
    /// Two users.
    Single = 1,
    /// A group.
    Group = 2,
}

impl SessionType {
    /// Reads the wire number.
    pub const fn from_wire(raw: u32) -> Option<Self> {
        match raw {
            1 => Some(Self::Single),
            2 => Some(Self::Group),
            _ => None,
        }
    }

    /// The wire number.
    pub const fn to_wire(self) -> u32 {
        self as u32
    }
}

/// The other end of a conversation as one user sees it: the pair (session type, session id) of the
/// wire protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// The other user.
    User(UserId),
    /// A group.
    Group(GroupId),
}

impl Peer {
    /// Reads (session type, session id); `None` when either is not valid.
    pub fn from_wire(session_type: u32, session_id: u32) -> Option<Self> {
        match SessionType::from_wire(session_type)? {
            SessionType::Single => UserId::from_wire(session_id).map(Self::User),
            SessionType::Group => GroupId::from_wire(session_id).map(Self::Group),
        }
    }

    /// Kind of the conversation.
    pub const fn session_type(self) -> SessionType {
        match self {
            Self::User(_) => SessionType::Single,
            Self::Group(_) => SessionType::Group,
        }
    }

    /// Session id on the wire.
    pub const fn session_id(self) -> u32 {
        match self {
            Self::User(id) => id.get(),
            Self::Group(id) => id.get(),
        }
    }
}

/// A conversation as the store names it, the same for all of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Conversation {
    /// The pair with the lower id first.
    Pair(UserId, UserId),
    /// A group.
    Group(GroupId),
}

impl Conversation {
    /// The conversation that `user` has with `peer`; `None` for a user with himself.
    pub fn of(user: UserId, peer: Peer) -> Option<Self> {
        match peer {
            Peer::Group(group) => Some(Self::Group(group)),
            Peer::User(other) if other == user => None,
            Peer::User(other) => Some(Self::Pair(user.min(other), user.max(other))),
        }
    }

    /// How `user` sees this conversation; `None` when he is not one of the pair.
    pub fn peer_of(self, user: UserId) -> Option<Peer> {
        match self {
            Self::Group(group) => Some(Peer::Group(group)),
            Self::Pair(low, high) if user == low => Some(Peer::User(high)),
            Self::Pair(low, high) if user == high => Some(Peer::User(low)),
            Self::Pair(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: u32) -> UserId {
        UserId::from_wire(id).unwrap()
    }

    #[test]
    fn both_ends_of_a_pair_name_the_same_conversation() {
        let a = Conversation::of(user(7), Peer::User(user(3)));
        let b = Conversation::of(user(3), Peer::User(user(7)));
        assert_eq!(a, b);
        assert_eq!(a.unwrap().peer_of(user(3)), Some(Peer::User(user(7))));
        assert_eq!(a.unwrap().peer_of(user(8)), None);
    }

    #[test]
    fn nobody_converses_with_himself() {
        assert_eq!(Conversation::of(user(3), Peer::User(user(3))), None);
    }
}
