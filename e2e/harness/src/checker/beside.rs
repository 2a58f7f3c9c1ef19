//! Verdict over what goes beside messages: files and pictures by their content, notices by the log, changes by
//! the audit log.

use std::collections::{BTreeMap, BTreeSet};

/// A broken promise, with what shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stray {
    /// A file or picture that was said to be stored and is not there.
    Gone(String),
    /// It came with another content than it was sent with.
    Changed(String),
    /// One that nobody sent is there.
    NobodySent(String),
    /// A notice for somebody whom no such message in the log is for.
    Untrue(Notice),
    /// The newest message for somebody, of which they were never told.
    NeverTold {
        /// Who.
        user: u64,
        /// Place of the message in the log.
        position: u64,
    },
    /// Two notices with one name.
    SameName(String),
    /// A change that was answered and has no row, or more than one, or two answers.
    Rows {
        /// Of which change.
        change: String,
        /// How many rows.
        rows: usize,
        /// How many different answers.
        answers: usize,
    },
    /// A row about a change that nobody asked for.
    NobodyAsked(String),
}

/// A file or picture that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Hash of its content.
    pub hash: u64,
    /// Whether its sender was told that it is stored. What was cut off may be there or not.
    pub is_stored: bool,
}

/// Checks what was sent, by name, against the hashes of what was fetched at the end.
pub fn check_contents(sent: &BTreeMap<String, Sent>, there: &BTreeMap<String, u64>) -> Vec<Stray> {
    let missing = sent
        .iter()
        .filter(|(name, sent)| sent.is_stored && !there.contains_key(*name))
        .map(|(name, _)| Stray::Gone(name.clone()));
    let wrong = there
        .iter()
        .filter_map(|(name, hash)| match sent.get(name) {
            None => Some(Stray::NobodySent(name.clone())),
            Some(sent) if sent.hash != *hash => Some(Stray::Changed(name.clone())),
            Some(_) => None,
        });
    missing.chain(wrong).collect()
}

/// A notice as its provider got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// For whom.
    pub user: u64,
    /// Place of its message in the log.
    pub position: u64,
    /// The same whenever it is sent again.
    pub name: String,
}

/// Checks notices against the places of the messages that each person was to be told of. A newer notice may
/// take the place of an older one, so that only the newest must have come.
pub fn check_notices(told: &[Notice], log: &BTreeMap<u64, BTreeSet<u64>>) -> Vec<Stray> {
    let mut strays = Vec::new();
    let mut names: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for notice in told {
        let is_true = log
            .get(&notice.user)
            .is_some_and(|places| places.contains(&notice.position));
        if !is_true {
            strays.push(Stray::Untrue(notice.clone()));
        }
        let of = (notice.user, notice.position);
        let known = *names.entry(&notice.name).or_insert(of);
        if known != of {
            strays.push(Stray::SameName(notice.name.clone()));
        }
    }
    for (user, places) in log {
        let Some(newest) = places.last() else {
            continue;
        };
        let is_told = { told.iter() }.any(|it| (it.user, it.position) == (*user, *newest));
        if !is_told {
            strays.push(Stray::NeverTold {
                user: *user,
                position: *newest,
            });
        }
    }
    strays
}

/// Checks changes, by name with the answers that came, against what the rows of the audit log are about. A
/// change without an answer may have been made or not; each has one row at most.
pub fn check_changes(answers: &BTreeMap<String, BTreeSet<u64>>, rows: &[String]) -> Vec<Stray> {
    let mut strays = Vec::new();
    for (change, answers) in answers {
        let rows = rows.iter().filter(|row| *row == change).count();
        let is_good = match answers.len() {
            0 => rows <= 1,
            1 => rows == 1,
            _ => false,
        };
        if !is_good {
            strays.push(Stray::Rows {
                change: change.clone(),
                rows,
                answers: answers.len(),
            });
        }
    }
    let unknown = rows.iter().filter(|row| !answers.contains_key(*row));
    strays.extend(unknown.map(|row| Stray::NobodyAsked(row.clone())));
    strays
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> BTreeMap<String, Sent> {
        let of = |hash, is_stored| Sent { hash, is_stored };
        BTreeMap::from([
            ("a".to_owned(), of(1, true)),
            ("b".to_owned(), of(2, false)),
        ])
    }

    #[test]
    fn what_was_stored_is_there_as_it_was_and_nothing_else_is() {
        let there = |all: &[(&str, u64)]| {
            let all = all.iter().map(|(name, hash)| ((*name).to_owned(), *hash));
            check_contents(&sent(), &all.collect())
        };
        assert_eq!(there(&[("a", 1)]), []);
        assert_eq!(there(&[("a", 1), ("b", 2)]), []);
        assert_eq!(there(&[("b", 2)]), [Stray::Gone("a".to_owned())]);
        assert_eq!(there(&[("a", 3)]), [Stray::Changed("a".to_owned())]);
        let cut = there(&[("a", 1), ("b", 9)]);
        assert_eq!(cut, [Stray::Changed("b".to_owned())], "half of it is none");
        let other = there(&[("a", 1), ("c", 1)]);
        assert_eq!(other, [Stray::NobodySent("c".to_owned())]);
    }

    fn notice(user: u64, position: u64, name: &str) -> Notice {
        let name = name.to_owned();
        Notice {
            user,
            position,
            name,
        }
    }

    #[test]
    fn notices_are_true_the_newest_has_come_and_names_are_of_one_notice() {
        let log = BTreeMap::from([(7, BTreeSet::from([3, 5])), (8, BTreeSet::from([4]))]);
        let good = vec![notice(7, 5, "x"), notice(8, 4, "y"), notice(7, 5, "x")];
        assert_eq!(check_notices(&good, &log), []);
        let mut none = good.clone();
        none.retain(|it| it.user != 8);
        let never = Stray::NeverTold {
            user: 8,
            position: 4,
        };
        assert_eq!(check_notices(&none, &log), [never]);
        for invented in [notice(7, 4, "z"), notice(7, 6, "z"), notice(9, 5, "z")] {
            let all = [good.clone(), vec![invented.clone()]].concat();
            assert_eq!(check_notices(&all, &log), [Stray::Untrue(invented)]);
        }
        let same = [good.clone(), vec![notice(7, 3, "y")]].concat();
        assert_eq!(
            check_notices(&same, &log),
            [Stray::SameName("y".to_owned())]
        );
    }

    #[test]
    fn a_change_has_one_row_and_one_answer() {
        let answers =
            |all: &[u64]| BTreeMap::from([("a".to_owned(), all.iter().copied().collect())]);
        let rows =
            |all: &[&str]| -> Vec<String> { all.iter().map(|it| (*it).to_owned()).collect() };
        for (told, found) in [(&[1][..], &["a"][..]), (&[], &["a"]), (&[], &[])] {
            assert_eq!(check_changes(&answers(told), &rows(found)), []);
        }
        for (told, found) in [
            (&[1][..], &[][..]),
            (&[1], &["a", "a"]),
            (&[1, 2], &["a"]),
            (&[], &["a", "a"]),
        ] {
            let strays = check_changes(&answers(told), &rows(found));
            assert!(matches!(strays[..], [Stray::Rows { .. }]), "{strays:?}");
        }
        let unknown = check_changes(&answers(&[1]), &rows(&["a", "b"]));
        assert_eq!(unknown, [Stray::NobodyAsked("b".to_owned())]);
    }
}
