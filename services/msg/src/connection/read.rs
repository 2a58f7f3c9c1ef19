//! The task of one connection: reads, cuts frames, and stops reading where a bound says so.
//!
//! Bytes are read into a buffer that all connections of a thread share. Only what cannot be worked
//! on yet is kept: a part of a frame, or frames behind a bound.

use std::sync::Arc;
use std::time::Duration;

use im_codec::{ClientCommand, Command, FrameLimit, FrameRef, Handler, split_frame};
use tracing::debug;

use super::conn::{Conn, Output, Phase};
use super::meter::Bucket;
use crate::env::Env;
use crate::metrics::{Pause, Refusal};
use crate::transport::Received;

/// The layer above connections.
pub(crate) trait Upper: Send + Sync + 'static {
    /// What connections share.
    fn output(&self) -> &Arc<Output>;

    /// Works on one frame. Must not wait.
    fn frame(self: &Arc<Self>, conn: &Arc<Conn>, command: ClientCommand, frame: FrameRef<'_>);

    /// Whether so much waits to be stored that no connection may send a message now.
    fn is_full(&self) -> bool;

    /// The task of a connection is over.
    fn left(self: &Arc<Self>, conn: &Arc<Conn>);

    /// Called with each full sweep of the connections.
    fn swept(&self, now: u32);
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
pub(crate) async fn run<U: Upper>(upper: Arc<U>, conn: Arc<Conn>) {
    let mut reader = Reader::new(&upper.output().env);
    let here = Here { upper, conn };
    let Here { upper, conn } = &here;
    loop {
        let step = reader.pump(upper, conn);
        let env = &upper.output().env;
        match step {
            Step::Wait => {
                if !conn.transport().readable().await {
                    break;
                }
            }
            Step::Pause(why) => {
                env.metrics.paused(why);
                pause(&**upper, conn, why).await;
                conn.touch(env.now());
            }
            Step::Slow(wait) => {
                env.metrics.paused(Pause::Rate);
                conn.set_paused(true);
                // Boxed, so that a connection that never gets here does not hold a timer.
                Box::pin(tokio::time::sleep(Duration::from_millis(u64::from(wait)))).await;
                conn.set_paused(false);
                conn.touch(env.now());
            }
            Step::Close => break,
        }
    }
}

/// Takes the connection out of the server when its task ends, however that happens.
struct Here<U: Upper> {
    upper: Arc<U>,
    conn: Arc<Conn>,
}

impl<U: Upper> Drop for Here<U> {
    fn drop(&mut self) {
        self.conn.cut();
        self.upper.left(&self.conn);
    }
}

/// Waits until a bound allows more.
async fn pause<U: Upper>(upper: &U, conn: &Conn, why: Pause) {
    if why == Pause::Server {
        // Rare, and nobody knows whom to wake: look again soon.
        conn.set_paused(true);
        Box::pin(tokio::time::sleep(Duration::from_millis(20))).await;
        conn.set_paused(false);
        return;
    }
    conn.pause_while(|| is_blocked(upper, conn, why)).await;
}

fn is_blocked<U: Upper>(upper: &U, conn: &Conn, why: Pause) -> bool {
    let config = &upper.output().env.config;
    match why {
        Pause::Messages => {
            conn.messages() >= config.pending_messages
                || conn.message_bytes() >= config.pending_bytes
        }
        Pause::Queries => conn.queries() >= config.pending_queries,
        Pause::Output => conn.queued() > config.push_budget_bytes as usize,
        Pause::Server => upper.is_full(),
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
    fn new(env: &Env) -> Self {
        Self {
            rest: Vec::new(),
            limit: FrameLimit::new(env.config.max_frame_bytes),
            bucket: Bucket::full(env),
        }
    }

    /// Works on what is there, reads once, works on that, and writes the answers.
    fn pump<U: Upper>(&mut self, upper: &Arc<U>, conn: &Arc<Conn>) -> Step {
        match conn.phase() {
            Phase::Closing => return self.discard(conn),
            Phase::Draining => return Step::Pause(Pause::Drain),
            _ => {}
        }
        if is_blocked(&**upper, conn, Pause::Output) {
            return Step::Pause(Pause::Output);
        }
        let step = self.work(upper, conn);
        conn.flush(upper.output());
        step
    }

    fn work<U: Upper>(&mut self, upper: &Arc<U>, conn: &Arc<Conn>) -> Step {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            let (used, step) = self.frames(upper, conn, &rest);
            self.keep(rest, used);
            if step != Step::Wait {
                return step;
            }
        }
        let received = conn
            .transport()
            .receive(|bytes| self.received(upper, conn, bytes));
        match received {
            Received::Bytes(step) => step,
            Received::Nothing => Step::Wait,
            Received::End => Step::Close,
        }
    }

    fn received<U: Upper>(&mut self, upper: &Arc<U>, conn: &Arc<Conn>, bytes: &[u8]) -> Step {
        if conn.phase() == Phase::Online {
            conn.touch(upper.output().env.now());
        }
        if self.rest.is_empty() {
            let (used, step) = self.frames(upper, conn, bytes);
            self.rest
                .extend_from_slice(bytes.get(used..).unwrap_or_default());
            step
        } else {
            let mut rest = std::mem::take(&mut self.rest);
            rest.extend_from_slice(bytes);
            let (used, step) = self.frames(upper, conn, &rest);
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
    fn frames<U: Upper>(
        &mut self,
        upper: &Arc<U>,
        conn: &Arc<Conn>,
        bytes: &[u8],
    ) -> (usize, Step) {
        let metrics = &upper.output().env.metrics;
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
                    metrics.refused(Refusal::FrameLength);
                    debug!(remote = %conn.remote(), %error, "closing a connection");
                    return (used, Step::Close);
                }
            };
            let command = Command::from_client(&frame.header);
            if let ClientCommand::Request(request) = command
                && let Some(step) = self.admit(&**upper, conn, request.handler())
            {
                return (used, step);
            }
            metrics.frames_in.inc();
            upper.frame(conn, command, frame);
            left = rest;
        }
    }

    /// Whether a bound forbids this request for now.
    fn admit<U: Upper>(&mut self, upper: &U, conn: &Conn, handler: Handler) -> Option<Step> {
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
            if is_blocked(upper, conn, *why) {
                return Some(Step::Pause(*why));
            }
        }
        if matches!(handler, Handler::Store | Handler::Signal) {
            return self.bucket.take(&upper.output().env).map(Step::Slow);
        }
        None
    }

    /// A closing connection is read to its end, so that what was written last is not cut off by the
    /// arrival of bytes that nobody takes.
    fn discard(&mut self, conn: &Conn) -> Step {
        self.rest = Vec::new();
        match conn.transport().receive(|_| ()) {
            Received::Bytes(()) | Received::Nothing => Step::Wait,
            Received::End => Step::Close,
        }
    }
}
