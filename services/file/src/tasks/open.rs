//! A task that is open.

use im_config::FileConfig;
use im_core::UserId;
use im_core::time::UnixSeconds;

use super::{Asked, Came, ConnId, Entered, File, Offer, Pull, Side, Violation, Written};

/// A transfer that is to come, or under way.
#[derive(Debug)]
pub(super) struct Task {
    offer: Offer,
    /// When it ends whatever happens.
    ends: u64,
    /// When something happened last.
    last: u64,
    sender: Option<ConnId>,
    receiver: Option<ConnId>,
    /// A block that the sender was asked for and has not sent.
    asked: Option<Pull>,
    /// What a receiver who came before the end of the upload asked for.
    parked: Option<Pull>,
    /// Bytes of an upload that are stored.
    stored: u32,
}

impl Task {
    pub(super) fn new(offer: Offer, now: u64, lifetime: u64) -> Self {
        Self {
            offer,
            ends: now.saturating_add(lifetime),
            last: now,
            sender: None,
            receiver: None,
            asked: None,
            parked: None,
            stored: 0,
        }
    }

    pub(super) fn offer(&self) -> &Offer {
        &self.offer
    }

    pub(super) fn user(&self, side: Side) -> UserId {
        match side {
            Side::Sender => self.offer.from,
            Side::Receiver => self.offer.to,
        }
    }

    fn conn(&mut self, side: Side) -> &mut Option<ConnId> {
        match side {
            Side::Sender => &mut self.sender,
            Side::Receiver => &mut self.receiver,
        }
    }

    /// The connection of the other side.
    pub(super) fn other(&self, side: Side) -> Option<ConnId> {
        match side {
            Side::Sender => self.receiver,
            Side::Receiver => self.sender,
        }
    }

    pub(super) fn conns(&self) -> impl Iterator<Item = ConnId> + use<> {
        self.sender.into_iter().chain(self.receiver)
    }

    pub(super) fn enter(
        &mut self,
        conn: ConnId,
        side: Side,
        offline: bool,
        user: UserId,
        now: u64,
    ) -> Option<Entered> {
        if self.offer.offline != offline || self.user(side) != user || self.conn(side).is_some() {
            return None;
        }
        *self.conn(side) = Some(conn);
        self.last = now;
        if offline {
            return Some(match side {
                Side::Sender => Entered::Upload {
                    next: self.ask_for_next(),
                },
                Side::Receiver => Entered::Waiting,
            });
        }
        Some(match (self.sender, self.receiver) {
            (Some(_), Some(receiver)) => Entered::PeerReady {
                receiver,
                sender: self.offer.from,
            },
            _ => Entered::Waiting,
        })
    }

    pub(super) fn pull(
        &mut self,
        user: UserId,
        pull: Pull,
        longest: u32,
        now: u64,
    ) -> Result<Asked, Violation> {
        if user != self.offer.to || pull.offset >= self.offer.size {
            return Err(Violation);
        }
        if self.offer.offline {
            if self.parked.is_some() {
                return Err(Violation);
            }
            self.parked = Some(pull);
            return Ok(Asked::Parked);
        }
        let to = self.sender.ok_or(Violation)?;
        if pull.size == 0 || self.asked.is_some() {
            return Err(Violation);
        }
        let shortened = (pull.size > longest).then_some(longest);
        self.asked = Some(Pull {
            size: shortened.unwrap_or(pull.size),
            ..pull
        });
        self.last = now;
        Ok(Asked::Forward { to, shortened })
    }

    pub(super) fn block(
        &mut self,
        user: UserId,
        result: u32,
        offset: u32,
        length: usize,
        now: u64,
    ) -> Result<Came, Violation> {
        let asked = self.asked.ok_or(Violation)?;
        if user != self.offer.from || offset != asked.offset {
            return Err(Violation);
        }
        let length = u32::try_from(length).map_err(|_| Violation)?;
        let left = self.offer.size - asked.offset;
        let is_right = match (self.offer.offline, result) {
            (true, result) => result == 0 && length == asked.size,
            // Less than was asked for may come, nothing at all only with an error.
            (false, 0) => (1..=asked.size.min(left)).contains(&length),
            (false, _) => length <= asked.size,
        };
        if !is_right {
            return Err(Violation);
        }
        if self.offer.offline {
            self.asked = None;
            self.last = now;
            return Ok(Came::Write);
        }
        let to = self.receiver.ok_or(Violation)?;
        self.asked = None;
        self.last = now;
        Ok(Came::Forward { to, seq: asked.seq })
    }

    /// Bytes of an upload are stored.
    pub(super) fn written(&mut self, length: u32, now: u64) -> Written {
        self.stored = self.stored.saturating_add(length).min(self.offer.size);
        self.last = now;
        if self.stored == self.offer.size {
            return Written::Whole;
        }
        Written::Next(self.ask_for_next())
    }

    fn ask_for_next(&mut self) -> Pull {
        let pull = Pull {
            seq: 0,
            offset: self.stored,
            size: FileConfig::STORED_BLOCK.min(self.offer.size - self.stored),
        };
        self.asked = Some(pull);
        pull
    }

    /// The upload is whole: the file, and what its receiver has asked for meanwhile.
    pub(super) fn into_stored(self, stored: UnixSeconds) -> (File, Option<(ConnId, Pull)>) {
        let Offer {
            from,
            to,
            name,
            size,
            offline: _,
        } = self.offer;
        let file = File {
            from,
            to,
            name,
            size,
            stored,
            reader: self.receiver,
        };
        (file, self.receiver.zip(self.parked))
    }

    /// A side has gone; gives the other one of an online task, which goes with it.
    pub(super) fn left(&mut self, side: Side, now: u64) -> Option<ConnId> {
        *self.conn(side) = None;
        self.last = now;
        match (self.offer.offline, side) {
            (true, Side::Sender) => self.asked = None,
            (true, Side::Receiver) => self.parked = None,
            (false, _) => {
                self.asked = None;
                let other = self.sender.take();
                return other.or_else(|| self.receiver.take());
            }
        }
        None
    }

    /// Whether it has lived, or waited, for too long.
    pub(super) fn is_over(&self, now: u64, wait: u64) -> bool {
        now >= self.ends || now >= self.last.saturating_add(wait)
    }

    /// The sender, if a block is overdue.
    pub(super) fn stalled(&self, now: u64, timeout: u64) -> Option<ConnId> {
        let is_overdue = self.asked.is_some() && now >= self.last.saturating_add(timeout);
        self.sender.filter(|_| is_overdue)
    }
}
