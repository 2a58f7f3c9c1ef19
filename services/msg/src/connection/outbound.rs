//! Frames that wait to be written to one connection.
//!
//! Pure bookkeeping: the socket is written by [`super::conn::Conn`]. Nothing is allocated while the queue
//! is empty, and a frame shared by many connections is held once.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Most pieces handed to one write.
pub(super) const MAX_PIECES: usize = 32;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// The first since the last flush: somebody has to flush.
    First,
    /// Somebody is about to flush anyway.
    Again,
    /// The connection is closing; the frame is gone.
    Closed,
    /// The frame does not fit the budget; it is gone and so is everything after it.
    Overflow,
}

/// How the connection ends once the queue is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Not at all.
    Open,
    /// Nothing more is taken; the socket stays open until its grace ends.
    Linger,
    /// Nothing more is taken; the client sees the end of the stream as soon as all is written.
    Finish,
}

#[derive(Debug)]
struct Piece {
    frame: Bytes,
    /// Whole length, and whether it counts as a push.
    len: usize,
    is_push: bool,
}

/// The queue and its state.
#[derive(Debug)]
pub(super) struct Outbound {
    queue: VecDeque<Piece>,
    /// Bytes not written yet.
    bytes: usize,
    /// Bytes of pushes and of answers in the queue, whole frames.
    pushes: usize,
    answers: usize,
    /// Bytes that the server-wide count knows of.
    pub(super) counted: usize,
    /// A flush is due.
    pub(super) dirty: bool,
    /// A task waits for the socket to take more.
    pub(super) waiting: bool,
    /// Frames were refused: the connection is beyond its budget.
    pub(super) overflown: bool,
    pub(super) ending: Ending,
}

impl Outbound {
    pub(super) const fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            pushes: 0,
            answers: 0,
            counted: 0,
            dirty: false,
            waiting: false,
            overflown: false,
            ending: Ending::Open,
        }
    }

    /// Bytes not written yet.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a push: it must fit the budget together with the pushes that wait.
    pub(super) fn push(&mut self, frame: Bytes, budget: usize) -> Appended {
        if self.ending != Ending::Open || self.overflown {
            return Appended::Closed;
        }
        if self.pushes + frame.len() > budget {
            self.overflown = true;
            return Appended::Overflow;
        }
        self.add(frame, true)
    }

    /// Adds an answer. One answer may have any size, since the client asked for it; but nothing is
    /// added while the answers before it use up the budget.
    pub(super) fn answer(&mut self, frame: Bytes, budget: usize) -> Appended {
        if self.ending != Ending::Open || self.overflown {
            return Appended::Closed;
        }
        if self.answers > budget {
            self.overflown = true;
            return Appended::Overflow;
        }
        self.add(frame, false)
    }

    /// Adds a last frame, if any, and takes nothing more. False when it was ending already.
    pub(super) fn end(&mut self, frame: Option<Bytes>, ending: Ending) -> bool {
        if self.ending != Ending::Open {
            return false;
        }
        if let Some(frame) = frame.filter(|_| !self.overflown) {
            self.add(frame, false);
        }
        self.ending = ending;
        self.dirty = true;
        true
    }

    fn add(&mut self, frame: Bytes, is_push: bool) -> Appended {
        let len = frame.len();
        self.bytes += len;
        if is_push {
            self.pushes += len;
        } else {
            self.answers += len;
        }
        self.queue.push_back(Piece {
            frame,
            len,
            is_push,
        });
        if self.dirty {
            return Appended::Again;
        }
        self.dirty = true;
        Appended::First
    }

    /// Fills the pieces of one write; returns how many.
    pub(super) fn pieces<'a>(&'a self, into: &mut [IoSlice<'a>; MAX_PIECES]) -> usize {
        let mut n = 0;
        for (slot, piece) in into.iter_mut().zip(&self.queue) {
            *slot = IoSlice::new(&piece.frame);
            n += 1;
        }
        n
    }

    /// The only frame, when there is exactly one.
    pub(super) fn single(&self) -> Option<&Bytes> {
        self.queue
            .front()
            .filter(|_| self.queue.len() == 1)
            .map(|piece| &piece.frame)
    }

    /// Forgets what was written. The memory of the queue goes with the last frame.
    pub(super) fn written(&mut self, mut n: usize) {
        self.bytes = self.bytes.saturating_sub(n);
        while let Some(front) = self.queue.front_mut() {
            if n < front.frame.len() {
                front.frame.advance(n);
                return;
            }
            n -= front.frame.len();
            if front.is_push {
                self.pushes -= front.len;
            } else {
                self.answers -= front.len;
            }
            self.queue.pop_front();
        }
        self.queue = VecDeque::new();
    }

    /// Forgets everything: the connection is gone.
    pub(super) fn clear(&mut self) {
        self.queue = VecDeque::new();
        (self.bytes, self.pushes, self.answers) = (0, 0, 0);
        self.ending = Ending::Finish;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Bytes = Bytes::from_static(b"0123456789");

    #[test]
    fn only_the_first_frame_asks_for_a_flush() {
        let mut out = Outbound::new();
        assert_eq!(out.push(FRAME, 100), Appended::First);
        assert_eq!(out.answer(FRAME, 100), Appended::Again);
        assert_eq!(out.bytes(), 20);
    }

    #[test]
    fn nothing_follows_a_push_that_did_not_fit() {
        let mut out = Outbound::new();
        assert_eq!(out.push(FRAME, 15), Appended::First);
        assert_eq!(out.push(FRAME, 15), Appended::Overflow);
        out.written(10);
        assert_eq!(
            out.push(FRAME, 15),
            Appended::Closed,
            "a later push would leave a hole"
        );
    }

    #[test]
    fn a_large_answer_takes_nothing_of_the_budget_of_pushes() {
        let mut out = Outbound::new();
        assert_eq!(out.answer(Bytes::from(vec![0; 1000]), 15), Appended::First);
        assert_eq!(out.push(FRAME, 15), Appended::Again);
        assert_eq!(
            out.answer(FRAME, 15),
            Appended::Overflow,
            "but it is the last one for now"
        );
    }

    #[test]
    fn what_is_written_gives_its_budget_back() {
        let mut out = Outbound::new();
        for _ in 0..5 {
            assert_ne!(out.push(FRAME, 15), Appended::Overflow);
            assert_ne!(out.answer(FRAME, 15), Appended::Overflow);
            out.written(20);
        }
        assert_eq!((out.bytes, out.pushes, out.answers), (0, 0, 0));
    }

    #[test]
    fn partial_writes_keep_the_rest_and_an_empty_queue_keeps_no_memory() {
        let mut out = Outbound::new();
        for _ in 0..3 {
            out.push(FRAME, 100);
        }
        out.written(13);
        let mut pieces = [IoSlice::new(&[]); MAX_PIECES];
        assert_eq!(out.pieces(&mut pieces), 2);
        assert_eq!(&*pieces[0], b"3456789");
        assert_eq!(out.single(), None);
        out.written(7);
        assert_eq!(out.single(), Some(&FRAME));
        out.written(10);
        assert_eq!((out.bytes(), out.queue.capacity()), (0, 0));
    }

    #[test]
    fn the_last_frame_is_the_last() {
        let mut out = Outbound::new();
        assert!(out.end(Some(FRAME), Ending::Finish));
        assert!(!out.end(Some(FRAME), Ending::Finish));
        assert_eq!(out.push(FRAME, 100), Appended::Closed);
        assert_eq!(out.bytes(), 10);
    }
}
