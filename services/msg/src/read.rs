//! The task of one connection: reads, cuts frames, and stops reading where a bound says so.
//!
//! Bytes are read into a buffer that all connections of a thread share. Only what cannot be worked
//! on yet is kept: a part of a frame, or frames behind a bound.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use im_codec::{ClientCommand, Command, FrameLimit, Handler, split_frame};
use tracing::debug;

use crate::conn::{Conn, Phase};
use crate::handle;
use crate::metrics::{Pause, Refusal};
use crate::shared::Shared;

/// Size of the shared buffer: one read takes at most this much of one connection.
const SCRATCH: usize = 64 << 10;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// What the task does next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Wait for bytes.
    Wait,
    /// Wait until this bound allows more.
    Pause(Pause),
    /// Wait this many milliseconds for the rate.
    Slow(u32),
    /// The client or the connection is gone.
    Close,
}

/// Runs a connection until it ends.
pub(crate) async fn run(shared: Arc<Shared>, conn: Arc<Conn>) {
    let mut reader = Reader::new(&shared);
    let here = Here { shared, conn };
    let Here { shared, conn } = &here;
    loop {
        let step = reader.pump(shared, conn);
        match step {
            Step::Wait => {
                if conn.sock().readable().await.is_err() {
                    break;
                }
            }
            Step::Pause(why) => {
                shared.metrics.paused(why);
                pause(shared, conn, why).await;
                conn.touch(shared.now());
            }
            Step::Slow(wait) => {
                shared.metrics.paused(Pause::Rate);
                conn.set_paused(true);
                // Boxed, so that a connection that never gets here does not hold a timer.
                Box::pin(tokio::time::sleep(Duration::from_millis(u64::from(wait)))).await;
                conn.set_paused(false);
                conn.touch(shared.now());
            }
            Step::Close => break,
        }
    }
}

/// Takes the connection out of the server when its task ends, however that happens.
struct Here {
    shared: Arc<Shared>,
    conn: Arc<Conn>,
}

impl Drop for Here {
    fn drop(&mut self) {
        self.conn.cut();
        self.shared.closed(&self.conn);
    }
}

/// Waits until a bound allows more.
async fn pause(shared: &Shared, conn: &Conn, why: Pause) {
    if why == Pause::Server {
        // Rare, and nobody knows whom to wake: look again soon.
        conn.set_paused(true);
        Box::pin(tokio::time::sleep(Duration::from_millis(20))).await;
        conn.set_paused(false);
        return;
    }
    conn.pause_while(|| is_blocked(shared, conn, why)).await;
}

fn is_blocked(shared: &Shared, conn: &Conn, why: Pause) -> bool {
    let config = &shared.config;
    match why {
        Pause::Messages => {
            conn.messages() >= config.pending_messages
                || conn.message_bytes() >= config.pending_bytes
        }
        Pause::Queries => conn.queries() >= config.pending_queries,
        Pause::Output => conn.queued() > config.push_budget_bytes as usize,
        Pause::Server => shared.db.pending_bytes() >= config.pending_total_bytes,
        Pause::Drain => conn.phase() == Phase::Draining,
        Pause::Rate => false,
    }
}

/// What a connection keeps between reads.
struct Reader {
    /// Bytes that could not be worked on yet.
    rest: Vec<u8>,
    limit: FrameLimit,
    bucket: Bucket,
}

impl Reader {
    fn new(shared: &Shared) -> Self {
        Self {
            rest: Vec::new(),
            limit: FrameLimit::new(shared.config.max_frame_bytes),
            bucket: Bucket::full(shared),
        }
    }

    /// Works on what is there, reads once, works on that, and writes the answers.
    fn pump(&mut self, shared: &Arc<Shared>, conn: &Arc<Conn>) -> Step {
        match conn.phase() {
            Phase::Closing => return self.discard(conn),
            Phase::Draining => return Step::Pause(Pause::Drain),
            _ => {}
        }
        if is_blocked(shared, conn, Pause::Output) {
            return Step::Pause(Pause::Output);
        }
        let step = BUFFER.with_borrow_mut(|buffer| self.work(shared, conn, buffer));
        conn.flush(shared);
        step
    }

