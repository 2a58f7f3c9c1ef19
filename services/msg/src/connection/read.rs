//! The task of one connection: reads, cuts frames, and stops reading where a bound says so.
//!
//! Bytes are read into a buffer that all connections of a thread share. Only what cannot be worked
//! on yet is kept: a part of a frame, or frames behind a bound.

use std::sync::Arc;
use std::time::Duration;

use im_codec::{ClientCommand, Command, FrameLimit, FrameRef, Handler, split_frame};
use im_core::Chain;
use im_trace::{Trace, hop};
use im_transport::Received;
use tracing::debug;

use super::conn::{CloseReason, Conn, Output, Phase};
use super::meter::{self, Bucket, ConnMeter, UserMeter};
use super::partial::{Partials, Ticket};
use super::room::Room;
use super::turn::Turn;
use super::user_meters::UserMeters;
use crate::env::Env;
use crate::metrics::{Limit, Pause, Refusal};

/// The layer above connections.
pub(crate) trait Upper: Send + Sync + 'static {
    /// What connections share.
    fn output(&self) -> &Arc<Output>;

    /// Parts of frames that are kept.
    fn partials(&self) -> &Partials;

    /// What users have taken.
    fn meters(&self) -> &UserMeters;

    /// Works on one frame. Must not wait.
    fn frame(self: &Arc<Self>, conn: &Arc<Conn>, command: ClientCommand, frame: FrameRef<'_>);

    /// Room for messages of all connections that wait to be stored.
    fn message_room(&self) -> &Room;

    /// Room for questions of all connections that wait to be answered.
    fn query_room(&self) -> &Room;

    /// The task of a connection is over.
    fn left(self: &Arc<Self>, conn: &Arc<Conn>);

    /// Called with each full sweep of the connections.
    fn swept(self: &Arc<Self>, now: u32);
}

/// Longest wait for a rate before the connection is looked at again, milliseconds.
const LONGEST_WAIT: u32 = 5_000;

/// What a read that nobody looks at counts for, bytes.
const DISCARDED: usize = 64 << 10;

/// The time of a turn is looked at once in this many frames.
const LOOK: u32 = 16;

/// What the task does next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Nothing is left: wait for bytes.
    Wait,
    /// Something was done, and there may be more.
    Again,
    /// Wait until this bound allows more.
    Pause(Pause),
    /// Wait this many milliseconds for the rate.
    Slow(u32),
    /// The client or the connection is gone.
    Close,
}

/// Runs a connection until it ends.
pub(crate) fn run<U: Upper>(upper: Arc<U>, conn: Arc<Conn>) -> impl Future<Output = ()> + Send {
    let reader = Reader::new(&upper.output().env);
    // Made here: what an async function is given takes room in its task beside what it makes of it.
    let mut here = Here {
        upper,
        conn,
        reader,
        trace: Trace::sample(),
    };
    async move {
        let Here {
            upper,
            conn,
            reader,
            ..
        } = &mut here;
        loop {
            let step = reader.pump(upper, conn);
            let env = &upper.output().env;
            if step != Step::Again {
                reader.leave_place(env);
            }
            match step {
                Step::Wait => {
                    if !conn.transport().readable().await {
                        break;
                    }
                    reader.turn = Turn::begin(env);
                }
                Step::Again => {
                    if reader.turn.is_over(env) {
                        env.metrics.turns_ended.inc();
                        // Whatever is ready goes first; then the connection that has waited for longest.
                        // Boxed, so that a connection that never gets here is smaller.
                        Box::pin(reader.next_turn(env)).await;
                    }
                }
                Step::Pause(why) => {
                    env.metrics.paused(why);
                    pause(&**upper, conn, why).await;
                    conn.was_paused(env.now());
                }
                Step::Slow(wait) => {
                    env.metrics.paused(Pause::Rate);
                    let wait = Duration::from_millis(u64::from(wait.min(LONGEST_WAIT)));
                    // Boxed, so that a connection that never gets here does not hold a timer.
                    Box::pin(conn.pause_for(wait)).await;
                    conn.was_paused(env.now());
                }
                Step::Close => break,
            }
        }
    }
}

/// Takes the connection out of the server when its task ends, however that happens.
struct Here<U: Upper> {
    upper: Arc<U>,
    conn: Arc<Conn>,
    reader: Reader,
    trace: Trace,
}

impl<U: Upper> Drop for Here<U> {
    fn drop(&mut self) {
        let user = || self.conn.session().map_or(0, |session| session.user.get());
        hop!(root: self.trace, "connection", user = user(), remote = %self.conn.remote());
        self.conn.cut();
        self.reader.leave_place(&self.upper.output().env);
        self.upper.partials().release(&mut self.reader.ticket);
        self.upper.left(&self.conn);
    }
}

