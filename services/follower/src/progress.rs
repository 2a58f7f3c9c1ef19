//! What is under way, and what the store must know of it.
//!
//! Pure: time is given in unix milliseconds.

use std::collections::HashMap;

use bytes::Bytes;
use im_order::CommitSeq;
use im_proto_rpc::v1::{FollowRetry, FollowStep};

/// Names one attempt at a job; whoever ends it says so under this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) key: Bytes,
    pub(crate) lane: u32,
    number: u64,
}

/// What the store knows of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    None,
    /// Not what is true now.
    Stale,
    Current,
}

#[derive(Clone, Debug)]
struct Entry {
    /// The attempt that is running; without one the job waits for its next.
    running: Option<u64>,
    lane: u32,
    body: Bytes,
    tries: u32,
    /// When it is to be tried, if it waits.
    due: u64,
    line: Line,
}

/// What a holder of a name has in hand. Whoever cannot store a step gives all of this up and begins anew from
/// what is stored.
#[derive(Debug)]
pub(crate) struct Progress {
    reached: CommitSeq,
    stored: CommitSeq,
    entries: HashMap<Bytes, Entry>,
    /// Lines that are not needed any more.
    gone: Vec<Bytes>,
    /// Entries whose line is not current, and `gone`.
    changes: usize,
    last: u64,
    /// Whether the store may have lines of which nothing is known here.
    may_have_lines: bool,
}

impl Progress {
    /// Goes on at `position`, with so many lines in the store.
    pub(crate) fn new(position: CommitSeq, lines: u64) -> Self {
        Self {
            reached: position,
            stored: position,
            entries: HashMap::new(),
            gone: Vec::new(),
            changes: 0,
            last: 0,
            may_have_lines: lines > 0,
        }
    }

    /// The store has so many lines after the last step.
    pub(crate) fn has_lines(&mut self, lines: u64) {
        self.may_have_lines = lines > 0;
    }

    /// Jobs that run or are not in the store yet.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Lines that the next step writes, at most.
    pub(crate) const fn changes(&self) -> usize {
        self.changes
    }

    /// Up to where messages have been looked at.
    pub(crate) const fn reached(&self) -> CommitSeq {
        self.reached
    }

    /// Messages up to here have been looked at.
    pub(crate) fn reach(&mut self, position: CommitSeq) {
        self.reached = self.reached.max(position);
    }

    /// A new job is tried at once. It takes the place of one with the same key.
    pub(crate) fn begin(&mut self, key: Bytes, lane: u32, body: Bytes) -> Attempt {
        let number = self.number();
        self.insert(key.clone(), Some(number), lane, body, 0);
        Attempt { key, lane, number }
    }

    /// A new job waits until `due`. It takes the place of one with the same key.
    pub(crate) fn put_off(&mut self, key: Bytes, lane: u32, body: Bytes, due: u64) {
        self.insert(key, None, lane, body, due);
    }

    /// A line of the store is due; `None` when its job is in hand already.
    pub(crate) fn resume(&mut self, retry: FollowRetry) -> Option<(Attempt, Bytes, u32)> {
        let FollowRetry {
            key,
            lane,
            tries,
            body,
            due: _,
        } = retry;
        if self.entries.contains_key(&key) || self.gone.contains(&key) {
            return None;
        }
        let number = self.number();
        let entry = Entry {
            running: Some(number),
            lane,
            body: body.clone(),
            tries,
            due: 0,
            // It still says that it is due: another time is written while it runs.
            line: Line::Stale,
        };
        self.changes += 1;
        self.entries.insert(key.clone(), entry);
        Some((Attempt { key, lane, number }, body, tries))
    }

    /// An attempt has done its job.
    pub(crate) fn done(&mut self, attempt: &Attempt) {
        if !self.is_current(attempt) {
            return;
        }
        let Some(entry) = self.entries.remove(&attempt.key) else {
            return;
        };
        if entry.line != Line::Current {
            self.changes -= 1;
        }
        if entry.line != Line::None {
            self.gone.push(attempt.key.clone());
            self.changes += 1;
        }
    }

    /// An attempt has failed; the job is tried again at `due`.
    pub(crate) fn again(&mut self, attempt: &Attempt, due: u64) {
        if !self.is_current(attempt) {
            return;
        }
        let Some(entry) = self.entries.get_mut(&attempt.key) else {
            return;
        };
        entry.running = None;
        entry.tries = entry.tries.saturating_add(1);
        entry.due = due;
        if entry.line == Line::Current {
            entry.line = Line::Stale;
            self.changes += 1;
        }
    }

    /// What the store must know, in parts of at most `lines` lines, to be stored in order; the position moves
    /// with the last one. Jobs that run are due at `lease`, in case nobody ends them. Empty when the store
    /// knows everything.
    pub(crate) fn steps(&mut self, lease: u64, lines: usize) -> Vec<FollowStep> {
        if self.changes == 0 && self.reached == self.stored {
            return Vec::new();
        }
        let mut put = Vec::with_capacity(self.changes);
        for (key, entry) in &mut self.entries {
            if entry.line == Line::Current {
                continue;
            }
            entry.line = Line::Current;
            put.push(FollowRetry {
                key: key.clone(),
                lane: entry.lane,
                due: entry.running.map_or(entry.due, |_| lease),
                tries: entry.tries,
                body: entry.body.clone(),
            });
        }
        self.entries.retain(|_, entry| entry.running.is_some());
        let mut remove = std::mem::take(&mut self.gone);
        self.changes = 0;
        let mut steps = Vec::new();
        loop {
            let some = put.split_off(put.len().saturating_sub(lines));
            let room = lines.saturating_sub(some.len());
            let none = remove.split_off(remove.len().saturating_sub(room));
            let is_last = put.is_empty() && remove.is_empty();
            let position = if is_last { self.reached } else { self.stored };
            steps.push(FollowStep {
                position: position.to_wire(),
                put: some,
                remove: none,
            });
            if is_last {
                break;
            }
        }
        self.stored = self.reached;
        steps
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn is_current(&self, attempt: &Attempt) -> bool {
        let entry = self.entries.get(&attempt.key);
        entry.is_some_and(|entry| entry.running == Some(attempt.number))
    }

    fn insert(&mut self, key: Bytes, running: Option<u64>, lane: u32, body: Bytes, due: u64) {
        let gone = self.gone.iter().position(|gone| *gone == key);
        let known = self.entries.get(&key).map(|entry| entry.line);
        let line = match (known, gone) {
            (Some(Line::None), _) => Line::None,
            (Some(Line::Stale), _) => Line::Stale,
            (Some(Line::Current), _) => {
                self.changes += 1;
                Line::Stale
            }
            (None, Some(place)) => {
                // Its line will be written instead of removed.
                self.gone.swap_remove(place);
                Line::Stale
            }
            (None, None) => {
                self.changes += 1;
                // An older job with this key may wait in the store: it must not come back after this one.
                if self.may_have_lines {
                    Line::Stale
                } else {
                    Line::None
                }
            }
        };
        let entry = Entry {
            running,
            lane,
            body,
            tries: 0,
            due,
            line,
        };
        self.entries.insert(key, entry);
    }
}

#[cfg(test)]
mod tests;
