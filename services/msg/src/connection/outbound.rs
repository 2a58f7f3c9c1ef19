//! Frames that wait to be written to one connection.
//!
//! Pure bookkeeping: the socket is written by [`super::conn::Conn`]. Nothing is allocated while the queue
//! is empty, and a frame shared by many connections is held once.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Most pieces handed to one write.
pub(super) const MAX_PIECES: usize = 32;

/// What a piece costs beside its bytes: its place in the queue and an allocation, bytes.
const PIECE: usize = 112;

/// Answers up to this length join in one piece, bytes.
const SMALL: usize = 1_024;

/// Bytes of answers that join in one piece.
const JOINED: usize = 16 << 10;

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
    /// The frame was one that may be left out, and was.
    LeftOut,
    /// The message does not fit now; it is not taken, and the connection stays.
    Full,
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
enum Buffer {
    /// A frame, perhaps held by many connections.
    Shared(Bytes),
    /// Small answers that have joined.
    Own(BytesMut),
}

impl Buffer {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }

    fn advance(&mut self, n: usize) {
        match self {
            Self::Shared(bytes) => bytes.advance(n),
            Self::Own(bytes) => bytes.advance(n),
        }
    }
}

#[derive(Debug)]
struct Piece {
    buffer: Buffer,
    /// What it costs until it is written, and whether it counts as a push.
    cost: usize,
    is_push: bool,
}

impl Piece {
    /// Adds a small answer; false when it does not fit here.
    fn join(&mut self, frame: &Bytes) -> bool {
        let len = self.buffer.as_slice().len();
        let is_small = !self.is_push && frame.len() <= SMALL && len + frame.len() <= JOINED;
        if !is_small {
            return false;
        }
        if let Buffer::Shared(bytes) = &mut self.buffer {
            if bytes.len() > SMALL {
                return false;
            }
            let mut own = BytesMut::with_capacity(2 * (len + frame.len()));
            own.extend_from_slice(bytes);
            self.buffer = Buffer::Own(own);
        }
        if let Buffer::Own(own) = &mut self.buffer {
            own.extend_from_slice(frame);
        }
        self.cost += frame.len();
        true
    }
}

/// The queue and its state.
#[derive(Debug)]
pub(super) struct Outbound {
    queue: VecDeque<Piece>,
    /// Bytes not written yet.
    bytes: usize,
    /// What pushes and answers in the queue cost, bytes.
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

    /// What the queue costs, bytes.
    pub(super) const fn cost(&self) -> usize {
        self.pushes + self.answers
    }

    /// Adds a push: it must fit the budget together with the pushes that wait.
    pub(super) fn push(&mut self, frame: Bytes, budget: usize) -> Appended {
        if self.ending != Ending::Open || self.overflown {
            return Appended::Closed;
        }
        if self.pushes + frame.len() + PIECE > budget {
            self.overflown = true;
            return Appended::Overflow;
        }
        self.add(frame, true)
    }

    /// Adds a message, which the log has too: it takes no more than three quarters of the budget, or
    /// stands alone. One that does not fit is asked for again later.
    pub(super) fn message(&mut self, frame: Bytes, budget: usize) -> Appended {
        if self.ending != Ending::Open || self.overflown {
            return Appended::Closed;
        }
        if self.pushes > 0 && self.pushes + frame.len() + PIECE > budget / 4 * 3 {
            return Appended::Full;
        }
        self.add(frame, true)
    }

    /// Adds a push that may be left out: it takes no more than a quarter of the budget, so that it
    /// never ends a connection.
    pub(super) fn offer(&mut self, frame: Bytes, budget: usize) -> Appended {
        if self.ending != Ending::Open || self.overflown {
            return Appended::Closed;
        }
        if self.pushes + frame.len() + PIECE > budget / 4 {
            return Appended::LeftOut;
        }
        self.add(frame, true)
    }

    /// Adds an answer of at least one piece, none of them empty. One answer may have any size, since the
    /// client asked for it; but nothing is added while the answers before it use up the budget.
    pub(super) fn answer(
        &mut self,
        pieces: impl IntoIterator<Item = Bytes>,
        budget: usize,
    ) -> Appended {
        if self.ending != Ending::Open || self.overflown {
            return Appended::Closed;
        }
        if self.answers > budget {
            self.overflown = true;
            return Appended::Overflow;
        }
        let was_dirty = self.dirty;
        for piece in pieces {
            self.add(piece, false);
        }
        if was_dirty {
            Appended::Again
        } else {
            Appended::First
        }
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
        let joined = !is_push && self.queue.back_mut().is_some_and(|last| last.join(&frame));
        let cost = if joined { len } else { len + PIECE };
        if is_push {
            self.pushes += cost;
        } else {
            self.answers += cost;
        }
        if !joined {
            self.queue.push_back(Piece {
                buffer: Buffer::Shared(frame),
                cost,
                is_push,
            });
        }
        if self.dirty {
            return Appended::Again;
        }
        self.dirty = true;
        Appended::First
    }

    /// Fills the pieces of one write, up to the one that reaches `enough` bytes; returns how many.
    pub(super) fn pieces<'a>(
        &'a self,
        into: &mut [IoSlice<'a>; MAX_PIECES],
        enough: usize,
    ) -> usize {
        let (mut n, mut bytes) = (0, 0);
        for (slot, piece) in into.iter_mut().zip(&self.queue) {
            let slice = piece.buffer.as_slice();
            *slot = IoSlice::new(slice);
            n += 1;
            bytes += slice.len();
            if bytes >= enough {
                break;
            }
        }
        n
    }

