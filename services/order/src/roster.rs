//! Which of several processes may take the log of a store that they share. Without I/O, and without any
//! clock but the one that it is told.
//!
//! Each process says in rounds that it is there: it counts its *beat* on in a table of the store, and
//! reads those of the others. Whoever's beat stands still is *silent*. The log may be taken when nobody
//! owns it, or who owns it is silent. Nobody compares clocks of machines, and a store that is slow makes
//! everybody's rounds slow and nobody silent at once.
//!
//! All of it only decides who *should* own the log. Who does is decided by the [`Fence`](crate::Fence) in
//! every transaction: two processes that both believe that they should are no danger to what is stored.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Tenure;

/// Rounds in which the beat of a process stands still until it is silent, if each of them was answered
/// within [`ANSWERED_SOON`].
const STILL_ROUNDS: u32 = 3;

/// The same, however slow the answers are.
const STILL_SLOW_ROUNDS: u32 = 15;

/// An answer of the store that says something about others.
const ANSWERED_SOON: Duration = Duration::from_millis(500);

/// Rounds that follow each other faster count as one.
const ROUND: Duration = Duration::from_millis(900);

/// The next in order may take a log that nobody has taken for so long.
const PATIENCE: Duration = Duration::from_secs(2);

/// One of the processes that share a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its name, which it has again after a restart.
    pub name: String,
    /// Which start of it: a number that no other start has.
    pub instance: u64,
    /// Counts on with every round.
    pub beat: u64,
}

/// What a process reads in a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// Everybody who has ever been there, this process too, in any order.
    pub replicas: Vec<Replica>,
    /// Name and instance of who owns the log.
    pub owner: Option<(String, u64)>,
    /// Since when.
    pub tenure: Tenure,
}

/// What follows from a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The log is this process's.
    Owner,
    /// Somebody else has it, or should.
    Standby,
    /// Take it, if it still is in this tenure.
    Take(Tenure),
    /// A later process has the name of this one: stop.
    Replaced,
}

/// A process that would own the log.
#[derive(Debug)]
pub struct Candidate {
    name: String,
    instance: u64,
    others: BTreeMap<String, Seen>,
    /// When it was first seen that nobody has the log.
    vacant_since: Option<Duration>,
}

/// What is known of another process.
#[derive(Debug)]
struct Seen {
    instance: u64,
    beat: u64,
    still: u32,
    still_and_soon: u32,
    /// When its last round was counted.
    counted: Duration,
}

impl Seen {
    fn is_silent(&self) -> bool {
        self.still_and_soon >= STILL_ROUNDS || self.still >= STILL_SLOW_ROUNDS
    }
}

impl Candidate {
    /// This start of the process of that name.
    pub fn new(name: impl Into<String>, instance: u64) -> Self {
        Self {
            name: name.into(),
            instance,
            others: BTreeMap::new(),
            vacant_since: None,
        }
    }

    /// What the process of this start calls itself.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which start.
    pub fn instance(&self) -> u64 {
        self.instance
    }

    /// A round has been answered after `took`, at `now` of any clock that does not go back.
    pub fn round(&mut self, roster: &Roster, took: Duration, now: Duration) -> Standing {
        let mine = roster.replicas.iter().find(|it| it.name == self.name);
        if mine.is_none_or(|it| it.instance != self.instance) {
            return Standing::Replaced;
        }
        self.look_at_others(roster, took, now);
        match &roster.owner {
            Some((name, instance)) if *name == self.name => {
                self.vacant_since = None;
                if *instance == self.instance {
                    Standing::Owner
                } else {
                    Standing::Take(roster.tenure)
                }
            }
            Some((name, instance)) if self.is_there(name, *instance) => {
                self.vacant_since = None;
                Standing::Standby
            }
            _ => {
                let since = *self.vacant_since.get_or_insert(now);
                let before = self.others.iter();
                let before = before.filter(|(name, seen)| **name < self.name && !seen.is_silent());
                let turn = u32::try_from(before.count()).unwrap_or(u32::MAX);
                if now.saturating_sub(since) >= PATIENCE.saturating_mul(turn) {
                    Standing::Take(roster.tenure)
                } else {
                    Standing::Standby
                }
            }
        }
    }