/// Waits until a bound allows more.
async fn pause<U: Upper>(upper: &U, conn: &Conn, why: Pause) {
    let room = match why {
        Pause::Server => upper.message_room(),
        Pause::ServerQueries => upper.query_room(),
        _ => return conn.pause_while(|| is_blocked(upper, conn, why)).await,
    };
    // Boxed, so that a connection that never gets here is smaller.
    Box::pin(conn.pause_for_room(room)).await;
}

fn is_blocked<U: Upper>(upper: &U, conn: &Conn, why: Pause) -> bool {
    let config = &upper.output().env.config;
    match why {
        Pause::Messages => {
            conn.messages() >= config.pending_messages
                || u64::from(conn.message_bytes()) >= config.pending_size.as_u64()
        }
        Pause::Queries => {
            conn.queries() >= config.pending_queries
                || u64::from(conn.query_bytes()) >= config.pending_query_bytes.as_u64()
        }
        Pause::Output => conn.queued() > config.push_budget.as_usize(),
        Pause::Server => upper.message_room().is_full(),
        Pause::ServerQueries => upper.query_room().is_full(),
        Pause::Drain => conn.phase() == Phase::Draining,
        Pause::Rate => false,
    }
}

/// Longest frame of a connection in this phase.
fn limit(env: &Env, phase: Phase) -> FrameLimit {
    let most = env.config.max_frame.as_u32();
    if phase >= Phase::Online {
        return FrameLimit::new(most);
    }
    let before = env.config.login_frame_bytes.as_u32();
    FrameLimit::new(before.min(most))
}

/// What a connection keeps between reads.
struct Reader {
    /// Bytes that could not be worked on yet.
    rest: Vec<u8>,
    /// What is counted of it.
    ticket: Ticket,
    bucket: Bucket,
    meter: ConnMeter,
    turn: Turn,
}

impl Reader {
    fn new(env: &Env) -> Self {
        Self {
            rest: Vec::new(),
            ticket: Ticket::default(),
            bucket: Bucket::full(env.config.rate_burst, env.now()),
            meter: ConnMeter::new(env.now()),
            turn: Turn::begin(env),
        }
    }

    /// Waits for another turn.
    async fn next_turn(&mut self, env: &Env) {
        tokio::task::yield_now().await;
        self.leave_place(env);
        if let Ok(place) = env.places.acquire().await {
            place.forget();
            self.turn.has_place = true;
        }
        self.turn.start(env);
    }

    /// Lets whoever has waited for longest go on.
    fn leave_place(&mut self, env: &Env) {
        if std::mem::take(&mut self.turn.has_place) {
            env.places.add_permits(1);
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
        self.count_rest(&**upper, conn);
        step
    }

    /// Counts what is kept now, and cuts whoever has kept a part for longest when it is too much.
    fn count_rest<U: Upper>(&mut self, upper: &U, conn: &Arc<Conn>) {
        let is_online = conn.phase() >= Phase::Online;
        let bytes = self.rest.capacity();
        for oldest in upper
            .partials()
            .keep(&mut self.ticket, conn, is_online, bytes)
        {
            upper.output().env.metrics.refused(Refusal::Partial);
            oldest.cut();
        }
    }

    fn work<U: Upper>(&mut self, upper: &Arc<U>, conn: &Arc<Conn>) -> Step {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            let (used, step) = self.frames(upper, conn, &rest);
            self.keep(rest, used);
            if step != Step::Wait {
                return step;
            }
            if self.turn.is_over(&upper.output().env) {
                return Step::Again;
            }
        }
        let received = conn
            .transport()
            .receive(|bytes| self.received(upper, conn, bytes));
        match received {
            Received::Bytes(Step::Wait) => Step::Again,
            Received::Bytes(step) => step,
            Received::Nothing => Step::Wait,
            Received::End => Step::Close,
        }
    }

