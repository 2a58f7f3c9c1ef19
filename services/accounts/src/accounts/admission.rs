//! Gives turns at the hash threads to logins that wait, as the queue decides.
//!
//! A waiting login is a future: dropping it takes the login out of the queue at once. A turn is a
//! permit: its place is free again when the permit is dropped, which the thread that computes does
//! last, so that nothing else is computed in the memory of a hash whose client has gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::metrics::AccountMetrics;
use super::queue::{Bound, Id, Limits, Queue, Request, Shed};

/// What has become of a login that waited.
#[derive(Debug)]
pub(super) enum Turn {
    /// A hash may be computed.
    Run(Permit),
    /// The same name and digest was checked meanwhile and was wrong.
    Wrong,
    /// The same name and digest was checked meanwhile and was not wrong.
    Again,
    /// It cannot be answered in time; when to try again.
    Busy(Duration),
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Admission {
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
    queue: Queue,
    waiting: HashMap<Id, oneshot::Sender<Turn>>,
    last: Id,
}

/// Sent when the lock has been given back: whoever does not listen any more drops a permit.
type Mail = Vec<(oneshot::Sender<Turn>, Turn)>;

impl Admission {
    pub(super) fn new(limits: Limits, metrics: &AccountMetrics) -> Self {
        let queue = Queue::new(limits.clone(), Instant::now());
        Self {
            shared: Arc::new(Shared {
                limits,
                metrics: metrics.clone(),
                state: Mutex::new(State {
                    queue,
                    waiting: HashMap::new(),
                    last: 0,
                }),
            }),
        }
    }

    /// Waits for a turn, no longer than a client does.
    pub(super) async fn turn(&self, request: &Request) -> Turn {
        let now = Instant::now();
        let (sender, receiver) = oneshot::channel();
        let id = {
            let mut state = self.shared.lock();
            let id = state.expect(sender);
            let shed = state.queue.join(id, request, now);
            let mail = self.shared.settle(&mut state, shed, now);
            drop(state);
            send(mail);
            id
        };
        let _leave = Leave {
            admission: self,
            id,
        };
        let Limits {
            settle, patience, ..
        } = self.shared.limits;
        let since = request.arrived;
        tokio::pin!(receiver);
        let answered = async {
            if let Ok(turn) = tokio::time::timeout_at(since + settle, &mut receiver).await {
                return turn.ok();
            }
            self.shared.serve();
            let turn = tokio::time::timeout_at(since + patience, &mut receiver).await;
            turn.ok()?.ok()
        };
        match answered.await {
            Some(turn) => turn,
            None => {
                self.shared.metrics.shed(Bound::Patience);
                Turn::Busy(self.retry_after())
            }
        }
    }

    /// When somebody who cannot be served now should try again.
    pub(super) fn retry_after(&self) -> Duration {
        self.shared.lock().queue.retry_after(Instant::now())
    }

    /// Waits for a turn for an administrator, who bounds how many hashes they ask for.
    pub(super) async fn job(&self) -> Option<Permit> {
        let (sender, receiver) = oneshot::channel();
        let id = {
            let mut state = self.shared.lock();
            let id = state.expect(sender);
            state.queue.join_job(id);
            id
        };
        let _leave = Leave {
            admission: self,
            id,
        };
        self.shared.serve();
        match receiver.await {
            Ok(Turn::Run(permit)) => Some(permit),
            _ => None,
        }
    }
}

impl Shared {
    /// Gives free places to whoever is next.
    fn serve(self: &Arc<Self>) {
        let now = Instant::now();
        let mut state = self.lock();
        let mail = self.settle(&mut state, Vec::new(), now);
        drop(state);
        send(mail);
    }

    fn finish(self: &Arc<Self>, id: Id, took: Option<Duration>, wrong: bool) {
        let now = Instant::now();
        let mut state = self.lock();
        if let Some(took) = took {
            state.queue.measured(took);
        }
        let mut mail: Mail = state
            .queue
            .finish(id)
            .into_iter()
            .filter_map(|joined| {
                let turn = if wrong { Turn::Wrong } else { Turn::Again };
                Some((state.waiting.remove(&joined)?, turn))
            })
            .collect();
        mail.extend(self.settle(&mut state, Vec::new(), now));
        drop(state);
        send(mail);
    }

    /// Turns for the free places, and refusals for those who are sent away.
    fn settle(self: &Arc<Self>, state: &mut State, mut shed: Vec<Shed>, now: Instant) -> Mail {
        shed.extend(state.queue.shed_late(now));
        let mut mail = Mail::new();
        for Shed {
            id,
            bound,
            retry_after,
        } in shed
        {
            self.metrics.shed(bound);
            if let Some(sender) = state.waiting.remove(&id) {
                mail.push((sender, Turn::Busy(retry_after)));
            }
        }
        while let Some(id) = state.queue.next(now) {
            // Whoever is in the queue has a sender; a permit must not be dropped under the lock.
            let Some(sender) = state.waiting.remove(&id) else {
                state.queue.finish(id);
                continue;
            };
            let permit = Permit {
                shared: Arc::clone(self),
                id,
                took: None,
                wrong: false,
            };
            mail.push((sender, Turn::Run(permit)));
        }
        self.metrics.waiting(state.queue.waiting());
        mail
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete in itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn expect(&mut self, sender: oneshot::Sender<Turn>) -> Id {
        self.last += 1;
        self.waiting.insert(self.last, sender);
        self.last
    }
}

fn send(mail: Mail) {
    for (sender, turn) in mail {
        drop(sender.send(turn));
    }
}

/// Takes somebody who waits no longer out of the queue.
struct Leave<'a> {
    admission: &'a Admission,
    id: Id,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let shared = &self.admission.shared;
        let mut state = shared.lock();
        state.queue.leave(self.id);
        state.waiting.remove(&self.id);
        shared.metrics.waiting(state.queue.waiting());
    }
}

/// Leave to compute one hash.
#[derive(Debug)]
pub(super) struct Permit {
    shared: Arc<Shared>,
    id: Id,
    took: Option<Duration>,
    wrong: bool,
}

impl Permit {
    /// A login's hash has been computed.
    pub(super) fn computed(&mut self, took: Duration, wrong: bool) {
        self.took = Some(took);
        self.wrong = wrong;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.finish(self.id, self.took, self.wrong);
    }
}

#[cfg(test)]
mod tests;
