//! The path of messages of armed traces through this process.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::time::Instant;

use crate::armed::{About, ArmError, Armed, Order, State, trace_of};
use crate::ring::{Page, Ring, Wanted, page};
use crate::set_armed;

/// A part of a message's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A msg server has read it.
    Received,
    /// It waits for the writer.
    Queued,
    /// It is stored, and has its place in the log.
    Committed,
    /// It has left for a route server.
    Published,
    /// A route server has handed it to msg servers.
    Routed,
    /// A msg server acknowledges it to its sender.
    Acknowledged,
    /// A msg server has written it to a session.
    Written,
}

/// A step that a message has made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Id of the message.
    pub message: u64,
    /// Unix microseconds; grows within a process, whatever is done to its clock.
    pub at_us: u64,
    /// Place in the log, from its commit on.
    pub position: u64,
    /// Epoch of the session that sent it, or to which it was written.
    pub session: u64,
    /// User of that session.
    pub user: u32,
    /// Servers to which it was handed, or bytes of that session that its socket has not taken.
    pub count: u32,
    /// Which step.
    pub step: Step,
}

impl Hop {
    /// A step of which nothing else is known.
    pub const fn of(step: Step) -> Self {
        Self {
            message: 0,
            at_us: 0,
            position: 0,
            session: 0,
            user: 0,
            count: 0,
            step,
        }
    }
}

/// Bytes of a ring of which nobody has said how large it is to be.
const DEFAULT_RING: usize = 512 << 10;

static RING: Mutex<Ring> = Mutex::new(Ring::new(DEFAULT_RING));

static TRACES: LazyLock<Mutex<Armed>> =
    LazyLock::new(|| Mutex::new(Armed::new(rand::random::<u64>())));

/// What the clock showed when it was first looked at.
static CLOCK: LazyLock<(Instant, u64)> = LazyLock::new(|| {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let micros = since.map_or(0, |since| since.as_micros());
    (Instant::now(), u64::try_from(micros).unwrap_or(0))
});

fn ring() -> MutexGuard<'static, Ring> {
    RING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn traces() -> MutexGuard<'static, Armed> {
    TRACES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now_us() -> u64 {
    let (since, began) = *CLOCK;
    let passed = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
    began.saturating_add(passed)
}

/// Keeps the newest hops in so many bytes from now on, and forgets those that there are.
pub fn set_ring(bytes: usize) {
    *ring() = Ring::new(bytes);
}

/// Notes a step of a message, if a trace that is armed follows it; otherwise it costs a comparison. Never
/// waits but for another such note.
#[inline]
pub fn note(message: u64, hop: Hop) {
    if message != 0 {
        remember(message, hop);
    }
}

#[cold]
fn remember(message: u64, hop: Hop) {
    if trace_of(message).is_none() {
        return;
    }
    let mut ring = ring();
    // In the order of their times.
    let at_us = now_us();
    ring.push(Hop {
        message,
        at_us,
        ..hop
    });
}

/// The hops of this process that are asked for.
pub fn hops(wanted: &Wanted<'_>) -> Page {
    let selected = ring().select(wanted);
    page(selected, wanted)
}

/// Follows messages from now on, until the trace's time is over. One that is armed already stays as it is.
///
/// # Errors
/// The order is out of bounds, or as many traces are armed as may be.
pub fn arm(order: Order) -> Result<(), ArmError> {
    let mut traces = traces();
    traces.arm(order, Instant::now())?;
    set_armed(true);
    Ok(())
}

/// Follows no more messages for a trace; those that it has followed go on leaving steps. Gives how far it is, as
/// [`state`] does.
pub fn stop(trace: u32) -> Option<State> {
    let mut traces = traces();
    let now = Instant::now();
    let state = traces.stop(trace, now);
    if !traces.is_any(now) {
        set_armed(false);
    }
    state
}

/// How far a trace is here; `None` of one that was never armed here, or has made room for another.
pub fn state(trace: u32) -> Option<State> {
    traces().state(trace, Instant::now())
}

/// The id of a message that comes now, if a trace follows it.
#[cold]
pub(crate) fn follow(about: About) -> Option<u64> {
    let mut traces = traces();
    let now = Instant::now();
    let id = traces.follow(about, now);
    if id.is_none() && !traces.is_any(now) {
        set_armed(false);
    }
    id
}
