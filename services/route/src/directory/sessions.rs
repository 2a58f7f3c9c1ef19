//! Sessions in numbered places, so that a user's entry can name them by four bytes.

use im_proto_rpc::v1::SessionInfo;

use super::{Announced, ServerId};

/// `IM.BaseDefine.UserStatType`: away.
const LEAVE: u32 = 3;

/// A session as the directory keeps it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) user: u32,
    pub(super) client_type: u32,
    pub(super) epoch: u64,
    pub(super) login_ms: u64,
    pub(super) server: ServerId,
    /// Announcement round of its msg server in which it was last heard of.
    pub(super) round: u32,
    /// The epoch of the session whose place it took here; 0 for none.
    pub(super) displaced: u64,
    status: u32,
    address: Box<str>,
    client_version: Box<str>,
}

impl Session {
    pub(super) fn new(server: ServerId, round: u32, info: SessionInfo) -> Self {
        // The name is that of the link, whatever the msg server wrote here.
        let SessionInfo {
            user,
            epoch,
            client_type,
            status,
            login_ms,
            server: _,
            address,
            client_version,
        } = info;
        Self {
            user,
            client_type,
            epoch,
            login_ms,
            server,
            round,
            displaced: 0,
            status,
            address: address.into_boxed_str(),
            client_version: client_version.into_boxed_str(),
        }
    }

    /// Whether this session, of which we hear now, takes the place of another one.
    pub(super) fn stays_before(&self, held: &Self, announced: Announced) -> bool {
        match announced {
            Announced::Login => true,
            // Its msg server has not heard yet that it has to leave.
            Announced::Again if self.epoch == held.displaced => false,
            Announced::Again => (self.login_ms, self.epoch) > (held.login_ms, held.epoch),
        }
    }

    /// Whether the terminal signed in as away.
    pub(super) const fn is_away(&self) -> bool {
        self.status == LEAVE
    }

    pub(super) fn to_info(&self, server: String) -> SessionInfo {
        SessionInfo {
            user: self.user,
            epoch: self.epoch,
            client_type: self.client_type,
            status: self.status,
            login_ms: self.login_ms,
            server,
            address: self.address.to_string(),
            client_version: self.client_version.to_string(),
        }
    }
}

/// All sessions. A place is used again after its session has left.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    places: Vec<Option<Session>>,
    free: Vec<u32>,
}

impl Sessions {
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, session: Session) -> u32 {
        if let Some(key) = self.free.pop()
            && let Some(place) = self.places.get_mut(key as usize)
        {
            *place = Some(session);
            return key;
        }
        let key =
            u32::try_from(self.places.len()).expect("fewer sessions than the limit's maximum");
        self.places.push(Some(session));
        key
    }

    pub(super) fn remove(&mut self, key: u32) -> Option<Session> {
        let session = self.places.get_mut(key as usize)?.take()?;
        self.free.push(key);
        if self.free.len() == self.places.len() {
            // Nobody is online: give the memory of the last peak back.
            *self = Self::default();
        }
        Some(session)
    }

    #[inline]
    pub(super) fn get(&self, key: u32) -> Option<&Session> {
        self.places.get(key as usize)?.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.places.iter().flatten()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (u32, &Session)> {
        (0..)
            .zip(&self.places)
            .filter_map(|(key, place)| Some((key, place.as_ref()?)))
    }
}
