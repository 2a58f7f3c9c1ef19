//! What can go wrong in a store.

use im_core::{Classify, ErrorKind};
use im_order::FenceLost;

/// Error of every store call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The row asked for does not exist.
    #[error("find {what}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
    },
    /// A unique name is already used.
    #[error("use a free {what}")]
    Taken {
        /// What was to be unique.
        what: &'static str,
    },
    /// The change was made before, under the same idempotency key.
    #[error("make a change once more that was made under this key")]
    Repeated,
    /// There are as many as there may be.
    #[error("keep more {what}")]
    Full {
        /// What there are so many of.
        what: &'static str,
    },
    /// A store that is to be filled has rows already.
    #[error("fill a store that nobody has used: its table {table} has rows already")]
    NotEmpty {
        /// Where.
        table: &'static str,
    },
    /// Somebody else has taken the log: nothing that this owner plans is ever stored. It must end.
    #[error("add to the log as its owner")]
    Fenced(#[from] FenceLost),
    /// The log ends elsewhere than the writer believes, or an id or row that it chose is in use: it must
    /// drop what it remembers, read again and retry.
    #[error("go on from where the log ends")]
    Outdated,
    /// The disk is full, read-only or failing, or the database does not answer. Nothing of the call
    /// took effect.
    #[error("reach the database")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The stored data contradicts itself.
    #[error("make sense of stored data: {0}")]
    Corrupt(String),
}

impl Classify for StoreError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Taken { .. }
            | Self::Repeated
            | Self::NotEmpty { .. }
            | Self::Fenced(_)
            | Self::Outdated => ErrorKind::Conflict,
            Self::Full { .. } => ErrorKind::Exhausted,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Corrupt(_) => ErrorKind::Internal,
        }
    }
}
