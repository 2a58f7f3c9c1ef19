//! A place in the log.

use std::fmt;

/// Position in the log of committed messages of a partition, dense from 1; [`CommitSeq::START`] is
/// before the first.
///
/// One owner commits in this order, so "everything up to `n`" has one meaning everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitSeq(u64);

impl CommitSeq {
    /// Before the first message.
    pub const START: Self = Self(0);

    /// Beyond every message.
    pub const NEVER: Self = Self(u64::MAX);

    /// The position that travels, or is stored, as this number.
    pub const fn from_wire(number: u64) -> Self {
        Self(number)
    }

    /// The number as which it travels and is stored.
    pub const fn to_wire(self) -> u64 {
        self.0
    }

    /// The place behind this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The place before this one; the start has none and stays.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// Where the log ends with so many messages more.
    #[must_use]
    pub const fn plus(self, messages: u64) -> Self {
        Self(self.0.saturating_add(messages))
    }

    /// Messages between an earlier place and this one; 0 when `earlier` is not earlier.
    pub const fn messages_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for CommitSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u64) -> CommitSeq {
        CommitSeq::from_wire(number)
    }

    #[test]
    fn places_follow_each_other_and_end_at_both_ends() {
        assert_eq!(CommitSeq::START.next(), at(1));
        assert_eq!(at(2).previous(), at(1));
        assert_eq!(CommitSeq::START.previous(), CommitSeq::START);
        assert_eq!(CommitSeq::NEVER.next(), CommitSeq::NEVER);
        assert_eq!(at(3).plus(4), at(7));
        assert_eq!(at(u64::MAX - 1).plus(4), CommitSeq::NEVER);
    }

    #[test]
    fn what_lies_between_is_counted_from_the_earlier_to_the_later() {
        assert_eq!(at(7).messages_since(at(3)), 4);
        assert_eq!(at(3).messages_since(at(7)), 0);
    }
}
