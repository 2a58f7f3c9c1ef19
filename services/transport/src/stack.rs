//! The layers between a socket and frames.

use std::io::{self, IoSlice};

/// What lies between the socket and the frames of one connection. Takes no memory while idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stack {
    /// Nothing: frames lie on the socket as they are.
    Plain,
}

impl Stack {
    /// Hands the bytes of the layer above to `above`, of the bytes just read below.
    pub(crate) fn open<R>(self, bytes: &[u8], above: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Plain => above(bytes),
        }
    }

    /// Writes pieces of the layer above with `below`; says how many bytes of them were taken.
    pub(crate) fn seal(
        self,
        pieces: &[IoSlice<'_>],
        below: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        match self {
            Self::Plain => below(pieces),
        }
    }
}
