//! Who may ask the store about a login.
//!
//! The store's readers serve whoever asks first, whoever that is. So only a few logins ask it at a time,
//! and the others wait here, where networks and addresses take turns: a crowd that comes at once waits
//! behind itself, and a newcomer does not wait behind the crowd.
//!
//! A login that waits is a future; dropping it takes the login out of the line at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::metrics::AccountMetrics;
use super::pace::Pace;
use super::queue::{Bound, Request};

mod line;

use line::Line;

/// What a lookup takes before one has been measured.
const FIRST_GUESS: Duration = Duration::from_millis(5);

/// Bounds of lookups.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Logins that ask at a time.
    pub(super) parallel: usize,
    /// Logins that wait, and never more than can ask within `patience`.
    pub(super) waiting: usize,
    /// How long a client waits for its answer.
    pub(super) patience: Duration,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lookups {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: Limits,
    metrics: AccountMetrics,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Nobody waits while a place is free.
    free: usize,
    line: Line<oneshot::Sender<Place>>,
    pace: Pace,
}

impl Lookups {
    pub(super) fn new(limits: Limits, metrics: &AccountMetrics) -> Self {
        let state = State {
            free: limits.parallel,
            line: Line::default(),
            pace: Pace::new(limits.parallel, FIRST_GUESS, Instant::now()),
        };
        Self {
            shared: Arc::new(Shared {
                limits,
                metrics: metrics.clone(),
                state: Mutex::new(state),
            }),
        }
    }

    /// Waits for leave to ask, no longer than a client does. `Err`: when to try again.
    pub(super) async fn place(&self, request: &Request) -> Result<Place, Duration> {
        let shared = &self.shared;
        let (sender, receiver) = oneshot::channel();
        let (number, surplus) = {
            let mut state = shared.lock();
            if state.free > 0 {
                state.free -= 1;
                drop(state);
                return Ok(Place::new(shared));
            }
            let number = state
                .line
                .add(request.network, request.address, request.arrived, sender);
            let soon = state.pace.count_in(shared.limits.patience);
            let most = shared.limits.waiting.min(soon.max(shared.limits.parallel));
            let mut surplus = Vec::new();
            while state.line.len() > most {
                surplus.extend(state.line.take_oldest());
            }
            shared.show(&state);
            (number, surplus)
        };
        for _ in &surplus {
            shared.metrics.shed(Bound::Lookups);
        }
        // Whoever is sent away hears it by that.
        drop(surplus);
        let _leave = Leave {
            shared,
            request,
            number,
        };
        let end = request.arrived + shared.limits.patience;
        match tokio::time::timeout_at(end, receiver).await {
            Ok(Ok(place)) => return Ok(place),
            Ok(Err(_)) => {}
            Err(_) => shared.metrics.shed(Bound::Patience),
        }
        Err(shared.lock().retry_after())
    }
}

impl Shared {
    fn show(&self, state: &State) {
        self.metrics.waiting_lookups(state.line.len());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete in itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn retry_after(&mut self) -> Duration {
        let waiting = self.line.len();
        self.pace.retry_after(waiting, Instant::now())
    }
}

/// Takes somebody who waits no longer out of the line.
struct Leave<'a> {
    shared: &'a Shared,
    request: &'a Request,
    number: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let Request {
            network, address, ..
        } = self.request;
        let mut state = self.shared.lock();
        state.line.remove(network, address, self.number);
        self.shared.show(&state);
    }
}

/// Leave to ask the store; the next one has it when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    since: Instant,
}

impl Place {
    fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            since: Instant::now(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = {
            let mut state = self.shared.lock();
            state.pace.measured(self.since.elapsed());
            let next = state.line.next();
            if next.is_none() {
                state.free += 1;
            }
            self.shared.show(&state);
            next
        };
        if let Some(next) = next {
            // Sent when the lock has been given back: whoever does not listen any more drops it.
            drop(next.send(Self::new(&self.shared)));
        }
    }
}

#[cfg(test)]
mod tests;
