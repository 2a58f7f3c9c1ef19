//! Who holds which name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Longest name, bytes.
const LONGEST: usize = 64;

/// The names that were ever asked for, each with one place.
pub(super) struct Holders {
    names: Mutex<HashMap<String, Arc<Semaphore>>>,
    most: usize,
}

/// Why nobody can hold a name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoName {
    #[error("a name has 1 to {LONGEST} lower-case letters, digits and hyphens")]
    Form,
    #[error("there are as many names as there may be")]
    TooMany,
}

impl Holders {
    pub(super) fn new(most: usize) -> Self {
        Self {
            names: Mutex::default(),
            most,
        }
    }

    /// The place of a name.
    pub(super) fn place(&self, name: &str) -> Result<Arc<Semaphore>, NoName> {
        let is_letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if name.is_empty() || name.len() > LONGEST || !name.bytes().all(is_letter) {
            return Err(NoName::Form);
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = names.get(name) {
            return Ok(Arc::clone(place));
        }
        if names.len() >= self.most {
            return Err(NoName::TooMany);
        }
        let place = Arc::new(Semaphore::new(1));
        names.insert(name.to_owned(), Arc::clone(&place));
        Ok(place)
    }
}

/// A name that a link holds until this goes.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) name: String,
    pub(super) epoch: u64,
    pub(super) _place: OwnedSemaphorePermit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_plain_and_bounded_in_number() {
        let holders = Holders::new(2);
        for name in ["", "Push", "a b", "a/b", &"a".repeat(LONGEST + 1)] {
            assert_eq!(holders.place(name).err(), Some(NoName::Form), "{name}");
        }
        let longest = "a".repeat(LONGEST);
        for name in ["push-1", &longest, "push-1"] {
            assert!(holders.place(name).is_ok(), "{name}");
        }
        assert_eq!(holders.place("third").err(), Some(NoName::TooMany));
    }
}
