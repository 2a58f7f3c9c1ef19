//! Decides where in the log this server stands, and whether live messages may be trusted.
//!
//! Pure: no I/O, no clock, no runtime. The owner feeds it what route links and the log reader bring
//! and does what it says.
//!
//! - *Live*: every route server of our own ring announces the same ring as ours and no link has
//!   missed anything. Live messages are delivered as they come.
//! - *Pull*: anything else. The log is read in pages from one position; live messages are dropped,
//!   for the log has them.
//! - *Join*: the way back. Live messages are held while the log is read up to where the held ones
//!   begin; then they are delivered and the mode is live.
//!
//! *Invariant*: in live mode every session has got everything that concerns it up to the position of
//! its own link; in the other modes up to the one position of the log. A cursor per session, kept by
//! the owner, drops what comes twice; [`Position::cursor`] says where it starts.

use std::collections::BTreeMap;

use im_order::{CommitSeq, Span};

use crate::ids::LinkId;

/// How messages reach the sessions now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As route servers send them.
    Live,
    /// From the log.
    Pull,
    /// From the log, with live ones held back.
    Join,
}

/// What to do with the messages of a live batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Deliver them now.
    Deliver,
    /// Hand them to [`Position::hold`].
    Hold,
    /// Forget them; the log has them.
    Drop,
}

/// What the log reader should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Nothing: live, or nobody to read for.
    Nothing,
    /// Read after this position as soon as possible.
    Now(CommitSeq),
    /// Read after this position when the poll interval has passed.
    Later(CommitSeq),
}

/// Messages of one batch held back, with the link they came on.
#[derive(Debug)]
struct Held<T> {
    link: LinkId,
    messages: T,
}

#[derive(Clone, Debug, Default)]
struct LinkState {
    /// The writer's ring as last announced here.
    ring: u64,
    /// Set when the snapshot of our sessions is confirmed: everything for them after that is sent.
    /// From then on the newest position announced.
    seen: Option<CommitSeq>,
    /// Live: everything of this link up to here was delivered.
    have: CommitSeq,
    /// `have` before the batch that is being worked on.
    before: CommitSeq,
    /// Join: the log must be read up to here before held messages follow without a hole.
    target: CommitSeq,
}

/// The state machine. `T` is whatever holds the messages of one batch.
#[derive(Debug)]
pub(crate) struct Position<T> {
    mode: Mode,
    /// Digest of our own ring.
    ring: u64,
    links: BTreeMap<LinkId, LinkState>,
    /// Everything up to here was read from the log (pull and join); unknown until the first
    /// announcement.
    read: Option<CommitSeq>,
    /// The last page ended at the end of the log.
    at_end: bool,
    /// A message of ours is stored at this position.
    stored: CommitSeq,
    held: Vec<Held<T>>,
    held_bytes: usize,
    max_held_bytes: usize,
    gaps: u64,
}

impl<T> Position<T> {
    /// Starts in pull mode with an empty ring.
    pub(crate) fn new(max_held_bytes: usize) -> Self {
        Self {
            mode: Mode::Pull,
            ring: 0,
            links: BTreeMap::new(),
            read: None,
            at_end: false,
            stored: CommitSeq::START,
            held: Vec::new(),
            held_bytes: 0,
            max_held_bytes,
            gaps: 0,
        }
    }

    /// The present mode.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Batches that showed that something was missed.
    pub(crate) fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Up to where the log has been read or delivered, for a dump.
    pub(crate) fn reached(&self) -> CommitSeq {
        match self.mode {
            Mode::Live => self.lowest(),
            Mode::Pull | Mode::Join => self.read.unwrap_or_default(),
        }
    }

    /// Our own ring is now this one. Every link of it owes a snapshot confirmation.
    pub(crate) fn set_ring(&mut self, digest: u64, links: &[LinkId]) {
        self.pull();
        let mut old = std::mem::take(&mut self.links);
        self.ring = digest;
        self.links = links
            .iter()
            .map(|&id| {
                let ring = old.remove(&id).map_or(0, |state| state.ring);
                (
                    id,
                    LinkState {
                        ring,
                        ..LinkState::default()
                    },
                )
            })
            .collect();
    }

    /// Something happened after which nothing is taken for granted, such as a new link to the
    /// writer: read the log once and come back.
    pub(crate) fn distrust(&mut self) {
        self.pull();
    }

    /// A link confirmed our snapshot: everything after `through` is sent on it. Part of a batch:
    /// [`Self::batch_done`] draws the conclusions.
    pub(crate) fn snapshot_done(&mut self, link: LinkId, through: CommitSeq) {
        if let Some(state) = self.links.get_mut(&link) {
            state.seen = Some(state.seen.unwrap_or_default().max(through));
        }
    }

    /// A batch came. Call [`Self::batch_done`] after its items are worked on.
    pub(crate) fn batch(&mut self, link: LinkId, span: Span, ring: u64) -> Verdict {
        let own_ring = self.ring;
        let live = self.mode == Mode::Live;
        let Some(state) = self.links.get_mut(&link) else {
            // Not in our ring: none of our sessions is announced there.
            return Verdict::Drop;
        };
        state.ring = ring;
        if live {
            if ring == own_ring && span.joins(state.have) {
                state.before = state.have;
                state.have = state.have.max(span.through());
                return Verdict::Deliver;
            }
            if ring == own_ring {
                self.gaps += 1;
            }
            self.pull();
        }
        let joining = self.mode == Mode::Join;
        let Some(state) = self.links.get_mut(&link) else {
            return Verdict::Drop;
        };
        let Some(seen) = state.seen else {
            return Verdict::Drop;
        };
        if !joining {
            return Verdict::Drop;
        }
        if ring != own_ring {
            self.pull();
            return Verdict::Drop;
        }
        if !span.joins(seen) {
            // A hole between what is held and this batch: the log must fill it.
            self.gaps += 1;
            state.target = state.target.max(span.after());
        }
        Verdict::Hold
    }

