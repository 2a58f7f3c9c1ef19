//! Taking the bodies of old messages away.

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use im_order::CommitSeq;

use crate::StoreError;

/// Conversations that one age is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetentionKind {
    /// Between two people.
    Pairs,
    /// Of groups.
    Groups,
}

impl RetentionKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Pairs, Self::Groups];

    /// The name of the position in the store up to which bodies of this kind have been taken away.
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Pairs => "expired_pairs",
            Self::Groups => "expired_groups",
        }
    }
}

/// A look at the log behind the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionStep {
    /// Which conversations.
    pub kind: RetentionKind,
    /// What was stored before this is old.
    pub before: UnixSeconds,
    /// Now: a message from later than this has its time from a clock that was ahead, and holds nothing up.
    pub now: UnixSeconds,
    /// The last position that may be reached.
    pub until: CommitSeq,
    /// Messages to look at.
    pub rows: u32,
}

/// What a step has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Up to here everything is old, and bodies of the kind are gone.
    pub through: CommitSeq,
    /// Bodies that this step has taken away.
    pub bodies: u64,
    /// There may be more that is old.
    pub has_more: bool,
}

/// Messages keep their rows, so that ids, counts and retries stay as they are.
#[async_trait]
pub trait RetentionStore: Send + Sync + 'static {
    /// Empties the bodies of the next old messages, and notes how far it has come, in one transaction.
    ///
    /// # Errors
    /// As every call.
    async fn expire_bodies(&self, step: RetentionStep) -> Result<Expired, StoreError>;
}

/// How far a step comes, over the messages that it looks at, in log order with their times: to the last one that is
/// old, with all before it; and whether there may be more. The first that is young ends it. Pure.
pub fn expired_through(
    step: &RetentionStep,
    messages: &[(CommitSeq, UnixSeconds)],
) -> Option<(CommitSeq, bool)> {
    let not_young = messages
        .iter()
        .take_while(|(_, time)| *time < step.before || *time > step.now);
    let old = not_young.filter(|(_, time)| *time < step.before);
    let (through, _) = old.last()?;
    let is_full = messages.len() >= usize::try_from(step.rows).unwrap_or(usize::MAX);
    let is_last = messages.last().is_some_and(|(seq, _)| seq == through);
    Some((*through, is_full && is_last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(times: &[u32]) -> Option<(u64, bool)> {
        let step = RetentionStep {
            kind: RetentionKind::Pairs,
            before: UnixSeconds::from_wire(100),
            now: UnixSeconds::from_wire(200),
            until: CommitSeq::from_wire(9),
            rows: 4,
        };
        let messages: Vec<_> = (1..)
            .zip(times)
            .map(|(seq, time)| (CommitSeq::from_wire(seq), UnixSeconds::from_wire(*time)))
            .collect();
        expired_through(&step, &messages).map(|(through, more)| (through.to_wire(), more))
    }

    #[test]
    fn the_first_young_message_ends_it_and_a_clock_that_was_ahead_does_not() {
        assert_eq!(through(&[]), None);
        assert_eq!(
            through(&[100, 50]),
            None,
            "a clock that was behind takes nothing early"
        );
        assert_eq!(through(&[98, 99, 100]), Some((2, false)));
        assert_eq!(through(&[98, 201, 99, 150]), Some((3, false)));
        assert_eq!(through(&[98, 201, 202]), Some((1, false)));
        assert_eq!(through(&[98, 201, 202, 99]), Some((4, true)));
    }
}