    /// Whether the log waits for somebody, so that rounds should follow each other faster.
    pub fn is_vacant(&self) -> bool {
        self.vacant_since.is_some()
    }

    /// Whether somebody else is there who would take the log of a process that stands still.
    pub fn has_others(&self) -> bool {
        self.others.values().any(|seen| !seen.is_silent())
    }

    fn look_at_others(&mut self, roster: &Roster, took: Duration, now: Duration) {
        let listed = |name: &String| roster.replicas.iter().any(|it| it.name == *name);
        self.others.retain(|name, _| listed(name));
        for Replica {
            name,
            instance,
            beat,
        } in &roster.replicas
        {
            if *name == self.name {
                continue;
            }
            let fresh = Seen {
                instance: *instance,
                beat: *beat,
                still: 0,
                still_and_soon: 0,
                counted: now,
            };
            let Some(seen) = self.others.get_mut(name) else {
                self.others.insert(name.clone(), fresh);
                continue;
            };
            if (seen.instance, seen.beat) != (*instance, *beat) {
                *seen = fresh;
            } else if now.saturating_sub(seen.counted) >= ROUND {
                seen.counted = now;
                seen.still = seen.still.saturating_add(1);
                if took <= ANSWERED_SOON {
                    seen.still_and_soon = seen.still_and_soon.saturating_add(1);
                }
            }
        }
    }

