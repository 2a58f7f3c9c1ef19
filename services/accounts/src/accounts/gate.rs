//! Slows down attempts at a name after too many failures, without locking anybody out.
//!
//! A gate lets one attempt through at a time, with longer and longer waits between them. Which of
//! those who come while it is closed gets the next opening is drawn by lot, so that whoever asks more
//! often than others has more lots, but never all of them. Everybody else is refused at once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::queue::Key;

/// An attempt waits no longer than this for a gate to open; clients have 15 s and more steps to go.
const PATIENCE: Duration = Duration::from_secs(8);
/// A gate that nobody came to for so many of its longest waits is as new.
const IDLE_WAITS: u32 = 20;

/// The waits between two attempts at one gate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// After the first one.
    pub(super) first: Duration,
    /// Twice as long each time, up to this.
    pub(super) longest: Duration,
}

/// One gate.
#[derive(Debug)]
struct Gate {
    opens: Instant,
    wait: Duration,
    /// Who gets the next opening, for now.
    chosen: Option<u64>,
    /// How many have come since it was closed.
    came: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    Open,
    Chosen(Instant),
    Refused,
}

impl Gate {
    fn new(waits: Waits, now: Instant) -> Self {
        Self {
            opens: now + waits.first,
            wait: waits.first,
            chosen: None,
            came: 0,
        }
    }

    /// Somebody comes; `lot` is a random number.
    fn arrive(&mut self, id: u64, lot: u32, waits: Waits, now: Instant) -> Arrival {
        if now >= self.opens && self.chosen.is_none() {
            self.close(waits, now);
            return Arrival::Open;
        }
        if self.opens > now + PATIENCE {
            return Arrival::Refused;
        }
        self.came += 1;
        // Each of those who came has the same chance in the end.
        if self.chosen.is_none() || lot.is_multiple_of(self.came) {
            self.chosen = Some(id);
            Arrival::Chosen(self.opens)
        } else {
            Arrival::Refused
        }
    }

    /// Whoever waited for the opening takes it, if nobody else was chosen since.
    fn enter(&mut self, id: u64, waits: Waits, now: Instant) -> bool {
        let entered = self.chosen == Some(id);
        if entered {
            self.close(waits, now);
        }
        entered
    }

    fn close(&mut self, waits: Waits, now: Instant) {
        self.wait = self.wait.saturating_mul(2).min(waits.longest);
        self.opens = now + self.wait;
        self.chosen = None;
        self.came = 0;
    }
}

/// All gates; bounded in number, those that have been open for longest go first.
#[derive(Debug)]
pub(super) struct Gates {
    waits: Waits,
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    gates: HashMap<Key, Gate>,
    last: u64,
}

impl Gates {
    pub(super) fn new(waits: Waits, capacity: usize) -> Self {
        Self {
            waits,
            capacity: capacity.max(1),
            state: Mutex::default(),
        }
    }

    /// Waits for this gate to open: whether to go on. The gate is made, closed, when there is none.
    pub(super) async fn pass(&self, key: Key) -> bool {
        let (id, opens) = {
            let now = Instant::now();
            let mut state = self.lock();
            state.last += 1;
            let id = state.last;
            if !state.gates.contains_key(&key) {
                self.make_room(&mut state, now);
            }
            let gate = state
                .gates
                .entry(key)
                .or_insert_with(|| Gate::new(self.waits, now));
            match gate.arrive(id, rand::random(), self.waits, now) {
                Arrival::Open => return true,
                Arrival::Refused => return false,
                Arrival::Chosen(opens) => (id, opens),
            }
        };
        let _waiter = Waiter {
            gates: self,
            key,
            id,
        };
        tokio::time::sleep_until(opens).await;
        let now = Instant::now();
        let mut state = self.lock();
        let gate = state.gates.get_mut(&key);
        gate.is_some_and(|gate| gate.enter(id, self.waits, now))
    }

    fn make_room(&self, state: &mut State, now: Instant) {
        if state.gates.len() < self.capacity {
            return;
        }
        let idle = self.waits.longest.saturating_mul(IDLE_WAITS);
        state.gates.retain(|_, gate| gate.opens + idle > now);
        while state.gates.len() >= self.capacity {
            let oldest = state.gates.iter().min_by_key(|(_, gate)| gate.opens);
            let Some(oldest) = oldest.map(|(key, _)| *key) else {
                return;
            };
            state.gates.remove(&oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete in itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the next opening back when its owner has gone.
struct Waiter<'a> {
    gates: &'a Gates,
    key: Key,
    id: u64,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some(gate) = self.gates.lock().gates.get_mut(&self.key)
            && gate.chosen == Some(self.id)
        {
            gate.chosen = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITS: Waits = Waits {
        first: Duration::from_secs(2),
        longest: Duration::from_secs(30),
    };

    fn gates() -> Gates {
        Gates::new(WAITS, 4)
    }

    #[tokio::test(start_paused = true)]
    async fn one_passes_at_a_time_after_longer_and_longer_waits() {
        let gates = gates();
        let mut waits = Vec::new();
        for _ in 0..3 {
            let begun = Instant::now();
            assert!(gates.pass([1; 16]).await);
            waits.push(begun.elapsed().as_secs());
        }
        assert_eq!(waits, [2, 4, 8]);
        let begun = Instant::now();
        assert!(!gates.pass([1; 16]).await, "16 s are too long to wait");
        assert!(begun.elapsed().is_zero(), "and that is said at once");
        tokio::time::advance(Duration::from_secs(16)).await;
        assert!(gates.pass([1; 16]).await, "nobody waits at an open gate");
        assert!(gates.pass([2; 16]).await, "gates are apart");
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_has_an_upper_bound() {
        let now = Instant::now();
        let mut gate = Gate::new(WAITS, now);
        for _ in 0..20 {
            let opens = gate.opens;
            assert_eq!(gate.arrive(1, 0, WAITS, opens), Arrival::Open);
            assert!(gate.opens <= opens + WAITS.longest);
        }
        assert_eq!(gate.wait, WAITS.longest);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_a_hundred_times_as_often_does_not_get_every_opening() {
        // The guesser asks 100 times while the gate is closed, the owner of the name once, in between.
        let now = Instant::now();
        let mut owner = 0;
        for round in 0..2_000_u64 {
            let mut gate = Gate::new(WAITS, now);
            for id in 0..101 {
                gate.arrive(id, rand::random(), WAITS, now);
            }
            if gate.enter(round % 101, WAITS, gate.opens) {
                owner += 1;
            }
        }
        // Expected are 20 of 2,000.
        assert!((4..=50).contains(&owner), "{owner}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_opening_whose_owner_has_gone_is_free() {
        let gates = gates();
        {
            let gone = gates.pass([1; 16]);
            tokio::pin!(gone);
            let soon = tokio::time::timeout(Duration::from_millis(1), &mut gone).await;
            assert!(soon.is_err());
        }
        assert!(gates.pass([1; 16]).await, "the only one left is chosen");
    }

    #[tokio::test(start_paused = true)]
    async fn gates_are_bounded() {
        let gates = gates();
        for key in 0..100 {
            tokio::time::advance(Duration::from_secs(1)).await;
            let waited = tokio::time::timeout(Duration::from_millis(1), gates.pass([key; 16]));
            assert!(waited.await.is_err());
            assert!(gates.lock().gates.len() <= 4);
        }
    }
}
