//! Traces that administrators have armed: which messages they follow, how many, and for how long. Pure: the
//! time comes from outside.
//!
//! The id of a message that is followed has, from the highest bit on: a mark that none of a sampled message
//! has, the trace (23 bits), a number that counts its messages at this process (17 bits: a second has
//! [`MAX_PER_SECOND`] of them and the longest time has 900), and bits of this process (23).

use std::time::Duration;

use tokio::time::Instant;

/// Traces that may be armed at a process at the same time.
pub const MAX_ARMED: usize = 4;

/// Most messages of one trace that a process follows in a second.
pub const MAX_PER_SECOND: u32 = 100;

/// Longest time of a trace.
pub const MAX_TIME: Duration = Duration::from_mins(15);

/// Greatest number of a trace; the least is 1.
pub const MAX_TRACE: u32 = (1 << TRACE_BITS) - 1;

const TRACE_BITS: u32 = 23;
const NUMBER_BITS: u32 = 17;
const PROCESS_BITS: u32 = 64 - 1 - TRACE_BITS - NUMBER_BITS;

/// Set in ids of messages of armed traces, and in no other.
pub(crate) const MARK: u64 = 1 << 63;

/// The trace of a message's id; `None` where it is followed for another reason, or not.
pub(crate) const fn trace_of(message: u64) -> Option<u32> {
    if message & MARK == 0 {
        return None;
    }
    // The mark is masked.
    let trace = (message >> (NUMBER_BITS + PROCESS_BITS)) as u32 & MAX_TRACE;
    Some(trace)
}

/// Which message is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// User who sends it.
    pub from: u32,
    /// User or group who gets it.
    pub to: u32,
    /// It goes to a group.
    pub is_group: bool,
}

/// Which messages a trace is to follow, and how many of them. A message must have all that is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Number of the trace, 1 to [`MAX_TRACE`].
    pub trace: u32,
    /// This user sends it, or gets it in a conversation of two.
    pub user: u32,
    /// It is of the conversation of `user` and this one.
    pub with: u32,
    /// It goes to this group.
    pub group: u32,
    /// One in so many of these, 1 for all.
    pub one_in: u32,
    /// At most so many a second, 1 to [`MAX_PER_SECOND`].
    pub per_second: u32,
    /// For so long, a second to [`MAX_TIME`].
    pub time: Duration,
}

/// Why a trace is not armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArmError {
    /// A number is out of its bounds.
    #[error("{0} is out of bounds")]
    Bounds(&'static str),
    /// As many are armed as may be.
    #[error("{MAX_ARMED} traces are armed already; each ends by itself, or is stopped")]
    Full,
}

/// How far a trace is at a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// It goes on following messages.
    pub is_active: bool,
    /// Messages that it has followed.
    pub followed: u32,
    /// Messages that it would have, but for its rate.
    pub left_out: u64,
}

impl Order {
    fn check(&self) -> Result<(), ArmError> {
        let bounds = [
            ("trace", (1..=MAX_TRACE).contains(&self.trace)),
            ("with", self.with == 0 || self.user != 0 && self.group == 0),
            ("one_in", self.one_in >= 1),
            (
                "per_second",
                (1..=MAX_PER_SECOND).contains(&self.per_second),
            ),
            (
                "seconds",
                (Duration::from_secs(1)..=MAX_TIME).contains(&self.time),
            ),
        ];
        match bounds.iter().find(|(_, holds)| !holds) {
            Some((what, _)) => Err(ArmError::Bounds(what)),
            None => Ok(()),
        }
    }

    const fn is_meant(&self, about: About) -> bool {
        let About { from, to, is_group } = about;
        if self.group != 0 && !(is_group && to == self.group) {
            return false;
        }
        if self.user == 0 {
            return true;
        }
        let sends = from == self.user;
        let gets = !is_group && to == self.user;
        if self.with == 0 {
            return sends || gets;
        }
        !is_group && (sends && to == self.with || gets && from == self.with)
    }
}

/// A trace that was armed.
#[derive(Debug)]
struct Running {
    order: Order,
    until: Instant,
    /// Messages that are meant, until the next of which one is followed.
    skipped: u32,
    /// The second in which it last followed a message, and how many in that.
    second: Instant,
    in_second: u32,
    followed: u32,
    left_out: u64,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Armed {
    running: Vec<Running>,
    /// Bits of this process in ids.
    process: u64,
}

impl Armed {
    /// None yet.
    pub(crate) const fn new(process: u64) -> Self {
        Self {
            running: Vec::new(),
            process: process & ((1 << PROCESS_BITS) - 1),
        }
    }