    fn work(&mut self, shared: &Arc<Shared>, conn: &Arc<Conn>, buffer: &mut [u8]) -> Step {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            let (used, step) = self.frames(shared, conn, &rest);
            self.keep(rest, used);
            if step != Step::Wait {
                return step;
            }
        }
        let n = match conn.sock().try_read(buffer) {
            Ok(0) => return Step::Close,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Step::Wait,
            Err(_) => return Step::Close,
        };
        if conn.phase() == Phase::Online {
            conn.touch(shared.now());
        }
        let Some(bytes) = buffer.get(..n) else {
            return Step::Close;
        };
        if self.rest.is_empty() {
            let (used, step) = self.frames(shared, conn, bytes);
            self.rest
                .extend_from_slice(bytes.get(used..).unwrap_or_default());
            step
        } else {
            let mut rest = std::mem::take(&mut self.rest);
            rest.extend_from_slice(bytes);
            let (used, step) = self.frames(shared, conn, &rest);
            self.keep(rest, used);
            step
        }
    }

    /// Keeps what was not worked on; an empty rest holds no memory.
    fn keep(&mut self, mut rest: Vec<u8>, used: usize) {
        if used < rest.len() {
            rest.drain(..used);
            self.rest = rest;
        }
    }

    /// Works on whole frames; says how many bytes are done with.
    fn frames(&mut self, shared: &Arc<Shared>, conn: &Arc<Conn>, bytes: &[u8]) -> (usize, Step) {
        let mut left = bytes;
        loop {
            let used = bytes.len() - left.len();
            if conn.phase() > Phase::Online {
                return (used, Step::Wait);
            }
            let (frame, rest) = match split_frame(left, self.limit) {
                Ok(Some(split)) => split,
                Ok(None) => return (used, Step::Wait),
                Err(error) => {
                    shared.metrics.refused(Refusal::FrameLength);
                    debug!(remote = %conn.remote(), %error, "closing a connection");
                    return (used, Step::Close);
                }
            };
            let command = Command::from_client(&frame.header);
            if let ClientCommand::Request(request) = command
                && let Some(step) = self.admit(shared, conn, request.handler())
            {
                return (used, step);
            }
            shared.metrics.frames_in.inc();
            handle::frame(shared, conn, command, frame);
            left = rest;
        }
    }

    /// Whether a bound forbids this request for now.
    fn admit(&mut self, shared: &Shared, conn: &Conn, handler: Handler) -> Option<Step> {
        if conn.phase() != Phase::Online {
            return None;
        }
        let bounds: &[Pause] = match handler {
            Handler::Store => &[Pause::Messages, Pause::Server],
            Handler::Query
            | Handler::Change
            | Handler::ReadAck
            | Handler::DeviceToken
            | Handler::Presence => &[Pause::Queries],
            _ => &[],
        };
        for why in bounds {
            if is_blocked(shared, conn, *why) {
                return Some(Step::Pause(*why));
            }
        }
        if matches!(handler, Handler::Store | Handler::Signal) {
            return self.bucket.take(shared).map(Step::Slow);
        }
        None
    }

    /// A closing connection is read to its end, so that what was written last is not cut off by the
    /// arrival of bytes that nobody takes.
    fn discard(&mut self, conn: &Conn) -> Step {
        self.rest = Vec::new();
        BUFFER.with_borrow_mut(|buffer| match conn.sock().try_read(buffer) {
            Ok(0) => Step::Close,
            Ok(_) => Step::Wait,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Step::Wait,
            Err(_) => Step::Close,
        })
    }
}

/// A token bucket: `rate_limit` per second, `rate_burst` at most.
struct Bucket {
    /// Thousandths of a message.
    tokens: u32,
    at: u32,
}

impl Bucket {
    fn full(shared: &Shared) -> Self {
        Self {
            tokens: shared.config.rate_burst.saturating_mul(1_000),
            at: shared.now(),
        }
    }

    /// Takes one message; the time to wait when there is none, milliseconds.
    fn take(&mut self, shared: &Shared) -> Option<u32> {
        let (rate, burst) = (shared.config.rate_limit, shared.config.rate_burst);
        if rate == 0 {
            return None;
        }
        self.take_at(shared.now(), rate, burst)
    }

    fn take_at(&mut self, now: u32, rate: u32, burst: u32) -> Option<u32> {
        let earned = u64::from(now.wrapping_sub(self.at)) * u64::from(rate);
        let full = u64::from(burst) * 1_000;
        self.tokens =
            u32::try_from((u64::from(self.tokens) + earned).min(full)).unwrap_or(u32::MAX);
        self.at = now;
        if self.tokens >= 1_000 {
            self.tokens -= 1_000;
            return None;
        }
        Some((1_000 - self.tokens).div_ceil(rate).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_counts() {
        let mut bucket = Bucket {
            tokens: 64_000,
            at: 0,
        };
        for _ in 0..64 {
            assert_eq!(bucket.take_at(0, 20, 64), None);
        }
        assert_eq!(bucket.take_at(0, 20, 64), Some(50));
        assert_eq!(bucket.take_at(49, 20, 64), Some(1));
        assert_eq!(bucket.take_at(50, 20, 64), None);
        assert_eq!(bucket.take_at(50, 20, 64), Some(50));
    }

    #[test]
    fn a_long_silence_earns_no_more_than_a_burst() {
        let mut bucket = Bucket { tokens: 0, at: 5 };
        for _ in 0..3 {
            assert_eq!(bucket.take_at(4_000_000_000, 1_000_000, 3), None);
        }
        assert_eq!(bucket.take_at(4_000_000_000, 1_000_000, 3), Some(1));
    }
}
