//! All that can happen to two processes that share a log, explored: an explicit-state model of who takes it, of a database with a
//! row lock whose commits may have an unknown outcome, and of a client that sends again.
//!
//! A process that does nothing for a while is one of the things that happen, so nothing here depends on time: anybody may take the log
//! whenever it likes, as if everybody were always taken for silent.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

mod model;

use std::collections::{HashSet, VecDeque};

use model::{Budget, Mutation, State};

/// How far is looked, as a guard against bounds that were set too wide.
const MOST_STATES: usize = 5_000_000;

/// What was found.
#[derive(Debug)]
enum Found {
    /// Nothing in so many states, which are all.
    Nothing(usize),
    /// A state that must not be.
    Violation(String),
}

/// Visits every state that can be reached, nearest first.
fn explore(budget: Budget, mutation: Mutation) -> Found {
    let first = State::new(budget);
    let mut seen = HashSet::from([first.clone()]);
    let mut queue = VecDeque::from([first]);
    let mut next = Vec::new();
    while let Some(state) = queue.pop_front() {
        if let Some(violation) = state.violation() {
            return Found::Violation(violation);
        }
        state.steps(mutation, &mut next);
        for state in next.drain(..) {
            if seen.insert(state.clone()) {
                queue.push_back(state);
            }
        }
        assert!(seen.len() < MOST_STATES, "narrow the bounds");
    }
    Found::Nothing(seen.len())
}

fn budget() -> Budget {
    // CI has minutes; a night has more.
    let is_long = std::env::var_os("IM_TORTURE").is_some();
    Budget {
        takes: if is_long { 5 } else { 4 },
        crashes: 1,
        lost_connections: if is_long { 2 } else { 1 },
        lost_links: if is_long { 2 } else { 1 },
    }
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order_whoever_takes_the_log_and_whatever_breaks() {
    let found = explore(budget(), Mutation::None);
    let Found::Nothing(states) = found else {
        panic!("{found:?}");
    };
    assert!(
        states > 150_000,
        "{states} states: the bounds are too narrow"
    );
}

#[test]
fn without_a_fence_the_model_finds_a_fault() {
    let found = explore(budget(), Mutation::NoFence);
    assert!(matches!(found, Found::Violation(..)), "{found:?}");
}

#[test]
fn without_keys_of_what_is_stored_the_model_finds_a_double() {
    let found = explore(budget(), Mutation::NoKeys);
    let Found::Violation(violation) = &found else {
        panic!("{found:?}");
    };
    assert!(violation.contains("twice"), "{violation}");
}

#[test]
fn if_a_process_outlives_the_loss_of_its_log_the_model_finds_a_reordering() {
    let found = explore(budget(), Mutation::LivesOn);
    let Found::Violation(violation) = &found else {
        panic!("{found:?}");
    };
    assert!(violation.contains("order"), "{violation}");
}

#[test]
fn if_a_commit_without_an_answer_counts_as_stored_the_model_finds_a_loss() {
    let found = explore(budget(), Mutation::DoubtIsStored);
    let Found::Violation(violation) = &found else {
        panic!("{found:?}");
    };
    assert!(violation.contains("lost"), "{violation}");
}
