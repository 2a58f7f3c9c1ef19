//! Writing to one connection: straight to the socket, and by a task that waits for room while it is full.

use std::io::{self, IoSlice};
use std::sync::{Arc, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Conn, Output};
use crate::connection::outbound::{Appended, Ending, MAX_PIECES, Outbound};

/// One connection writes about so many bytes before others get their turn.
const WRITE_TURN: usize = 512 << 10;

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// Nothing waits any more.
    All,
    /// The turn is over.
    Turn,
    /// The socket takes no more now.
    Full,
}

impl Conn {
    pub(super) fn out(&self) -> MutexGuard<'_, Outbound> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits to be written, in the bytes that it costs.
    pub(crate) fn queued(&self) -> usize {
        self.out().cost()
    }

    /// Whether the socket does not take all that is to be written.
    pub(crate) fn is_stalled(&self) -> bool {
        self.out().waiting
    }

    /// Appends an unsolicited frame.
    pub(crate) fn push(self: &Arc<Self>, output: &Output, frame: Bytes) -> Appended {
        let budget = output.env.config.push_budget.as_usize();
        let appended = self.out().push(frame, budget);
        if appended == Appended::Overflow {
            output.slow_consumer(self);
        }
        appended
    }

    /// Appends a message, unless there is no room now.
    pub(crate) fn message(&self, output: &Output, frame: Bytes) -> Appended {
        let budget = output.env.config.push_budget.as_usize();
        self.out().message(frame, budget)
    }

    /// The connection does not take what is sent: it gets nothing more and is closed soon.
    pub(crate) fn give_up(self: &Arc<Self>, output: &Output) {
        let is_first = !std::mem::replace(&mut self.out().overflown, true);
        if is_first {
            output.slow_consumer(self);
        }
    }

    /// Appends an unsolicited frame that may be left out.
    pub(crate) fn offer(&self, output: &Output, frame: Bytes) -> Appended {
        let budget = output.env.config.push_budget.as_usize();
        self.out().offer(frame, budget)
    }

    /// Appends an answer.
    pub(crate) fn answer(self: &Arc<Self>, output: &Output, frame: Bytes) -> Appended {
        self.answer_in_pieces(output, [frame])
    }

    /// Appends an answer of at least one piece; nothing comes between its pieces.
    pub(crate) fn answer_in_pieces(
        self: &Arc<Self>,
        output: &Output,
        pieces: impl IntoIterator<Item = Bytes>,
    ) -> Appended {
        let budget = output.env.config.answer_budget.as_usize();
        let appended = self.out().answer(pieces, budget);
        if appended == Appended::Overflow {
            output.slow_consumer(self);
        }
        appended
    }

    /// Writes what is queued, as far as the socket takes it.
    pub(crate) fn flush(self: &Arc<Self>, output: &Arc<Output>) {
        let mut out = self.out();
        if !std::mem::take(&mut out.dirty) {
            return;
        }
        if out.waiting {
            self.stalled(output, out);
            return;
        }
        match self.write(&mut out) {
            Ok(Written::All) => output.total.recount(&mut out.counted, 0),
            Ok(Written::Turn | Written::Full) => {
                out.waiting = true;
                self.stalled(output, out);
                let writing = Arc::clone(self).write_later(Arc::clone(output));
                output.env.spawn_client(writing);
            }
            Err(_) => {
                out.clear();
                output.total.recount(&mut out.counted, 0);
                drop(out);
                self.cut();
            }
        }
    }

    /// The socket does not take all: what waits counts for the whole server.
    fn stalled(self: &Arc<Self>, output: &Output, mut out: MutexGuard<'_, Outbound>) {
        let queued = out.cost();
        output.total.recount(&mut out.counted, queued);
        let is_too_much = output.total.is_exceeded();
        let is_new = is_too_much && !std::mem::replace(&mut out.overflown, true);
        drop(out);
        if is_new {
            output.slow_consumer(self);
        }
    }

    /// Writes while the socket takes it, but no more than others can wait for.
    fn write(&self, out: &mut Outbound) -> io::Result<Written> {
        let mut turn = 0;
        while out.bytes() > 0 {
            if turn >= WRITE_TURN {
                return Ok(Written::Turn);
            }
            let written = match out.single() {
                Some(frame) => self.transport.send(&[IoSlice::new(frame)]),
                None => {
                    let mut pieces = [IoSlice::new(&[]); MAX_PIECES];
                    let n = out.pieces(&mut pieces, WRITE_TURN);
                    self.transport.send(pieces.get(..n).unwrap_or_default())
                }
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    out.written(n);
                    turn += n;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Written::Full);
                }
                Err(error) => return Err(error),
            }
        }
        if out.ending == Ending::Finish {
            self.transport.finish();
        }
        Ok(Written::All)
    }

    /// Goes on writing whenever the socket has room.
    async fn write_later(self: Arc<Self>, output: Arc<Output>) {
        loop {
            let writable = self.transport.writable().await;
            match self.write_on(&output, writable) {
                Written::All => return,
                Written::Turn => tokio::task::yield_now().await,
                Written::Full => {}
            }
        }
    }

    /// Writes what a connection has not taken before; nothing is left of one that is of no use any
    /// more.
    fn write_on(&self, output: &Output, writable: bool) -> Written {
        let mut out = self.out();
        let written = if writable {
            self.write(&mut out)
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        };
        match written {
            Ok(Written::All) => {
                out.waiting = false;
                output.total.recount(&mut out.counted, 0);
                drop(out);
                self.wake_reader();
                Written::All
            }
            Ok(written) => {
                let queued = out.cost();
                output.total.recount(&mut out.counted, queued);
                drop(out);
                // Whoever takes bytes is there.
                if self.is_paused() {
                    self.was_paused(output.env.now());
                }
                self.wake_reader();
                written
            }
            Err(_) => {
                out.clear();
                out.waiting = false;
                output.total.recount(&mut out.counted, 0);
                drop(out);
                self.cut();
                Written::All
            }
        }
    }
}
