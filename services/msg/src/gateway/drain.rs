//! Going away: whether this server does, and which login servers know.

use tokio::sync::watch;

/// What there is to know about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DrainState {
    /// This server is going away.
    pub(crate) is_draining: bool,
    /// Login servers that are linked.
    pub(crate) links: u32,
    /// Of them, those that have seen that this server is going away.
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

    /// A login server is linked.
    pub(crate) fn linked(&self) {
        self.0.send_modify(|state| state.links += 1);
    }

    /// A linked login server has seen that this server is going away.
    pub(crate) fn seen(&self) {
        self.0.send_modify(|state| state.seen += 1);
    }

    /// A login server is linked no more; `had_seen` says whether it was counted as seen.
    pub(crate) fn unlinked(&self, had_seen: bool) {
        self.0.send_modify(|state| {
            state.links -= 1;
            state.seen -= u32::from(had_seen);
        });
    }

    /// Waits until every linked login server has seen that this server is going away.
    pub(crate) async fn all_have_seen(&self) {
        let mut states = self.0.subscribe();
        // The sender lives as long as this.
        drop(states.wait_for(|state| state.seen >= state.links).await);
    }
}