    /// Arms a trace. One that was armed before stays as it is.
    pub(crate) fn arm(&mut self, order: Order, now: Instant) -> Result<(), ArmError> {
        order.check()?;
        if self.of(order.trace).is_some() {
            return Ok(());
        }
        if self.running.len() >= MAX_ARMED {
            // The one that ended first makes room.
            let over = self.running.iter().position(|it| it.until <= now);
            self.running.remove(over.ok_or(ArmError::Full)?);
        }
        self.running.push(Running {
            order,
            until: now + order.time,
            skipped: 0,
            second: now,
            in_second: 0,
            followed: 0,
            left_out: 0,
        });
        Ok(())
    }

    /// Ends a trace, if it goes on; gives how far it is, as [`Self::state`] does.
    pub(crate) fn stop(&mut self, trace: u32, now: Instant) -> Option<State> {
        let known = self.running.iter_mut().find(|it| it.order.trace == trace)?;
        known.until = known.until.min(now);
        self.state(trace, now)
    }

    /// Whether any goes on.
    pub(crate) fn is_any(&self, now: Instant) -> bool {
        self.running.iter().any(|it| now < it.until)
    }

    /// How far a trace is; `None` of one that was never armed here, or has made room for another.
    pub(crate) fn state(&self, trace: u32, now: Instant) -> Option<State> {
        self.of(trace).map(|it| State {
            is_active: now < it.until,
            followed: it.followed,
            left_out: it.left_out,
        })
    }

    fn of(&self, trace: u32) -> Option<&Running> {
        self.running.iter().find(|it| it.order.trace == trace)
    }

