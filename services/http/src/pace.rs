//! How fast a client must send and take: a connection that is slower than agreed ends.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use im_core::places::Place;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::meter::Meter;

/// How often a connection is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often a client that moves bytes is said to be heard of.
const HEARD_EVERY: Duration = Duration::from_millis(100);

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The server's, or nobody's; the head of a request has a limit of its own.
    Ours,
    /// The client's, to send a body.
    Sending,
    /// The client's, to take an answer.
    Taking,
}

/// The agreed pace, and how the client keeps it. Clones are of the same connection.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    grace: Duration,
    /// Bytes per second.
    least: u64,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    turn: Turn,
    /// When the client is too slow, unless something moves until then.
    deadline: Instant,
    /// Since when the client takes nothing of what is to be written.
    blocked: Option<Instant>,
}

impl Pace {
    /// So many bytes per second; a client may fall behind by the grace. What moved faster earns it no more
    /// than that: what the kernel holds for it has moved for us.
    pub(crate) fn new(grace: Duration, least: u64) -> Self {
        Self {
            grace,
            least,
            state: Arc::new(Mutex::new(State {
                turn: Turn::Ours,
                deadline: Instant::now() + grace,
                blocked: None,
            })),
        }
    }

    /// A turn begins.
    pub(crate) fn begin(&self, turn: Turn) {
        let mut state = self.lock();
        state.turn = turn;
        state.deadline = Instant::now() + self.grace;
    }

    /// This turn has ended, unless another has begun.
    pub(crate) fn end(&self, turn: Turn) {
        let mut state = self.lock();
        if state.turn == turn {
            state.turn = Turn::Ours;
        }
    }

    /// So many bytes moved; `in_turn` is when that counts.
    fn moved(&self, in_turn: Turn, bytes: usize) {
        let mut state = self.lock();
        if in_turn == Turn::Taking {
            state.blocked = None;
        }
        if state.turn == in_turn {
            let millis = bytes as u128 * 1_000 / u128::from(self.least.max(1));
            let earned = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
            let latest = Instant::now() + self.grace;
            let earned = state.deadline.checked_add(earned).unwrap_or(latest);
            state.deadline = earned.min(latest);
        }
    }

    fn blocked(&self) {
        self.lock().blocked.get_or_insert_with(Instant::now);
    }

    /// The turn in which the client is too slow by now, if it is.
    pub(crate) fn broken(&self, now: Instant) -> Option<Turn> {
        let state = self.lock();
        match (state.turn, state.blocked) {
            (Turn::Ours, Some(since)) => (now > since + self.grace).then_some(Turn::Taking),
            (Turn::Ours, None) => None,
            (turn, _) => (now > state.deadline).then_some(turn),
        }
    }

    /// Waits until the client is too slow, and tells in what.
    pub(crate) async fn watch(&self) -> Turn {
        let every = (self.grace / 4).clamp(Duration::from_millis(1), LOOK_EVERY);
        loop {
            if let Some(turn) = self.broken(Instant::now()) {
                return turn;
            }
            sleep(every).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's place; its token ends the connection that loses it to a newcomer.
pub(crate) type ClientPlace = Place<CancellationToken>;

/// A connection that counts what it moves. Its place is given back after the socket.
#[derive(Debug)]
pub(crate) struct Paced<S> {
    io: S,
    pace: Pace,
    meter: Meter,
    heard: Option<Instant>,
    place: ClientPlace,
}

impl<S> Paced<S> {
    pub(crate) fn new(io: S, pace: Pace, place: ClientPlace, meter: Meter) -> Self {
        Self {
            io,
            pace,
            meter,
            heard: None,
            place,
        }
    }

    fn heard(&mut self) {
        let now = Instant::now();
        let is_due = |last: Instant| now.saturating_duration_since(last) >= HEARD_EVERY;
        if self.heard.is_none_or(is_due) {
            self.heard = Some(now);
            self.place.heard();
        }
    }

    fn written(&mut self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Pending => self.pace.blocked(),
            Poll::Ready(Ok(bytes)) => {
                self.pace.moved(Turn::Taking, *bytes);
                self.meter.sent.inc_by(*bytes as u64);
                self.heard();
            }
            Poll::Ready(Err(_)) => {}
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.io).poll_read(cx, buf);
        let bytes = buf.filled().len() - before;
        if bytes > 0 {
            self.pace.moved(Turn::Sending, bytes);
            self.meter.received.inc_by(bytes as u64);
            self.heard();
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.written(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn pace() -> Pace {
        Pace::new(GRACE, 1_000)
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_fall_behind_by_the_grace_and_no_more() {
        let (pace, begin) = (pace(), Instant::now());
        let broken = |after: u64| pace.broken(begin + millis(after));
        assert_eq!(broken(90_000), None, "a head has its own limit");
        pace.begin(Turn::Sending);
        assert_eq!(broken(10_000), None);
        assert_eq!(broken(10_001), Some(Turn::Sending));
        tokio::time::advance(millis(4_000)).await;
        pace.moved(Turn::Sending, 2_500);
        assert_eq!(broken(12_500), None);
        assert_eq!(broken(12_501), Some(Turn::Sending));
        // What came at once lets nobody rest for longer.
        pace.moved(Turn::Sending, 1_000_000);
        assert_eq!(broken(14_000), None);
        assert_eq!(broken(14_001), Some(Turn::Sending));
        pace.moved(Turn::Taking, 1_000_000);
        assert_eq!(broken(14_001), Some(Turn::Sending));
        pace.begin(Turn::Ours);
        assert_eq!(broken(90_000), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_taken_at_the_same_pace_to_its_last_byte() {
        let (pace, begin) = (pace(), Instant::now());
        pace.begin(Turn::Taking);
        tokio::time::advance(millis(2_000)).await;
        pace.moved(Turn::Taking, 1_000);
        assert_eq!(pace.broken(begin + GRACE + millis(1_000)), None);
        let late = begin + GRACE + millis(1_001);
        assert_eq!(pace.broken(late), Some(Turn::Taking));
        // All of it is on its way, but the client takes no more.
        pace.begin(Turn::Ours);
        let since = Instant::now();
        pace.blocked();
        assert_eq!(pace.broken(since + GRACE), None);
        tokio::time::advance(millis(500)).await;
        pace.blocked();
        assert_eq!(pace.broken(since + GRACE + millis(1)), Some(Turn::Taking));
        pace.moved(Turn::Taking, 1);
        assert_eq!(pace.broken(since + GRACE * 9), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_too_slow_is_noticed_within_half_a_second() {
        let (pace, begin) = (pace(), Instant::now());
        pace.begin(Turn::Sending);
        assert_eq!(pace.watch().await, Turn::Sending);
        assert!(
            begin.elapsed() <= GRACE + LOOK_EVERY,
            "{:?}",
            begin.elapsed()
        );
    }
}
