//! Going away, and being cordoned: what this server says of itself, and which login servers know.

use tokio::sync::watch;

/// What there is to know about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DrainState {
    /// This server is going away.
    pub(crate) is_draining: bool,
    /// An administrator wants nobody new here.
    pub(crate) is_cordoned: bool,
    /// Login servers have had the time to hear that it is cordoned: newcomers are closed.
    pub(crate) is_closed: bool,
    /// Login servers that are linked.
    pub(crate) links: u32,
    /// Of them, those that have seen that nobody is to come any more.
    pub(crate) seen: u32,
}

/// One watched [`DrainState`].
pub(crate) struct Drain(watch::Sender<DrainState>);

impl Drain {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(DrainState::default()))
    }

    /// The state now.
    pub(crate) fn state(&self) -> DrainState {
        *self.0.borrow()
    }

    /// This server is going away.
    pub(crate) fn begin(&self) {
        self.0.send_modify(|state| state.is_draining = true);
    }

    /// Nobody new is to come; those who do are still let in.
    pub(crate) fn cordon(&self) {
        self.0.send_modify(|state| state.is_cordoned = true);
    }

    /// From now on newcomers are closed, if the server is still cordoned.
    pub(crate) fn close(&self) {
        self.0
            .send_modify(|state| state.is_closed = state.is_cordoned);
    }

    /// New clients may come again.
    pub(crate) fn uncordon(&self) {
        self.0.send_modify(|state| {
            state.is_cordoned = false;
            state.is_closed = false;
        });
    }

    /// A login server is linked.
    pub(crate) fn linked(&self) {
        self.0.send_modify(|state| state.links += 1);
    }

    /// A linked login server has seen that nobody is to come any more.
    pub(crate) fn seen(&self) {
        self.0.send_modify(|state| state.seen += 1);
    }

    /// A linked login server that had seen it is told otherwise.
    pub(crate) fn unseen(&self) {
        self.0.send_modify(|state| state.seen -= 1);
    }

    /// A login server is linked no more; `had_seen` says whether it was counted as seen.
    pub(crate) fn unlinked(&self, had_seen: bool) {
        self.0.send_modify(|state| {
            state.links -= 1;
            state.seen -= u32::from(had_seen);
        });
    }

    /// Waits until every linked login server has seen that nobody is to come any more.
    pub(crate) async fn all_have_seen(&self) {
        let mut states = self.0.subscribe();
        // The sender lives as long as this.
        drop(states.wait_for(|state| state.seen >= state.links).await);
    }
}
