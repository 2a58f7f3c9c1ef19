//! One connection of a client: what waits to be written to it.
//!
//! Whoever has a frame for it writes as much as the socket takes at once; what is left the connection's own
//! task writes when the socket takes more. As long as something is left its task reads nothing from it, so
//! that what waits is bounded by what others send: a block, and a few frames without content.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use im_transport::Transport;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::tasks::{ConnId, Pull};

/// Pieces of one write.
const PIECES: usize = 16;

/// A connection, shared by its task and those that have frames for it.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) id: ConnId,
    pub(crate) transport: Transport,
    out: Mutex<Out>,
    wake: Notify,
    /// Ends it at once.
    pub(crate) cut: CancellationToken,
    /// The most bytes that may wait.
    most: usize,
}

#[derive(Debug, Default)]
struct Out {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// When the socket took something last, or had nothing to take.
    since: Option<Instant>,
    /// It ends when everything is written.
    ending: bool,
    /// What its task is to answer now.
    parked: Option<Pull>,
}

/// What the task of a connection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It reads.
    Read,
    /// Something waits to be written since then.
    Write(Instant),
    /// Everything is written, and no more will come.
    End,
    /// It answers what its client asked for long ago.
    Answer(Pull),
}

impl Conn {
    pub(crate) fn new(
        id: ConnId,
        transport: Transport,
        cut: CancellationToken,
        most: usize,
    ) -> Self {
        Self {
            id,
            transport,
            out: Mutex::default(),
            wake: Notify::new(),
            cut,
            most,
        }
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues the pieces of a frame; call [`Self::flush`] then. A connection on which more waits than may is
    /// cut.
    pub(crate) fn push(&self, pieces: impl IntoIterator<Item = Bytes>) {
        let mut out = self.out();
        if out.ending {
            return;
        }
        for piece in pieces {
            out.bytes += piece.len();
            out.pieces.push_back(piece);
        }
        out.since.get_or_insert_with(Instant::now);
        if out.bytes > self.most {
            self.cut.cancel();
        }
    }

    /// No frame comes behind those that wait.
    pub(crate) fn end(&self) {
        self.out().ending = true;
        self.wake.notify_one();
    }

    /// Its task is to answer this now.
    pub(crate) fn answer(&self, pull: Pull) {
        self.out().parked = Some(pull);
        self.wake.notify_one();
    }

    /// Writes what the socket takes; the rest is left to its task.
    pub(crate) fn flush(&self) {
        let mut out = self.out();
        if self.write(&mut out).is_err() {
            self.cut.cancel();
        }
        if !out.pieces.is_empty() || out.ending {
            self.wake.notify_one();
        }
    }

    fn write(&self, out: &mut Out) -> io::Result<()> {
        while !out.pieces.is_empty() {
            let pieces: Vec<_> = out.pieces.iter().take(PIECES).collect();
            let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let sent = match self.transport.send(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            out.bytes = out.bytes.saturating_sub(sent);
            out.since = Some(Instant::now());
            take(&mut out.pieces, sent);
        }
        out.since = None;
        Ok(())
    }

    /// Whether no frame comes behind those that wait.
    pub(crate) fn is_ending(&self) -> bool {
        self.out().ending
    }

    /// What its task does next.
    pub(crate) fn next(&self) -> Next {
        let mut out = self.out();
        match out.since {
            Some(since) if !out.pieces.is_empty() => Next::Write(since),
            _ if out.ending => Next::End,
            _ => out.parked.take().map_or(Next::Read, Next::Answer),
        }
    }

    /// Waits until [`Self::next`] may say something else.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }
}

/// Takes so many bytes from the front.
fn take(pieces: &mut VecDeque<Bytes>, mut sent: usize) {
    while let Some(first) = pieces.front_mut() {
        if first.len() > sent {
            first.advance(sent);
            return;
        }
        sent -= first.len();
        pieces.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_taken_from_the_front_and_nothing_else() {
        for sent in 0..=9 {
            let mut pieces: VecDeque<Bytes> = ["abc", "", "defg", "hi"]
                .into_iter()
                .map(Bytes::from)
                .collect();
            take(&mut pieces, sent);
            let left: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
            assert_eq!(left, b"abcdefghi"[sent..], "{sent}");
        }
    }
}