    fn is_there(&self, name: &str, instance: u64) -> bool {
        let seen = self.others.get(name);
        seen.is_some_and(|seen| seen.instance == instance && !seen.is_silent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(5);
    const LATE: Duration = Duration::from_secs(2);

    /// A store, and processes that do a round each second.
    struct Rig {
        roster: Roster,
        now: Duration,
    }

    impl Rig {
        fn new() -> Self {
            Self {
                roster: Roster::default(),
                now: Duration::from_secs(100),
            }
        }

        fn start(&mut self, name: &str, instance: u64) -> Candidate {
            self.roster.replicas.retain(|it| it.name != name);
            self.roster.replicas.push(Replica {
                name: name.to_owned(),
                instance,
                beat: 0,
            });
            Candidate::new(name, instance)
        }

        /// A round of this process, and what it does then.
        fn round(&mut self, process: &mut Candidate, took: Duration) -> Standing {
            for it in &mut self.roster.replicas {
                if it.name == process.name && it.instance == process.instance {
                    it.beat += 1;
                }
            }
            let standing = process.round(&self.roster, took, self.now);
            if standing == Standing::Take(self.roster.tenure) {
                let next = self.roster.tenure.to_wire() + 1;
                self.roster.tenure = Tenure::from_wire(next);
                self.roster.owner = Some((process.name.clone(), process.instance));
            }
            standing
        }

        fn second(&mut self) {
            self.now += Duration::from_secs(1);
        }
    }

    fn take(tenure: u64) -> Standing {
        Standing::Take(Tenure::from_wire(tenure))
    }

    #[test]
    fn a_log_of_nobody_is_taken_at_once_by_the_first_in_order_and_the_others_stand_by() {
        let mut rig = Rig::new();
        let (mut a, mut b) = (rig.start("a", 1), rig.start("b", 2));
        assert_eq!(rig.round(&mut b, SOON), Standing::Standby);
        assert!(b.is_vacant());
        assert_eq!(rig.round(&mut a, SOON), take(0));
        for _ in 0..20 {
            rig.second();
            assert_eq!(rig.round(&mut a, SOON), Standing::Owner);
            assert_eq!(rig.round(&mut b, SOON), Standing::Standby);
            assert!(!b.is_vacant());
            assert!(a.has_others() && b.has_others());
        }
        for _ in 0..=STILL_ROUNDS {
            rig.second();
            assert_eq!(rig.round(&mut a, SOON), Standing::Owner);
        }
        assert!(!a.has_others(), "the other has gone");
    }

    #[test]
    fn who_is_next_takes_a_log_that_the_first_does_not_take() {
        let mut rig = Rig::new();
        let (mut a, mut b) = (rig.start("a", 1), rig.start("b", 2));
        assert_eq!(rig.round(&mut b, SOON), Standing::Standby);
        rig.second();
        // It is there, and takes nothing.
        a.round(&rig.roster, SOON, rig.now);
        assert_eq!(rig.round(&mut b, SOON), Standing::Standby);
        rig.second();
        assert_eq!(rig.round(&mut b, SOON), take(0));
    }

    #[test]
    fn an_owner_that_stands_still_for_three_rounds_has_lost_the_log_and_hears_it() {
        let mut rig = Rig::new();
        let (mut a, mut b) = (rig.start("a", 1), rig.start("b", 2));
        assert_eq!(rig.round(&mut a, SOON), take(0));
        assert_eq!(rig.round(&mut b, SOON), Standing::Standby);
        for _ in 0..2 {
            rig.second();
            assert_eq!(rig.round(&mut b, SOON), Standing::Standby);
        }
        rig.second();
        assert_eq!(rig.round(&mut b, SOON), take(1));
        rig.second();
        assert_eq!(rig.round(&mut b, SOON), Standing::Owner);
        assert_eq!(rig.round(&mut a, SOON), Standing::Standby);
    }

    #[test]
    fn a_slow_store_makes_nobody_silent_for_fifteen_rounds() {
        let mut rig = Rig::new();
        let (mut a, mut b) = (rig.start("a", 1), rig.start("b", 2));
        assert_eq!(rig.round(&mut a, LATE), take(0));
        assert_eq!(rig.round(&mut b, LATE), Standing::Standby);
        for _ in 0..14 {
            rig.second();
            assert_eq!(rig.round(&mut b, LATE), Standing::Standby);
        }
        rig.second();
        assert_eq!(rig.round(&mut b, LATE), take(1));
    }

    #[test]
    fn rounds_in_quick_succession_make_nobody_silent() {
        let mut rig = Rig::new();
        let (mut a, mut b) = (rig.start("a", 1), rig.start("b", 2));
        assert_eq!(rig.round(&mut a, SOON), take(0));
        for _ in 0..20 {
            rig.now += Duration::from_millis(100);
            assert_eq!(rig.round(&mut b, SOON), Standing::Standby);
        }
    }

    #[test]
    fn a_process_that_comes_back_takes_its_log_at_once_and_its_former_start_stops() {
        let mut rig = Rig::new();
        let (mut a, mut b) = (rig.start("b", 1), rig.start("a", 2));
        // The name that is first in order does not have it.
        rig.roster.owner = Some(("b".to_owned(), 1));
        assert_eq!(rig.round(&mut b, SOON), Standing::Standby);
        let mut again = rig.start("b", 3);
        assert_eq!(rig.round(&mut a, SOON), Standing::Replaced);
        assert_eq!(rig.round(&mut again, SOON), take(0));
        assert_eq!(rig.round(&mut again, SOON), Standing::Owner);
    }

    #[test]
    fn a_log_that_was_given_up_is_taken_in_the_next_round() {
        let mut rig = Rig::new();
        let (mut a, mut b) = (rig.start("b", 1), rig.start("a", 2));
        rig.roster.owner = Some(("b".to_owned(), 1));
        assert_eq!(rig.round(&mut a, SOON), Standing::Owner);
        assert_eq!(rig.round(&mut b, SOON), Standing::Standby);
        rig.roster.owner = None;
        assert_eq!(rig.round(&mut b, SOON), take(0));
    }

    #[test]
    fn nobody_waits_for_the_turn_of_an_owner_that_has_left() {
        let mut rig = Rig::new();
        let (mut a, mut b) = (rig.start("a", 1), rig.start("b", 2));
        assert_eq!(rig.round(&mut a, SOON), take(0));
        assert_eq!(rig.round(&mut b, SOON), Standing::Standby);
        rig.roster.owner = None;
        rig.second();
        assert_eq!(rig.round(&mut b, SOON), Standing::Standby, "it is there");
        rig.roster.replicas.retain(|it| it.name != "a");
        assert_eq!(rig.round(&mut b, SOON), take(1));
    }
}
