//! Login names: when two of them are one, and when they only look alike.
//!
//! A login compares names after composition (NFC) and without blanks around them; case counts, as in the
//! original. A new name is refused when its compatible, case-folded form (NFKC) belongs to somebody else.

use std::borrow::Cow;
use std::collections::HashMap;

use im_core::UserId;
use unicode_normalization::{UnicodeNormalization as _, is_nfc};

/// Owners that a refusal or a report names.
const MOST_OWNERS: usize = 3;

/// The form in which names are compared and stored.
pub fn canonical(name: &str) -> Cow<'_, str> {
    let name = name.trim();
    if is_nfc(name) {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(name.nfc().collect())
    }
}

/// The decomposed form, in which an old database may have a name; `None` when it is no other one.
pub fn decomposed(name: &str) -> Option<String> {
    let decomposed: String = name.nfd().collect();
    (decomposed != name).then_some(decomposed)
}

/// What names have in common that people take for the same.
fn folded(name: &str) -> String {
    let fold = |c: char| {
        // Its capital letter is that of another letter.
        let upper = (c != 'ı').then(|| c.to_uppercase());
        let lower = upper.map(|upper| upper.flat_map(char::to_lowercase).collect::<String>());
        lower.unwrap_or_else(|| c.to_string())
    };
    let compatible: String = name.trim().nfkc().map(fold).collect();
    compatible.nfkc().collect()
}

/// What a name of a file stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// Somebody who is there, by the name that is stored.
    Known(String),
    /// Nobody yet.
    New,
    /// Refused: why.
    Taken(String),
}

/// Everybody's name, to hold others against.
#[derive(Debug, Default)]
pub struct Names {
    /// Stored names by their canonical form.
    canonical: HashMap<String, Vec<String>>,
    /// Who has a folded form; without an id whoever the present file adds.
    folded: HashMap<String, Vec<(Option<UserId>, String)>>,
}

impl Names {
    /// The names that the store has.
    pub fn of(stored: Vec<(UserId, String)>) -> Self {
        let mut names = Self::default();
        for (user, name) in stored {
            names
                .folded
                .entry(folded(&name))
                .or_default()
                .push((Some(user), name.clone()));
            names
                .canonical
                .entry(canonical(&name).into_owned())
                .or_default()
                .push(name);
        }
        names
    }

    /// Judges a name and, when it is new, holds it against those that follow.
    pub fn judge(&mut self, name: &str) -> Named {
        let wanted = canonical(name);
        if let Some(stored) = self.canonical.get(wanted.as_ref()) {
            return match stored.as_slice() {
                [one] => Named::Known(one.clone()),
                // Of twins in an old database only the exact name is meant.
                several if several.iter().any(|one| *one == wanted) => {
                    Named::Known(wanted.into_owned())
                }
                several => Named::Taken(format!(
                    "name {wanted:?} is that of {} people, by their stored names {several:?}",
                    several.len()
                )),
            };
        }
        let owners = self.folded.entry(folded(&wanted)).or_default();
        if owners.is_empty() {
            owners.push((None, wanted.clone().into_owned()));
            return Named::New;
        }
        let owners: Vec<String> = owners.iter().take(MOST_OWNERS).map(owner).collect();
        Named::Taken(format!(
            "name {wanted:?} differs only in case or form from that of {}",
            owners.join(" and ")
        ))
    }

    /// Names of different people that look alike, in no order.
    pub fn twins(&self) -> impl Iterator<Item = Vec<String>> {
        self.folded
            .values()
            .filter(|owners| owners.iter().filter(|(id, _)| id.is_some()).count() > 1)
            .map(|owners| owners.iter().map(|(_, name)| name.clone()).collect())
    }
}

fn owner((id, name): &(Option<UserId>, String)) -> String {
    match id {
        Some(id) => format!("{name:?} (#{id})"),
        None => format!("{name:?} in another line"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(stored: &[(u32, &str)]) -> Names {
        let stored = stored.iter().map(|(id, name)| {
            let id = UserId::from_wire(*id).unwrap();
            (id, (*name).to_owned())
        });
        Names::of(stored.collect())
    }

    #[test]
    fn names_are_one_without_outer_blanks_and_after_composition() {
        assert_eq!(canonical(" ann\u{3000}"), "ann");
        assert_eq!(canonical("rene\u{301}"), "rené");
        assert_eq!(canonical("Ann"), "Ann", "case counts");
        assert_eq!(decomposed("rené").as_deref(), Some("rene\u{301}"));
        assert_eq!(decomposed("ann"), None);
    }

    #[test]
    fn names_look_alike_in_other_case_and_compatible_forms() {
        for (one, other) in [
            ("Ned", "ned"),
            ("ｎｅｄ", "ned"),
            ("STRASSE", "straße"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("ﬁn", "fin"),
            ("İ", "i̇"),
        ] {
            assert_eq!(folded(one), folded(other), "{one} {other}");
        }
        for (one, other) in [("ned", "nedd"), ("ılgaz", "ilgaz"), ("a", "а")] {
            assert_ne!(folded(one), folded(other), "{one} {other}");
        }
    }

    #[test]
    fn a_new_name_that_looks_like_somebody_elses_is_refused_with_its_owner() {
        let mut names = names(&[(7, "ned"), (8, "rene\u{301}")]);
        assert_eq!(names.judge(" ned "), Named::Known("ned".to_owned()));
        assert_eq!(names.judge("rené"), Named::Known("rene\u{301}".to_owned()));
        let refused = "name \"Ned\" differs only in case or form from that of \"ned\" (#7)";
        assert_eq!(names.judge("Ned"), Named::Taken(refused.to_owned()));
        assert_eq!(names.judge("Ann"), Named::New);
        let refused =
            "name \"ann\" differs only in case or form from that of \"Ann\" in another line";
        assert_eq!(names.judge("ann"), Named::Taken(refused.to_owned()));
        assert_eq!(names.twins().count(), 0);
    }

    #[test]
    fn twins_of_an_old_database_stay_two_people_and_are_reported() {
        let mut names = names(&[(7, "ned"), (8, "Ned"), (9, "ann"), (10, "ann ")]);
        assert_eq!(names.judge("Ned"), Named::Known("Ned".to_owned()));
        assert_eq!(names.judge("ned"), Named::Known("ned".to_owned()));
        assert_eq!(names.judge("ann "), Named::Known("ann".to_owned()));
        let mut twins: Vec<_> = names.twins().collect();
        twins.sort();
        assert_eq!(twins, [["ann", "ann "], ["ned", "Ned"]]);
    }
}
