//! Who waits for a hash, and who is next. Without I/O, locks or clock.
//!
//! * Networks take turns, within a network its addresses, and of one address the newest login comes
//!   first: under load the oldest ones are those whose clients have given up.
//! * Nobody is turned away for being new. Over a bound the oldest of whoever has most goes, and so does
//!   whoever cannot be answered before their client loses patience: both are told when to try again.
//! * Of one name and address one login is checked at a time. Logins with the same name and digest are
//!   one question: the newest asks it, the others wait for its answer.
//! * Hashes for administrators have a lane of their own that gets every other free place.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

mod waiting;

use super::pace::Pace;
use waiting::{Entry, Waiting};

/// Stands for a name, a digest, an address or a network.
pub(super) type Key = [u8; 16];

/// A waiting or running login or job.
pub(super) type Id = u64;

/// What a hash takes before one has been measured.
const FIRST_GUESS: Duration = Duration::from_millis(50);
/// A network may have so many times the logins of one address waiting.
const ADDRESSES_PER_NETWORK: usize = 4;

/// The queue's bounds.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Hashes at a time.
    pub(super) parallel: usize,
    /// Logins that wait in all.
    pub(super) waiting: usize,
    /// Logins of one address that wait.
    pub(super) per_address: usize,
    /// Logins of one name that wait.
    pub(super) per_name: usize,
    /// How long a client waits for its answer.
    pub(super) patience: Duration,
    /// How long a login waits at least, so that whoever hangs up at once costs no hash.
    pub(super) settle: Duration,
}

/// A login that needs a hash.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) name: Key,
    /// Equal for equal names with equal digests.
    pub(super) question: Key,
    pub(super) address: Key,
    pub(super) network: Key,
    /// Since when its client waits.
    pub(super) arrived: Instant,
}

/// Why somebody does not wait any longer without having had a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Bound {
    Name,
    Address,
    Network,
    All,
    /// Too many wait to ask the store.
    Lookups,
    /// The answer would come too late.
    Patience,
}

/// Somebody does not wait any longer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shed {
    pub(super) id: Id,
    pub(super) bound: Bound,
    pub(super) retry_after: Duration,
}

/// Holds one of the places where hashes are computed.
#[derive(Debug)]
enum Running {
    Login {
        id: Id,
        name: Key,
        question: Key,
        address: Key,
        joined: Vec<Id>,
    },
    Job(Id),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    waiting: Waiting,
    jobs: VecDeque<Id>,
    /// The next free place is for a job, if one waits.
    job_next: bool,
    running: Vec<Running>,
    pace: Pace,
}

