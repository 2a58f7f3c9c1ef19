//! What can go wrong with blobs.

use std::io;

use im_core::{Classify, ErrorKind};

/// Error of every call of a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// There is no such blob.
    #[error("find the blob")]
    NotFound,
    /// A blob of this name is there already; it was left as it is.
    #[error("use a free name")]
    Taken,
    /// More bytes came than the bound of this blob.
    #[error("keep to {bound} bytes")]
    TooLarge {
        /// The bound, in bytes.
        bound: u64,
    },
    /// Too little room is left, or the disk is full.
    #[error("find room for the blob")]
    NoRoom,
    /// The read begins behind the end, or asks for more than [`READ_MAX`](crate::READ_MAX).
    #[error("read inside the blob")]
    OutOfRange,
    /// The store does not answer, or its disk fails. Nothing of the call took effect.
    #[error("reach the blob store")]
    Unavailable(#[source] io::Error),
    /// What is stored contradicts itself.
    #[error("make sense of a stored blob: {0}")]
    Corrupt(&'static str),
}

impl Classify for BlobError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound => ErrorKind::NotFound,
            Self::Taken => ErrorKind::Conflict,
            Self::TooLarge { .. } | Self::OutOfRange => ErrorKind::Invalid,
            Self::NoRoom => ErrorKind::Exhausted,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Corrupt(_) => ErrorKind::Internal,
        }
    }
}

impl From<io::Error> for BlobError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::AlreadyExists => Self::Taken,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoRoom,
            _ => Self::Unavailable(error),
        }
    }
}
