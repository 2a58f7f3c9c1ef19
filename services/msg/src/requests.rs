//! A line of the log for each request of a client: which command, whose, what became of it, and how long it
//! took; nothing of what it says.
//!
//! A line travels with its request and is written when that ends, however it ends: there is one for each.
//! At the default level there is none, and a request carries an empty word. Of requests that are refused one
//! line a second is written, which says how many were left out: who floods a server floods no log.
//! Heartbeats and receipts ask for nothing and have none.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use im_codec::Command;
use im_core::labels::snake_case;
use im_runtime::Throttle;
use tokio::time::Instant;
use tracing::{Level, debug, enabled};

use crate::metrics::Refusal;

/// The line of one request, if it is wanted.
#[derive(Debug, Default)]
pub(crate) struct Line(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    command: u16,
    user: u32,
    since: Instant,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Its connection or a link has gone, or nobody answers it.
    Unanswered,
    Done,
    Refused {
        reason: Refusal,
        left_out: u64,
    },
}

impl Line {
    /// The line of a request that begins now, of somebody who may not be known yet (0).
    pub(crate) fn begin(command: u16, user: u32) -> Self {
        if !enabled!(Level::DEBUG) {
            return Self(None);
        }
        Self(Some(Box::new(Open {
            command,
            user,
            since: Instant::now(),
            outcome: Outcome::Unanswered,
        })))
    }

    /// Says whose request it was.
    pub(crate) fn of(&mut self, user: u32) {
        if let Some(open) = &mut self.0 {
            open.user = user;
        }
    }

    /// It was carried out, unless it was refused before.
    pub(crate) fn done(&mut self) {
        if let Some(open) = &mut self.0
            && open.outcome == Outcome::Unanswered
        {
            open.outcome = Outcome::Done;
        }
    }

    /// It was refused. Where lines of those are not due, there is none.
    pub(crate) fn refused(&mut self, reason: Refusal, refused: &Refused) {
        let Some(open) = &mut self.0 else { return };
        match refused.admit() {
            Some(left_out) => open.outcome = Outcome::Refused { reason, left_out },
            None => self.0 = None,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Some(open) = self.0.take() else { return };
        let Open {
            command,
            user,
            since,
            outcome,
        } = *open;
        let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let command = Named(command);
        match outcome {
            Outcome::Unanswered => {
                debug!(%command, user, outcome = "unanswered", micros, "request");
            }
            Outcome::Done => debug!(%command, user, outcome = "done", micros, "request"),
            Outcome::Refused { reason, left_out } => {
                let reason = snake_case(&format!("{reason:?}"));
                debug!(%command, user, outcome = "refused", reason, left_out, micros, "request");
            }
        }
    }
}

/// A command by its name, or its number where it has none.
struct Named(u16);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Command::from_id(self.0) {
            Some(command) => write!(f, "{command:?}"),
            None => write!(f, "{:#06x}", self.0),
        }
    }
}

/// Which lines of refused requests are written: one a second.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    due: Throttle,
    left_out: AtomicU64,
}

impl Refused {
    /// How many lines were left out since the last one, if there may be one now.
    fn admit(&self) -> Option<u64> {
        if self.due.is_due() {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tracing::field::{Field, Visit};
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    /// Lines without their times.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() != "micros" {
                self.0.push_str(&format!("{}={value:?} ", field.name()));
            }
        }
    }

    impl<S: tracing::Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            let mut text = Text(String::new());
            event.record(&mut text);
            self.0.lock().unwrap().push(text.0.trim_end().to_owned());
        }
    }

    /// What is written at a level.
    fn lines(level: LevelFilter, work: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::registry().with(lines.clone().with_filter(level));
        tracing::subscriber::with_default(subscriber, work);
        let lines = lines.0.lock().unwrap();
        lines.clone()
    }

    #[test]
    fn a_request_leaves_one_line_however_it_ends() {
        let refused = Refused::default();
        let lines = lines(LevelFilter::DEBUG, || {
            let mut done = Line::begin(Command::MsgData.id(), 7);
            done.done();
            drop(done);
            drop(Line::begin(Command::ClientTimeReq.id(), 7));
            let mut login = Line::begin(Command::LoginReq.id(), 0);
            login.of(9);
            login.refused(Refusal::Credentials, &refused);
            login.done();
            drop(login);
        });
        let text = "message=request command=";
        assert_eq!(
            lines,
            [
                format!("{text}MsgData user=7 outcome=\"done\""),
                format!("{text}ClientTimeReq user=7 outcome=\"unanswered\""),
                format!(
                    "{text}LoginReq user=9 outcome=\"refused\" reason=\"credentials\" left_out=0"
                ),
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn of_refused_requests_one_line_a_second_is_written_and_says_how_many_are_missing() {
        let refused = Refused::default();
        let flood = |n: u32| {
            for _ in 0..n {
                Line::begin(0xffff, 3).refused(Refusal::Command, &refused);
            }
        };
        let first = lines(LevelFilter::DEBUG, || flood(1_000));
        let refusal = |left_out: u32| {
            format!(
                "message=request command=0xffff user=3 outcome=\"refused\" reason=\"command\" left_out={left_out}"
            )
        };
        assert_eq!(first, [refusal(0)]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(lines(LevelFilter::DEBUG, || flood(2)), [refusal(999)]);
    }

    #[test]
    fn at_the_default_level_a_request_carries_nothing() {
        assert_eq!(size_of::<Line>(), size_of::<usize>());
        let refused = Refused::default();
        let none = lines(LevelFilter::INFO, || {
            let mut line = Line::begin(Command::MsgData.id(), 7);
            assert!(line.0.is_none(), "no clock was read, nothing was kept");
            line.refused(Refusal::Malformed, &refused);
        });
        assert!(none.is_empty());
        assert_eq!(refused.left_out.load(Ordering::Relaxed), 0);
    }
}
