//! The msg servers that announced themselves.

use std::collections::HashMap;

use tokio::time::Instant;

use super::Class;

/// Names a msg server inside this process; used again when the server is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(u16);

impl ServerId {
    pub(super) const NONE: Self = Self(u16::MAX);

    pub(super) const fn is_none(self) -> bool {
        self.0 == Self::NONE.0
    }

    /// Place in tables by msg server.
    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A msg server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) instance: u64,
    /// Until when it may stay away; `None` while it is attached.
    pub(crate) lost_until: Option<Instant>,
    /// Whether a snapshot has been completed over the present link.
    pub(crate) in_step: bool,
    /// Sessions on PCs and on phones.
    pub(crate) sessions: [usize; 2],
    /// Number of the last snapshot begun; sessions carry it.
    pub(super) round: u32,
    in_snapshot: bool,
}

/// All msg servers, by place and by name.
#[derive(Debug, Default)]
pub(super) struct Servers {
    places: Vec<Option<Server>>,
    names: HashMap<String, ServerId>,
}

impl Servers {
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn find(&self, name: &str) -> Option<ServerId> {
        self.names.get(name).copied()
    }

    pub(super) fn get(&self, id: ServerId) -> Option<&Server> {
        self.places.get(id.index())?.as_ref()
    }

    fn get_mut(&mut self, id: ServerId) -> Option<&mut Server> {
        self.places.get_mut(id.index())?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ServerId, &Server)> {
        (0..)
            .zip(&self.places)
            .filter_map(|(id, place)| Some((ServerId(id), place.as_ref()?)))
    }

    /// `None` when every number is taken.
    pub(super) fn insert(&mut self, name: &str, instance: u64) -> Option<ServerId> {
        let server = Server {
            name: name.to_owned(),
            instance,
            lost_until: None,
            in_step: false,
            sessions: [0; 2],
            round: 0,
            in_snapshot: false,
        };
        let free = self.places.iter().position(Option::is_none);
        let index = free.unwrap_or(self.places.len());
        let id = ServerId(u16::try_from(index).ok()?);
        if id.is_none() {
            return None;
        }
        match self.places.get_mut(index) {
            Some(place) => *place = Some(server),
            None => self.places.push(Some(server)),
        }
        self.names.insert(name.to_owned(), id);
        Some(id)
    }

    /// The server has a new link. Returns whether it is another instance than before.
    pub(super) fn attach(&mut self, id: ServerId, instance: u64) -> bool {
        let Some(server) = self.get_mut(id) else {
            return false;
        };
        server.lost_until = None;
        server.in_step = false;
        server.in_snapshot = false;
        std::mem::replace(&mut server.instance, instance) != instance
    }

    pub(super) fn lose(&mut self, id: ServerId, until: Instant) {
        if let Some(server) = self.get_mut(id) {
            server.lost_until = Some(until);
        }
    }

    pub(super) fn remove(&mut self, id: ServerId) {
        if let Some(server) = self.places.get_mut(id.index()).and_then(Option::take) {
            self.names.remove(&server.name);
        }
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.places
            .iter()
            .flatten()
            .filter_map(|server| server.lost_until)
            .min()
    }

    pub(super) fn expired(&self, now: Instant) -> Option<ServerId> {
        let mut servers = self.iter();
        let over = |server: &Server| server.lost_until.is_some_and(|until| until <= now);
        servers.find(|(_, server)| over(server)).map(|(id, _)| id)
    }

    pub(super) fn snapshot_begin(&mut self, id: ServerId) {
        if let Some(server) = self.get_mut(id) {
            server.round = server.round.wrapping_add(1);
            server.in_snapshot = true;
        }
    }

    /// The round that ends and whether the link was in step before; `None` when none was begun.
    pub(super) fn snapshot_end(&mut self, id: ServerId) -> Option<(u32, bool)> {
        let server = self.get_mut(id)?;
        if !std::mem::take(&mut server.in_snapshot) {
            return None;
        }
        Some((server.round, std::mem::replace(&mut server.in_step, true)))
    }

    pub(super) fn count(&mut self, id: ServerId, class: Class, by: isize) {
        if let Some(server) = self.get_mut(id)
            && let Some(count) = server.sessions.get_mut(class as usize)
        {
            *count = count.saturating_add_signed(by);
        }
    }

    pub(super) fn class_counts(&self) -> [usize; 2] {
        self.places
            .iter()
            .flatten()
            .fold([0; 2], |[pc, mobile], server| {
                let [more_pc, more_mobile] = server.sessions;
                [pc + more_pc, mobile + more_mobile]
            })
    }
}