    /// The id of a message that comes now, if a trace follows it: the first that does.
    pub(crate) fn follow(&mut self, about: About, now: Instant) -> Option<u64> {
        let process = self.process;
        let active = self.running.iter_mut().filter(|it| now < it.until);
        let mut meant = active.filter(|it| it.order.is_meant(about));
        meant.find_map(|it| it.follow(now, process))
    }
}

impl Running {
    fn follow(&mut self, now: Instant, process: u64) -> Option<u64> {
        self.skipped += 1;
        if self.skipped < self.order.one_in {
            return None;
        }
        self.skipped = 0;
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.in_second) = (now, 0);
        }
        if self.in_second >= self.order.per_second {
            self.left_out += 1;
            return None;
        }
        self.in_second += 1;
        let number = u64::from(self.followed);
        self.followed += 1;
        let trace = u64::from(self.order.trace) << (NUMBER_BITS + PROCESS_BITS);
        Some(MARK | trace | number << PROCESS_BITS | process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Order = Order {
        trace: 7,
        user: 0,
        with: 0,
        group: 0,
        one_in: 1,
        per_second: MAX_PER_SECOND,
        time: MAX_TIME,
    };

    fn about(from: u32, to: u32, is_group: bool) -> About {
        About { from, to, is_group }
    }

    #[test]
    fn a_trace_follows_the_messages_that_it_is_about() {
        let meant = |order: Order| {
            let messages = [
                about(1, 2, false),
                about(2, 1, false),
                about(1, 3, false),
                about(3, 2, false),
                about(1, 9, true),
                about(2, 9, true),
                // A group may have a user's number.
                about(2, 1, true),
            ];
            messages.map(|message| u8::from(order.is_meant(message)))
        };
        assert_eq!(meant(ALL), [1; 7]);
        let user = Order { user: 1, ..ALL };
        assert_eq!(meant(user), [1, 1, 1, 0, 1, 0, 0]);
        assert_eq!(meant(Order { with: 2, ..user }), [1, 1, 0, 0, 0, 0, 0]);
        assert_eq!(meant(Order { group: 9, ..ALL }), [0, 0, 0, 0, 1, 1, 0]);
        assert_eq!(meant(Order { group: 9, ..user }), [0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn an_order_out_of_bounds_is_not_armed() {
        let mut armed = Armed::new(0);
        let now = Instant::now();
        let second = Duration::from_secs(1);
        for (order, wrong) in [
            (Order { trace: 0, ..ALL }, "trace"),
            (
                Order {
                    trace: MAX_TRACE + 1,
                    ..ALL
                },
                "trace",
            ),
            (Order { with: 2, ..ALL }, "with"),
            (
                Order {
                    user: 1,
                    with: 2,
                    group: 3,
                    ..ALL
                },
                "with",
            ),
            (Order { one_in: 0, ..ALL }, "one_in"),
            (
                Order {
                    per_second: 0,
                    ..ALL
                },
                "per_second",
            ),
            (
                Order {
                    per_second: 101,
                    ..ALL
                },
                "per_second",
            ),
            (
                Order {
                    time: MAX_TIME + second,
                    ..ALL
                },
                "seconds",
            ),
            (
                Order {
                    time: Duration::ZERO,
                    ..ALL
                },
                "seconds",
            ),
        ] {
            assert_eq!(armed.arm(order, now), Err(ArmError::Bounds(wrong)));
        }
        assert!(!armed.is_any(now));
    }

    #[test]
    fn a_hundred_messages_a_second_are_followed_and_the_rest_counted() {
        let mut armed = Armed::new(5);
        let begin = Instant::now();
        armed.arm(ALL, begin).unwrap();
        for second in 0..3 {
            let now = begin + Duration::from_secs(second);
            let ids = (0..150).filter_map(|_| armed.follow(about(1, 2, false), now));
            assert_eq!(ids.count(), 100);
        }
        let state = armed.state(7, begin).unwrap();
        assert_eq!((state.followed, state.left_out), (300, 150));
        assert!(state.is_active);
    }

    #[test]
    fn one_in_some_is_followed_and_nothing_after_the_end() {
        let mut armed = Armed::new(5);
        let begin = Instant::now();
        let order = Order {
            one_in: 10,
            time: Duration::from_secs(60),
            ..ALL
        };
        armed.arm(order, begin).unwrap();
        let mut followed = |now| {
            let ids = (0..100).filter_map(|_| armed.follow(about(1, 2, false), now));
            ids.count()
        };
        assert_eq!(followed(begin), 10);
        let end = begin + Duration::from_secs(60);
        assert_eq!(followed(end - Duration::from_millis(1)), 10);
        assert_eq!(followed(end), 0);
        assert!(!armed.is_any(end) && !armed.state(7, end).unwrap().is_active);
    }

    #[test]
    fn ids_are_of_their_trace_and_grow_up_to_the_last_of_the_longest() {
        let mut armed = Armed::new(u64::MAX);
        let begin = Instant::now();
        armed
            .arm(
                Order {
                    trace: MAX_TRACE,
                    ..ALL
                },
                begin,
            )
            .unwrap();
        let mut last = 0;
        let mut count = 0;
        for second in 0..MAX_TIME.as_secs() {
            let now = begin + Duration::from_secs(second);
            while let Some(id) = armed.follow(about(1, 2, false), now) {
                assert!(id > last, "they grow");
                assert_eq!(trace_of(id), Some(MAX_TRACE));
                last = id;
                count += 1;
            }
        }
        assert_eq!(count, 90_000);
        assert_eq!(trace_of(!MARK), None, "of a sampled message");
    }

    #[test]
    fn a_trace_that_is_stopped_follows_nothing_and_does_not_begin_anew() {
        let mut armed = Armed::new(1);
        let begin = Instant::now();
        for trace in 1..=4 {
            armed.arm(Order { trace, ..ALL }, begin).unwrap();
        }
        assert!(armed.follow(about(1, 2, false), begin).is_some());
        let state = armed.stop(1, begin).unwrap();
        assert_eq!((state.is_active, state.followed), (false, 1));
        assert_eq!(armed.stop(9, begin), None, "never armed");
        let next = armed.follow(about(1, 2, false), begin);
        assert_eq!(next.and_then(trace_of), Some(2), "that of the next");
        // Whoever repeats the request that armed it does not undo the stop.
        armed.arm(Order { trace: 1, ..ALL }, begin).unwrap();
        assert!(!armed.state(1, begin).unwrap().is_active);
        let later = begin + MAX_TIME / 2;
        assert_eq!(armed.stop(1, later), armed.state(1, begin), "once");
        // It has made room.
        armed.arm(Order { trace: 5, ..ALL }, later).unwrap();
        assert_eq!(armed.state(1, later), None);
    }

    #[test]
    fn four_may_be_armed_and_the_first_that_is_over_makes_room() {
        let mut armed = Armed::new(1);
        let begin = Instant::now();
        let order = |trace: u32| Order {
            trace,
            time: Duration::from_secs(u64::from(trace)),
            ..ALL
        };
        for trace in 1..=4 {
            armed.arm(order(trace), begin).unwrap();
        }
        armed.arm(order(3), begin).unwrap();
        assert_eq!(armed.arm(order(5), begin), Err(ArmError::Full));
        let later = begin + Duration::from_secs(1);
        armed.arm(order(5), later).unwrap();
        assert_eq!(armed.state(1, later), None);
        assert!(armed.state(2, later).is_some());
        assert_eq!(armed.arm(order(6), later), Err(ArmError::Full));
    }
}