    /// The only frame, when there is exactly one.
    pub(super) fn single(&self) -> Option<&[u8]> {
        self.queue
            .front()
            .filter(|_| self.queue.len() == 1)
            .map(|piece| piece.buffer.as_slice())
    }

    /// Forgets what was written. The memory of the queue goes with the last frame.
    pub(super) fn written(&mut self, mut n: usize) {
        self.bytes = self.bytes.saturating_sub(n);
        while let Some(front) = self.queue.front_mut() {
            let len = front.buffer.as_slice().len();
            if n < len {
                front.buffer.advance(n);
                return;
            }
            n -= len;
            if front.is_push {
                self.pushes -= front.cost;
            } else {
                self.answers -= front.cost;
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

    /// Room for one frame, and not for two.
    const ONE: usize = PIECE + 15;

    #[test]
    fn only_the_first_frame_asks_for_a_flush() {
        let mut out = Outbound::new();
        assert_eq!(out.push(FRAME, 1_000), Appended::First);
        assert_eq!(out.answer([FRAME], 1_000), Appended::Again);
        assert_eq!(out.bytes(), 20);
    }

    #[test]
    fn each_piece_costs_more_than_its_bytes_and_small_answers_are_one() {
        let mut out = Outbound::new();
        for _ in 0..10 {
            out.push(FRAME, 10_000);
        }
        assert_eq!(out.cost(), 10 * (PIECE + 10));
        for _ in 0..100 {
            out.answer([FRAME], 10_000);
        }
        assert_eq!(out.cost(), 10 * (PIECE + 10) + PIECE + 1_000);
        assert_eq!((out.queue.len(), out.bytes()), (11, 1_100));
        let written: Vec<u8> = out
            .queue
            .iter()
            .flat_map(|piece| piece.buffer.as_slice().to_vec())
            .collect();
        assert_eq!(written, FRAME.repeat(110));
        out.answer([Bytes::from(vec![0; SMALL + 1])], 10_000);
        out.answer([FRAME], 10_000);
        assert_eq!(out.queue.len(), 13, "a long answer stands alone");
        out.written(out.bytes());
        assert_eq!((out.cost(), out.bytes()), (0, 0));
    }

    #[test]
    fn nothing_follows_a_push_that_did_not_fit() {
        let mut out = Outbound::new();
        assert_eq!(out.push(FRAME, ONE), Appended::First);
        assert_eq!(out.push(FRAME, ONE), Appended::Overflow);
        out.written(10);
        assert_eq!(
            out.push(FRAME, ONE),
            Appended::Closed,
            "a later push would leave a hole"
        );
    }

    #[test]
    fn what_may_be_left_out_is_and_the_rest_goes_on() {
        let mut out = Outbound::new();
        let budget = 8 * (PIECE + 10);
        assert_eq!(out.offer(FRAME, budget), Appended::First);
        assert_eq!(out.offer(FRAME, budget), Appended::Again);
        assert_eq!(out.offer(FRAME, budget), Appended::LeftOut);
        assert_eq!(out.push(FRAME, budget), Appended::Again);
    }

    #[test]
    fn a_message_that_does_not_fit_leaves_the_connection_as_it_is() {
        let mut out = Outbound::new();
        let budget = 4 * (PIECE + 10);
        for _ in 0..3 {
            assert!(matches!(
                out.message(FRAME, budget),
                Appended::First | Appended::Again
            ));
        }
        assert_eq!(out.message(FRAME, budget), Appended::Full);
        assert_eq!(
            out.push(FRAME, budget),
            Appended::Again,
            "others still have room"
        );
        out.written(40);
        let long = Bytes::from(vec![0; 2 * budget]);
        assert_eq!(
            out.message(long, budget),
            Appended::Again,
            "alone it always fits"
        );
    }

    #[test]
    fn a_large_answer_takes_nothing_of_the_budget_of_pushes() {
        let mut out = Outbound::new();
        assert_eq!(
            out.answer([Bytes::from(vec![0; 1000])], ONE),
            Appended::First
        );
        assert_eq!(out.push(FRAME, ONE), Appended::Again);
        assert_eq!(
            out.answer([FRAME], ONE),
            Appended::Overflow,
            "but it is the last one for now"
        );
    }

    #[test]
    fn what_is_written_gives_its_budget_back() {
        let mut out = Outbound::new();
        for _ in 0..5 {
            assert_ne!(out.push(FRAME, ONE), Appended::Overflow);
            assert_ne!(out.answer([FRAME], ONE), Appended::Overflow);
            out.written(20);
        }
        assert_eq!((out.bytes, out.pushes, out.answers), (0, 0, 0));
    }

    #[test]
    fn partial_writes_keep_the_rest_and_an_empty_queue_keeps_no_memory() {
        let mut out = Outbound::new();
        for _ in 0..3 {
            out.push(FRAME, 1_000);
        }
        out.written(13);
        let mut pieces = [IoSlice::new(&[]); MAX_PIECES];
        assert_eq!(out.pieces(&mut pieces, usize::MAX), 2);
        assert_eq!(&*pieces[0], b"3456789");
        assert_eq!(out.single(), None);
        out.written(7);
        assert_eq!(out.single(), Some(&FRAME[..]));
        out.written(10);
        assert_eq!((out.bytes(), out.queue.capacity()), (0, 0));
    }

    #[test]
    fn the_last_frame_is_the_last() {
        let mut out = Outbound::new();
        assert!(out.end(Some(FRAME), Ending::Finish));
        assert!(!out.end(Some(FRAME), Ending::Finish));
        assert_eq!(out.push(FRAME, 1_000), Appended::Closed);
        assert_eq!(out.bytes(), 10);
    }
}