    fn received<U: Upper>(&mut self, upper: &Arc<U>, conn: &Arc<Conn>, bytes: &[u8]) -> Step {
        let now = upper.output().env.now();
        if conn.phase() == Phase::Online {
            conn.touch(now);
        }
        self.meter.settle(now);
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
        let env = &upper.output().env;
        let metrics = &env.metrics;
        let now = env.now();
        let mut left = bytes;
        let mut n = 0u32;
        loop {
            if n == 1 {
                // What is kept after this is another part.
                upper.partials().release(&mut self.ticket);
            }
            let limit = limit(env, conn.phase());
            let used = bytes.len() - left.len();
            let is_over = self.turn.is_full(env)
                || (n.is_multiple_of(LOOK) && n > 0 && self.turn.is_over(env));
            if is_over && n > 0 {
                return (used, Step::Again);
            }
            if conn.phase() > Phase::Online {
                return (used, Step::Wait);
            }
            let (frame, rest) = match split_frame(left, limit) {
                Ok(Some(split)) => split,
                Ok(None) => return (used, Step::Wait),
                Err(error) => {
                    metrics.refused(Refusal::FrameLength);
                    debug!(remote = %conn.remote(), error = %Chain(&error), "closing a connection");
                    if conn.phase() == Phase::Fresh && conn.end(None, CloseReason::Finish) {
                        // Whoever is in the middle of the frame sees an end, not a broken connection.
                        conn.close(upper.output(), CloseReason::Finish);
                        return (bytes.len(), Step::Again);
                    }
                    return (used, Step::Close);
                }
            };
            let command = Command::from_client(&frame.header);
            let length = left.len() - rest.len();
            if let Some(step) = self.admit(&**upper, conn, command, length, now) {
                return (used, step);
            }
            n += 1;
            self.turn.count(length);
            metrics.frames_in.inc();
            upper.frame(conn, command, frame);
            left = rest;
        }
    }

    /// Whether a bound forbids this frame for now.
    fn admit<U: Upper>(
        &mut self,
        upper: &U,
        conn: &Conn,
        command: ClientCommand,
        length: usize,
        now: u32,
    ) -> Option<Step> {
        let is_online = conn.phase() == Phase::Online;
        if is_online && let ClientCommand::Request(request) = command {
            let bounds: &[Pause] = match request.handler() {
                Handler::Store => &[Pause::Messages, Pause::Server],
                Handler::Query
                | Handler::Change
                | Handler::ReadAck
                | Handler::DeviceToken
                | Handler::Presence => &[Pause::Queries, Pause::ServerQueries],
                _ => &[],
            };
            for why in bounds {
                if is_blocked(upper, conn, *why) {
                    return Some(Step::Pause(*why));
                }
            }
        }
        let env = &upper.output().env;
        if env.config.rate_limit == 0 {
            return None;
        }
        let kind = meter::kind(command, is_online);
        let bytes = u32::try_from(length).unwrap_or(u32::MAX);
        let (limit, wait) = self.measure(upper, conn, kind, bytes, now).err()?;
        env.metrics.limited(limit);
        if limit == Limit::Ignored {
            env.metrics.refused(Refusal::Flood);
            debug!(remote = %conn.remote(), "closing a connection that floods");
            return Some(Step::Close);
        }
        Some(Step::Slow(wait))
    }

    /// Counts a frame for its connection and its user.
    fn measure<U: Upper>(
        &mut self,
        upper: &U,
        conn: &Conn,
        kind: Option<Limit>,
        bytes: u32,
        now: u32,
    ) -> Result<(), meter::Wait> {
        let config = &upper.output().env.config;
        self.meter.take(&config.meter, kind, bytes, now)?;
        let (Some(kind), Some(session)) = (kind, conn.session()) else {
            return Ok(());
        };
        let taken = self.measure_user(upper, session.user.get(), kind, now);
        if taken.is_err() {
            // The frame comes again.
            self.meter.give_back(&config.meter, kind, bytes, now);
        }
        taken
    }

    fn measure_user<U: Upper>(
        &mut self,
        upper: &U,
        user: u32,
        kind: Limit,
        now: u32,
    ) -> Result<(), meter::Wait> {
        if !UserMeter::counts(kind) {
            return Ok(());
        }
        let config = &upper.output().env.config;
        if kind == Limit::Message
            && let Some(wait) = self.bucket.take(now, config.rate_limit, config.rate_burst)
        {
            return Err((kind, wait));
        }
        let taken = upper.meters().take(&config.meter, user, kind, now);
        if taken.is_err() && kind == Limit::Message {
            self.bucket.give_back();
        }
        taken
    }

    /// A closing connection is read to its end, so that what was written last is not cut off by the
    /// arrival of bytes that nobody takes.
    fn discard(&mut self, conn: &Conn) -> Step {
        self.rest = Vec::new();
        match conn.transport().receive(|_| ()) {
            Received::Bytes(()) => {
                self.turn.count(DISCARDED);
                Step::Again
            }
            Received::Nothing => Step::Wait,
            Received::End => Step::Close,
        }
    }
}