impl Queue {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            pace: Pace::new(limits.parallel, FIRST_GUESS, now),
            limits,
            waiting: Waiting::default(),
            jobs: VecDeque::new(),
            job_next: false,
            running: Vec::new(),
        }
    }

    /// Logins that wait, for a turn or for the answer to somebody else's.
    pub(super) fn waiting(&self) -> usize {
        let joined = self.running.iter().map(|running| match running {
            Running::Login { joined, .. } => joined.len(),
            Running::Job(_) => 0,
        });
        self.waiting.weight() + joined.sum::<usize>()
    }

    /// How long a hash takes.
    pub(super) fn measured(&mut self, took: Duration) {
        self.pace.measured(took);
    }

    /// Somebody wants a turn. Names those who wait no longer for it.
    pub(super) fn join(&mut self, id: Id, request: &Request, now: Instant) -> Vec<Shed> {
        let asked = self.running.iter_mut().find_map(|running| match running {
            Running::Login {
                question, joined, ..
            } if *question == request.question => Some(joined),
            _ => None,
        });
        let mut surplus = Vec::new();
        if let Some(joined) = asked {
            joined.push(id);
            surplus.extend((joined.len() > self.limits.per_name).then(|| joined.remove(0)));
        } else {
            let mut joined = Vec::new();
            if let Some(older) = self
                .waiting
                .take(|entry| entry.question == request.question)
            {
                joined = older.joined;
                joined.push(older.id);
                surplus.extend((joined.len() >= self.limits.per_name).then(|| joined.remove(0)));
            }
            let entry = Entry {
                id,
                name: request.name,
                question: request.question,
                since: request.arrived,
                joined,
            };
            self.waiting.add(request, entry);
        }
        let mut shed = self.send_away(surplus, Bound::Name, now);
        shed.extend(self.shed_over(request, now));
        shed
    }

    /// An administrator wants a hash.
    pub(super) fn join_job(&mut self, id: Id) {
        self.jobs.push_back(id);
    }

    /// Somebody does not want a turn any more. Whoever has had it already keeps its place until
    /// [`Queue::finish`].
    pub(super) fn leave(&mut self, id: Id) {
        self.jobs.retain(|job| *job != id);
        for running in &mut self.running {
            if let Running::Login { joined, .. } = running {
                joined.retain(|other| *other != id);
            }
        }
        let mut alone = false;
        for entry in self.waiting.entries_mut() {
            if entry.id == id {
                match entry.joined.pop() {
                    Some(newest) => entry.id = newest,
                    None => alone = true,
                }
                break;
            }
            entry.joined.retain(|other| *other != id);
        }
        if alone {
            self.waiting.take(|entry| entry.id == id);
        }
    }

    /// Gives a free place to whoever is next.
    pub(super) fn next(&mut self, now: Instant) -> Option<Id> {
        if self.running.len() >= self.limits.parallel {
            return None;
        }
        if self.job_next
            && let Some(job) = self.start_job()
        {
            return Some(job);
        }
        if let Some(entry) = self.next_login(now) {
            self.job_next = true;
            return Some(entry);
        }
        self.start_job()
    }

    /// A place is free again. Names those who waited for this login's answer.
    pub(super) fn finish(&mut self, id: Id) -> Vec<Id> {
        let place = self.running.iter().position(|running| match running {
            Running::Login { id: other, .. } | Running::Job(other) => *other == id,
        });
        match place.map(|place| self.running.swap_remove(place)) {
            Some(Running::Login { joined, .. }) => joined,
            Some(Running::Job(_)) | None => Vec::new(),
        }
    }

    /// Sends away whoever cannot be answered in time any more.
    pub(super) fn shed_late(&mut self, now: Instant) -> Vec<Shed> {
        let hash = self.pace.one();
        let heads = self.waiting.questions();
        let networks = self.waiting.networks.len();
        let mut late = Vec::new();
        for network in &self.waiting.networks {
            let share = networks * network.addresses.len();
            for address in &network.addresses {
                let count = address.entries.len();
                for (place, entry) in address.entries.iter().enumerate() {
                    // Newer ones of this address come before, and as many of each other address.
                    let before = ((count - place) * share).min(heads);
                    let wait = if place + 1 == count {
                        hash
                    } else {
                        hash + self.pace.time_of(before)
                    };
                    if now + wait <= entry.since + self.limits.patience {
                        break;
                    }
                    late.push(entry.id);
                }
            }
        }
        late.into_iter()
            .filter_map(|id| self.waiting.take(|entry| entry.id == id))
            .collect::<Vec<_>>()
            .into_iter()
            .flat_map(|entry| self.send_away(entry.ids(), Bound::Patience, now))
            .collect()
    }

    /// When somebody who is sent away now should try again.
    pub(super) fn retry_after(&mut self, now: Instant) -> Duration {
        let waiting = self.waiting();
        self.pace.retry_after(waiting, now)
    }

    fn start_job(&mut self) -> Option<Id> {
        let job = self.jobs.pop_front()?;
        self.job_next = false;
        self.running.push(Running::Job(job));
        Some(job)
    }

    fn next_login(&mut self, now: Instant) -> Option<Id> {
        let (running, settle) = (&self.running, self.limits.settle);
        let (entry, address) = self.waiting.next(|entry, address| {
            let judged = running.iter().any(|running| {
                matches!(running, Running::Login { name, address: other, .. }
                    if *name == entry.name && other == address)
            });
            entry.since + settle <= now && !judged
        })?;
        let id = entry.id;
        self.running.push(Running::Login {
            id,
            name: entry.name,
            question: entry.question,
            address,
            joined: entry.joined,
        });
        Some(id)
    }

    /// Brings the queue below its bounds after a login of this kind has joined.
    fn shed_over(&mut self, request: &Request, now: Instant) -> Vec<Shed> {
        let Limits {
            waiting,
            per_address,
            per_name,
            patience,
            ..
        } = self.limits;
        let mut shed = Vec::new();
        let of_name = |queue: &Self| {
            queue
                .waiting
                .weight_of(|entry, _, _| entry.name == request.name)
        };
        while of_name(self) > per_name {
            let Some(entry) = self
                .waiting
                .take_oldest(|entry, _, _| entry.name == request.name)
            else {
                break;
            };
            shed.extend(self.send_away(entry.ids(), Bound::Name, now));
        }
        let of_address =
            |queue: &Self| queue.waiting.weight_of(|_, key, _| *key == request.address);
        while of_address(self) > per_address {
            let Some(entry) = self
                .waiting
                .take_oldest(|_, key, _| *key == request.address)
            else {
                break;
            };
            shed.extend(self.send_away(entry.ids(), Bound::Address, now));
        }
        let of_network =
            |queue: &Self| queue.waiting.weight_of(|_, _, key| *key == request.network);
        while of_network(self) > per_address.saturating_mul(ADDRESSES_PER_NETWORK) {
            let Some(entry) = self
                .waiting
                .take_oldest(|_, _, key| *key == request.network)
            else {
                break;
            };
            shed.extend(self.send_away(entry.ids(), Bound::Network, now));
        }
        let most = waiting.min(self.pace.count_in(patience).max(self.limits.parallel));
        while self.waiting() > most {
            let Some(entry) = self.waiting.take_oldest(|_, _, _| true) else {
                break;
            };
            shed.extend(self.send_away(entry.ids(), Bound::All, now));
        }
        shed
    }

    fn send_away(
        &mut self,
        ids: impl IntoIterator<Item = Id>,
        bound: Bound,
        now: Instant,
    ) -> Vec<Shed> {
        ids.into_iter()
            .map(|id| Shed {
                id,
                bound,
                retry_after: self.retry_after(now),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