    /// Keeps messages for which [`Self::batch`] said so. Beyond the bound all held ones are
    /// forgotten and the mode is pull.
    pub(crate) fn hold(&mut self, link: LinkId, bytes: usize, messages: T) {
        if self.mode != Mode::Join {
            return;
        }
        self.held_bytes += bytes;
        if self.held_bytes > self.max_held_bytes {
            self.pull();
            self.at_end = false;
            return;
        }
        self.held.push(Held { link, messages });
    }

    /// The items of a batch are worked on. Returns held messages to deliver when that made the mode
    /// live.
    pub(crate) fn batch_done(
        &mut self,
        link: LinkId,
        through: CommitSeq,
    ) -> Option<Vec<(LinkId, T)>> {
        if let Some(state) = self.links.get_mut(&link) {
            state.before = state.have;
            if self.mode != Mode::Live
                && let Some(seen) = state.seen
            {
                state.seen = Some(seen.max(through));
            }
        }
        self.advance()
    }

    /// A page of the log was delivered: everything up to `through`. Returns held messages to
    /// deliver, after that page, when the mode is live now.
    pub(crate) fn page(&mut self, through: CommitSeq, more: bool) -> Option<Vec<(LinkId, T)>> {
        if self.mode == Mode::Live {
            return None;
        }
        self.read = Some(self.read.unwrap_or_default().max(through));
        self.at_end = !more;
        self.advance()
    }

    /// A message of this server is stored at this position: in pull mode it is read at once.
    pub(crate) fn stored(&mut self, seq: CommitSeq) {
        self.stored = self.stored.max(seq);
    }

    /// The first cursor of a session that a link confirmed with this position: it gets what comes
    /// after.
    pub(crate) fn cursor(&mut self, link: LinkId, through: CommitSeq) -> CommitSeq {
        match self.mode {
            Mode::Live => match self.links.get(&link) {
                Some(state) => through.max(state.before),
                None => through,
            },
            // The log may have been read further already, without this session.
            Mode::Pull | Mode::Join => {
                let read = *self.read.get_or_insert(through);
                through.max(read)
            }
        }
    }

    /// Without sessions nothing needs to be read: the position is wherever route servers are.
    /// Returns true when that made the mode live.
    pub(crate) fn nobody_here(&mut self) -> bool {
        if self.mode == Mode::Live {
            return false;
        }
        let Some(newest) = self.newest() else {
            return false;
        };
        self.held.clear();
        self.held_bytes = 0;
        self.read = Some(self.read.unwrap_or_default().max(newest));
        self.advance().is_some()
    }

    /// What to read next.
    pub(crate) fn next_read(&self) -> Read {
        let Some(read) = self.read else {
            return Read::Nothing;
        };
        match self.mode {
            Mode::Live => Read::Nothing,
            Mode::Join => Read::Now(read),
            Mode::Pull => {
                let news = !self.at_end
                    || self.stored > read
                    || self.newest().is_some_and(|newest| newest > read);
                if news {
                    Read::Now(read)
                } else {
                    Read::Later(read)
                }
            }
        }
    }

    /// Leaves live mode; everything that is not certain is read from the log.
    fn pull(&mut self) {
        if self.mode == Mode::Live {
            self.read = Some(self.lowest());
            for state in self.links.values_mut() {
                state.seen = Some(state.seen.unwrap_or_default().max(state.have));
            }
        }
        self.mode = Mode::Pull;
        self.at_end = false;
        self.held.clear();
        self.held_bytes = 0;
    }

    /// Goes on towards live mode as far as possible.
    fn advance(&mut self) -> Option<Vec<(LinkId, T)>> {
        if self.mode == Mode::Live || !self.is_whole() {
            return None;
        }
        let read = self.read?;
        if self.mode == Mode::Pull {
            let newest = self.newest()?;
            if read < newest && !self.at_end {
                return None;
            }
            for state in self.links.values_mut() {
                state.target = state.seen.unwrap_or_default();
            }
            self.mode = Mode::Join;
        }
        let target = self.links.values().map(|state| state.target).max()?;
        if read < target {
            return None;
        }
        self.mode = Mode::Live;
        self.held_bytes = 0;
        for state in self.links.values_mut() {
            state.have = read.max(state.seen.unwrap_or_default());
            state.before = state.have;
        }
        Some(
            std::mem::take(&mut self.held)
                .into_iter()
                .map(|held| (held.link, held.messages))
                .collect(),
        )
    }

    /// Every link of our ring confirmed our sessions and announces our ring.
    fn is_whole(&self) -> bool {
        self.ring != 0
            && !self.links.is_empty()
            && self
                .links
                .values()
                .all(|state| state.ring == self.ring && state.seen.is_some())
    }

    fn newest(&self) -> Option<CommitSeq> {
        self.links.values().filter_map(|state| state.seen).max()
    }

    fn lowest(&self) -> CommitSeq {
        self.links
            .values()
            .map(|state| state.have)
            .min()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
