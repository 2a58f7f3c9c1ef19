//! What a batch covers.

use std::fmt;

use crate::CommitSeq;

/// A part of the log, "after → through": everything behind `after` up to `through`, and that included.
/// It ends where it begins, or later.
///
/// A batch with a span holds every message of that part that concerns its receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    after: CommitSeq,
    through: CommitSeq,
}

impl Span {
    /// The part between two places. One that would end before it begins covers nothing and stands where
    /// it begins.
    #[must_use]
    pub fn between(after: CommitSeq, through: CommitSeq) -> Self {
        Self {
            after,
            through: through.max(after),
        }
    }

    /// The span of a batch as it travels; as [`Span::between`].
    #[must_use]
    pub fn from_wire(after: u64, through: u64) -> Self {
        Self::between(CommitSeq::from_wire(after), CommitSeq::from_wire(through))
    }

    /// Covers nothing: says where the log stands.
    #[must_use]
    pub const fn at(place: CommitSeq) -> Self {
        Self {
            after: place,
            through: place,
        }
    }

    /// Everything up to here went before.
    pub const fn after(self) -> CommitSeq {
        self.after
    }

    /// It reaches up to here.
    pub const fn through(self) -> CommitSeq {
        self.through
    }

    /// Whether this message lies in it.
    pub fn contains(self, seq: CommitSeq) -> bool {
        self.after < seq && seq <= self.through
    }

    /// Messages of the log in it.
    pub const fn messages(self) -> u64 {
        self.through.messages_since(self.after)
    }

    /// What one of several parts of a batch with this span covers. Only the last part reaches to the end:
    /// until it is there, not everything up to it has come.
    #[must_use]
    pub const fn of_part(self, is_last: bool) -> Self {
        if is_last { self } else { Self::at(self.after) }
    }

    /// Whether it goes on where somebody stands who has everything up to `position`: it may begin
    /// before, and then repeats some. Otherwise what lies between was missed.
    pub fn joins(self, position: CommitSeq) -> bool {
        self.after <= position
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {}", self.after, self.through)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(number: u64) -> CommitSeq {
        CommitSeq::from_wire(number)
    }

    #[test]
    fn a_span_has_what_lies_behind_its_begin_up_to_its_end() {
        let span = Span::from_wire(3, 5);
        let inside: Vec<u64> = (0..9).filter(|n| span.contains(at(*n))).collect();
        assert_eq!(inside, [4, 5]);
        assert_eq!(span.messages(), 2);
        assert_eq!(span.to_string(), "3 → 5");
    }

    #[test]
    fn a_place_is_a_span_without_messages() {
        let span = Span::at(at(7));
        assert_eq!((span.after(), span.through()), (at(7), at(7)));
        assert_eq!(span.messages(), 0);
        assert!(!span.contains(at(7)));
    }

    #[test]
    fn a_span_joins_who_stands_at_its_begin_or_beyond() {
        let span = Span::from_wire(3, 5);
        assert_eq!(
            [2, 3, 4, 9].map(|n| span.joins(at(n))),
            [false, true, true, true]
        );
    }

    #[test]
    fn only_the_last_part_of_a_batch_moves_the_position() {
        let span = Span::from_wire(3, 5);
        assert_eq!(span.of_part(false), Span::from_wire(3, 3));
        assert_eq!(span.of_part(true), span);
    }

    #[test]
    fn a_span_that_would_end_before_it_begins_stands_where_it_begins() {
        assert_eq!(Span::from_wire(9, 4), Span::at(at(9)));
    }

    proptest! {
        /// Following spans from hand to hand misses nothing, whatever the spans: where each joins, all
        /// messages up to the end of the last are in one of them.
        #[test]
        fn spans_that_join_each_other_leave_no_hole(
            parts in prop::collection::vec((0..20u64, 0..20u64), 1..12)
        ) {
            let (mut position, mut taken) = (CommitSeq::START, Vec::new());
            for (after, through) in parts {
                let span = Span::from_wire(after, through);
                prop_assert!(span.after() <= span.through());
                if span.joins(position) {
                    taken.push(span);
                    position = position.max(span.through());
                }
            }
            for n in 1..=position.to_wire() {
                prop_assert!(taken.iter().any(|span| span.contains(at(n))), "{n} is missing");
            }
        }
    }
}
