//! Who may add to the log.

use std::fmt;

use crate::{CommitSeq, Span};

/// One of the logs that a store consists of. Conversations keep the partition that they began in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(u16);

impl Partition {
    /// The only one of a store that has one.
    pub const ONLY: Self = Self(0);

    /// The number as which it travels and is stored, from 0.
    pub const fn to_wire(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One time during which somebody owns a partition, from 1. Whoever takes the partition begins a later
/// one, and from then on nothing of an earlier one is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenure(u64);

impl Tenure {
    /// Nobody has ever owned the partition.
    pub const NONE: Self = Self(0);

    /// The tenure that travels, or is stored, as this number.
    pub const fn from_wire(number: u64) -> Self {
        Self(number)
    }

    /// The number as which it travels and is stored.
    pub const fn to_wire(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a partition's owner knows of it, and what the store has on record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// Which partition.
    pub partition: Partition,
    /// Since when: the tenure.
    pub tenure: Tenure,
    /// Position of the newest message.
    pub end: CommitSeq,
}

impl Ownership {
    /// The condition of a transaction that adds what lies between the end and `through`.
    #[must_use]
    pub fn adding(self, through: CommitSeq) -> Fence {
        Fence {
            partition: self.partition,
            tenure: self.tenure,
            span: Span::between(self.end, through),
        }
    }

    /// The condition of a transaction that changes something at this place of the log and adds nothing.
    #[must_use]
    pub fn standing(self) -> Fence {
        self.adding(self.end)
    }
}

/// The condition of every transaction that adds to a partition, or changes what its order decides: it is
/// stored only if the partition is in this tenure and ends where the span begins, and then ends where the
/// span ends.
///
/// So the transactions of a partition form one chain, and after somebody has taken the partition nothing
/// of a former owner joins it. The default is held by nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    /// Which partition.
    pub partition: Partition,
    /// Whose transaction this is.
    pub tenure: Tenure,
    /// What it adds; nothing for a change without messages.
    pub span: Span,
}

impl Fence {
    /// Whether somebody else has taken the partition, going by what the store has on record: then nothing
    /// of this tenure is ever stored again. `None`: at most the log ends elsewhere than was believed.
    #[must_use]
    pub fn lost_to(&self, found: Ownership) -> Option<FenceLost> {
        (found.tenure != self.tenure).then_some(FenceLost {
            partition: self.partition,
            held: self.tenure,
            found: found.tenure,
        })
    }
}

/// A partition has another owner: whoever held it adds nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceLost {
    /// Which partition.
    pub partition: Partition,
    /// The tenure that has ended.
    pub held: Tenure,
    /// The tenure on record.
    pub found: Tenure,
}

impl fmt::Display for FenceLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "partition {} of the log has another owner: it is in tenure {}, ours was {}",
            self.partition, self.found, self.held
        )
    }
}

impl std::error::Error for FenceLost {}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(tenure: u64, end: u64) -> Ownership {
        Ownership {
            partition: Partition::ONLY,
            tenure: Tenure::from_wire(tenure),
            end: CommitSeq::from_wire(end),
        }
    }

    #[test]
    fn a_fence_begins_where_the_log_ends() {
        let fence = owned(3, 10).adding(CommitSeq::from_wire(12));
        assert_eq!(fence.tenure, Tenure::from_wire(3));
        assert_eq!(fence.span, Span::from_wire(10, 12));
        assert_eq!(owned(3, 10).standing().span, Span::from_wire(10, 10));
    }

    #[test]
    fn a_fence_is_lost_to_another_tenure_and_not_to_another_end() {
        let fence = owned(3, 10).standing();
        let lost = fence.lost_to(owned(4, 10)).unwrap();
        assert_eq!(
            lost.to_string(),
            "partition 0 of the log has another owner: it is in tenure 4, ours was 3"
        );
        assert!(
            fence.lost_to(owned(2, 10)).is_some(),
            "an older copy of the store was put in place"
        );
        assert_eq!(fence.lost_to(owned(3, 11)), None);
    }
}
