//! Where the sessions of one user are.

use im_proto_rpc::v1::Audience;

use super::ServerId;

/// Class of a terminal, as index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Pc = 0,
    Mobile = 1,
}

impl Class {
    /// Bit 0x10 of the client type, as the original tells them apart.
    pub(crate) const fn of(client_type: u32) -> Self {
        if client_type & 0x10 == 0 {
            Self::Pc
        } else {
            Self::Mobile
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Pc => Self::Mobile,
            Self::Mobile => Self::Pc,
        }
    }

    pub(super) const fn within(self, audience: Audience) -> bool {
        match audience {
            Audience::All => true,
            Audience::Pc => matches!(self, Self::Pc),
            Audience::Mobile => matches!(self, Self::Mobile),
        }
    }
}

/// The places of a user: a msg server and a session for each class. Small, since every recipient of
/// every message is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) servers: [ServerId; 2],
    pub(super) sessions: [u32; 2],
}

impl Places {
    pub(super) const EMPTY: Self = Self {
        servers: [ServerId::NONE; 2],
        sessions: [u32::MAX; 2],
    };

    pub(super) const fn get(self, class: Class) -> Option<(ServerId, u32)> {
        let [pc, mobile] = self.servers;
        let [pc_session, mobile_session] = self.sessions;
        let (server, session) = match class {
            Class::Pc => (pc, pc_session),
            Class::Mobile => (mobile, mobile_session),
        };
        if server.is_none() {
            None
        } else {
            Some((server, session))
        }
    }

    pub(super) const fn set(&mut self, class: Class, server: ServerId, session: u32) {
        let ([pc, mobile], [pc_session, mobile_session]) = (&mut self.servers, &mut self.sessions);
        match class {
            Class::Pc => (*pc, *pc_session) = (server, session),
            Class::Mobile => (*mobile, *mobile_session) = (server, session),
        }
    }
}
