//! Verdict over a history: the invariants of the message path, checked from outside.
//!
//! * I1 an acknowledged message is in the stored history, under the acknowledged id;
//! * I2 one logical send is stored at most once, and all its acks name one id;
//! * I3 ids are dense from 1, but for the gaps that restores have left; a terminal sees every conversation in id order, each message once;
//!   a sender's messages are stored in the order in which he sent them;
//! * completeness: a session that stayed to the end saw every message after the first it saw;
//! * unread counts agree with the stored history and the read positions.
//!
//! What goes beside messages is judged in [`beside`]: files, pictures, notices, changes by administrators.

pub mod beside;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use crate::history::{Mark, Seen, Stored, Talk};

/// A broken promise, with what shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// I1: acknowledged, but not stored under that id.
    Lost {
        /// Which send.
        mark: Mark,
        /// Acknowledged id.
        msg_id: u32,
    },
    /// I2: stored more than once.
    StoredTwice {
        /// Which send.
        mark: Mark,
        /// One place.
        first: (Talk, u32),
        /// Another.
        second: (Talk, u32),
    },
    /// I2: two acks of one send name different ids.
    AckedTwice {
        /// Which send.
        mark: Mark,
    },
    /// I3: ids of a conversation are not 1, 2, 3, …, gaps of restores left out.
    NotDense {
        /// Which conversation.
        talk: Talk,
        /// Where an id was expected.
        expected: u32,
        /// What was found.
        found: u32,
    },
    /// I3: a sender's messages are stored in another order than he sent them.
    Reordered {
        /// Which conversation.
        talk: Talk,
        /// Sent later, stored earlier.
        mark: Mark,
    },
    /// I3: a session saw an id after a higher or equal one.
    PushedOutOfOrder {
        /// Which session.
        session: u64,
        /// Which conversation.
        talk: Talk,
        /// The late id.
        msg_id: u32,
    },
    /// A push that does not agree with the stored message of that id, or with no message at all.
    PushedWrong {
        /// Which session.
        session: u64,
        /// Which conversation.
        talk: Talk,
        /// The id.
        msg_id: u32,
    },
    /// A session that stayed online did not get a message after others that it got.
    Missed {
        /// Which session.
        session: u64,
        /// Which conversation.
        talk: Talk,
        /// The id.
        msg_id: u32,
    },
    /// Stored, but nobody sent it.
    Invented {
        /// Which conversation.
        talk: Talk,
        /// The id.
        msg_id: u32,
    },
    /// An unread count that the history does not explain.
    Unread {
        /// Whose.
        user: u32,
        /// Which conversation.
        talk: Talk,
        /// By the history.
        expected: u32,
        /// As told.
        found: u32,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Checks I1–I3 and completeness. `stored` holds every conversation that was used.
pub fn check(seen: &[Seen], stored: &BTreeMap<Talk, Stored>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let places = check_stored(seen, stored, &mut faults);
    check_acks(seen, &places, &mut faults);
    check_sender_order(seen, &places, &mut faults);
    check_pushes(seen, stored, &mut faults);
    faults
}

/// Where each mark is stored.
type Places = HashMap<Mark, (Talk, u32)>;

fn check_stored(seen: &[Seen], stored: &BTreeMap<Talk, Stored>, faults: &mut Vec<Fault>) -> Places {
    let sent: HashMap<Mark, (u32, Talk)> = seen
        .iter()
        .filter_map(|entry| match entry {
            Seen::Sent { sender, talk, mark } => Some((*mark, (*sender, *talk))),
            _ => None,
        })
        .collect();
    let mut places = Places::new();
    for (talk, history) in stored {
        let mut expected = history.next_id(0);
        for (msg_id, sender, mark) in &history.messages {
            if *msg_id != expected {
                faults.push(Fault::NotDense {
                    talk: *talk,
                    expected,
                    found: *msg_id,
                });
            }
            expected = history.next_id(*msg_id);
            if sent.get(mark) != Some(&(*sender, *talk)) {
                faults.push(Fault::Invented {
                    talk: *talk,
                    msg_id: *msg_id,
                });
            }
            let second = (*talk, *msg_id);
            if let Some(first) = places.insert(*mark, second) {
                faults.push(Fault::StoredTwice {
                    mark: *mark,
                    first,
                    second,
                });
            }
        }
    }
    places
}

fn check_acks(seen: &[Seen], places: &Places, faults: &mut Vec<Fault>) {
    let mut acked: HashMap<Mark, u32> = HashMap::new();
    for entry in seen {
        let Seen::Acked { mark, msg_id } = entry else {
            continue;
        };
        if acked
            .insert(*mark, *msg_id)
            .is_some_and(|before| before != *msg_id)
        {
            faults.push(Fault::AckedTwice { mark: *mark });
        }
        if places.get(mark).map(|(_, id)| *id) != Some(*msg_id) {
            faults.push(Fault::Lost {
                mark: *mark,
                msg_id: *msg_id,
            });
        }
    }
}

fn check_sender_order(seen: &[Seen], places: &Places, faults: &mut Vec<Fault>) {
    let mut newest: HashMap<(u32, Talk), u32> = HashMap::new();
    let mut first = HashSet::new();
    for entry in seen {
        let Seen::Sent { sender, talk, mark } = entry else {
            continue;
        };
        // A resend is written down again; the first sending counts.
        if !first.insert(*mark) {
            continue;
        }
        let Some((_, msg_id)) = places.get(mark) else {
            continue;
        };
        let before = newest.entry((*sender, *talk)).or_insert(0);
        if *msg_id < *before {
            faults.push(Fault::Reordered {
                talk: *talk,
                mark: *mark,
            });
        }
        *before = (*before).max(*msg_id);
    }
}

fn check_pushes(seen: &[Seen], stored: &BTreeMap<Talk, Stored>, faults: &mut Vec<Fault>) {
    let by_id: HashMap<(Talk, u32), (u32, Mark)> = stored
        .iter()
        .flat_map(|(talk, history)| {
            history
                .messages
                .iter()
                .map(|(id, sender, mark)| ((*talk, *id), (*sender, *mark)))
        })
        .collect();
    let mut owners: HashMap<u64, u32> = HashMap::new();
    let mut ended = HashSet::new();
    // Per session and conversation: first and newest id, and the ids in between.
    let mut got: BTreeMap<(u64, Talk), Vec<u32>> = BTreeMap::new();
    for entry in seen {
        match entry {
            Seen::Online { session, user } => {
                owners.insert(*session, *user);
            }
            Seen::Offline { session } => {
                ended.insert(*session);
            }
            Seen::Pushed {
                session,
                talk,
                msg_id,
                sender,
                mark,
            } => {
                let ids = got.entry((*session, *talk)).or_default();
                if ids.last().is_some_and(|last| last >= msg_id) {
                    let (session, talk, msg_id) = (*session, *talk, *msg_id);
                    faults.push(Fault::PushedOutOfOrder {
                        session,
                        talk,
                        msg_id,
                    });
                }
                ids.push(*msg_id);
                if by_id.get(&(*talk, *msg_id)) != Some(&(*sender, *mark)) {
                    let (session, talk, msg_id) = (*session, *talk, *msg_id);
                    faults.push(Fault::PushedWrong {
                        session,
                        talk,
                        msg_id,
                    });
                }
            }
            Seen::Sent { .. } | Seen::Acked { .. } | Seen::Read { .. } => {}
        }
    }
    for ((session, talk), ids) in got {
        let have: HashSet<u32> = ids.iter().copied().collect();
        let (Some(first), Some(last)) = (have.iter().min(), have.iter().max()) else {
            continue;
        };
        let newest = stored.get(&talk).map_or(0, |history| {
            history
                .messages
                .iter()
                .map(|(id, ..)| *id)
                .max()
                .unwrap_or(0)
        });
        // A session that ended may lack the tail, never something in between.
        let end = if ended.contains(&session) {
            *last
        } else {
            newest
        };
        let ids = (*first..=end).filter(|id| {
            let stored = stored.get(&talk);
            stored.is_none_or(|history| !history.gaps.iter().any(|gap| gap.contains(id)))
        });
        for msg_id in ids {
            let own = by_id
                .get(&(talk, msg_id))
                .is_some_and(|(sender, _)| owners.get(&session) == Some(sender));
            if !own && !have.contains(&msg_id) {
                faults.push(Fault::Missed {
                    session,
                    talk,
                    msg_id,
                });
            }
        }
    }
}

/// Checks one unread count told to a user, his own messages excluded.
///
/// `read` is his read position. In a group his own newest message moves it.
pub fn check_unread(
    user: u32,
    talk: Talk,
    stored: &Stored,
    read: u32,
    found: u32,
) -> Option<Fault> {
    let own_newest = match talk {
        Talk::Group(_) => stored
            .messages
            .iter()
            .filter(|(_, sender, _)| *sender == user)
            .map(|(id, ..)| *id)
            .max()
            .unwrap_or(0),
        Talk::Pair(..) => 0,
    };
    let from = read.max(own_newest);
    let expected = stored
        .messages
        .iter()
        .filter(|(id, sender, _)| *id > from && *sender != user)
        .count();
    let expected = u32::try_from(expected).unwrap_or(u32::MAX);
    (expected != found).then_some(Fault::Unread {
        user,
        talk,
        expected,
        found,
    })
}

#[cfg(test)]
mod tests;
