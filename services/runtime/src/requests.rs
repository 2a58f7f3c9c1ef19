//! A line of the log for each request of a client: which command, whose, what became of it, and how long it
//! took; nothing of what it says.
//!
//! A line travels with its request and is written when that ends, however it ends: there is one for each.
//! At the default level there is none, and a request carries an empty word. Of requests that are refused one
//! line a second is written, which says how many were left out: who floods a server floods no log.
//!
//! A server of clients says what its commands are called; `log.filter` names this module for all of them.

use std::fmt::{Debug, Display};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use im_core::labels::snake_case;
use tokio::time::Instant;
use tracing::{Level, debug, enabled};

use crate::Throttle;

/// The line of one request, if it is wanted.
#[derive(Debug)]
pub struct Line<C: Display>(Option<Box<Open<C>>>);

#[derive(Debug)]
struct Open<C> {
    command: C,
    user: u32,
    from: Option<IpAddr>,
    since: Instant,
    outcome: Outcome,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Its connection or a link has gone, or nobody answers it.
    Unanswered,
    Done,
    Refused {
        reason: String,
        left_out: u64,
    },
}

/// No line is wanted.
impl<C: Display> Default for Line<C> {
    fn default() -> Self {
        Self(None)
    }
}

impl<C: Display> Line<C> {
    /// The line of a request that begins now, of somebody who may not be known yet (0).
    pub fn begin(command: C, user: u32) -> Self {
        if !enabled!(Level::DEBUG) {
            return Self(None);
        }
        Self::since(command, user, Instant::now())
    }

    /// The line of what began at that time.
    pub fn since(command: C, user: u32, since: Instant) -> Self {
        if !enabled!(Level::DEBUG) {
            return Self(None);
        }
        Self(Some(Box::new(Open {
            command,
            user,
            from: None,
            since,
            outcome: Outcome::Unanswered,
        })))
    }

    /// Whether it will be written.
    pub const fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Says whose request it was.
    pub fn of(&mut self, user: u32) {
        if let Some(open) = &mut self.0 {
            open.user = user;
        }
    }

    /// Says where it came from, where nobody says whose it is.
    #[must_use]
    pub fn coming_from(mut self, address: IpAddr) -> Self {
        if let Some(open) = &mut self.0 {
            open.from = Some(address);
        }
        self
    }

    /// It was carried out, unless it was refused before.
    pub fn done(&mut self) {
        if let Some(open) = &mut self.0
            && open.outcome == Outcome::Unanswered
        {
            open.outcome = Outcome::Done;
        }
    }

    /// It was refused for a reason, which is spelled as in metrics. Where lines of those are not due, there is
    /// none.
    pub fn refused(&mut self, reason: impl Debug, refused: &Refused) {
        let Some(open) = &mut self.0 else { return };
        match refused.admit() {
            Some(left_out) => {
                let reason = snake_case(&format!("{reason:?}"));
                open.outcome = Outcome::Refused { reason, left_out };
            }
            None => self.0 = None,
        }
    }
}

impl<C: Display> Drop for Line<C> {
    fn drop(&mut self) {
        let Some(open) = self.0.take() else { return };
        let Open {
            command,
            user,
            from,
            since,
            outcome,
        } = *open;
        let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let from = from.map(tracing::field::display);
        match outcome {
            Outcome::Unanswered => {
                debug!(%command, user, from, outcome = "unanswered", micros, "request");
            }
            Outcome::Done => debug!(%command, user, from, outcome = "done", micros, "request"),
            Outcome::Refused { reason, left_out } => {
                debug!(%command, user, from, outcome = "refused", reason, left_out, micros, "request");
            }
        }
    }
}

/// Which lines of refused requests are written: one a second.
#[derive(Debug, Default)]
pub struct Refused {
    due: Throttle,
    left_out: AtomicU64,
}

impl Refused {
    /// How many lines were left out since the last one, if there may be one now.
    pub fn admit(&self) -> Option<u64> {
        if self.due.is_due() {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tracing::field::{Field, Visit};
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    #[derive(Debug)]
    enum Reason {
        WrongPassword,
        Command,
    }

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
            let mut done = Line::begin("MsgData", 7);
            done.done();
            drop(done);
            drop(Line::begin("ClientTimeReq", 7));
            let mut login = Line::begin("LoginReq", 0);
            login.of(9);
            login.refused(Reason::WrongPassword, &refused);
            login.done();
            drop(login);
            let mut asked = Line::begin("MsgServReq", 0).coming_from([192, 0, 2, 1].into());
            asked.done();
        });
        let text = "message=request command=";
        assert_eq!(
            lines,
            [
                format!("{text}MsgData user=7 outcome=\"done\""),
                format!("{text}ClientTimeReq user=7 outcome=\"unanswered\""),
                format!(
                    "{text}LoginReq user=9 outcome=\"refused\" reason=\"wrong_password\" left_out=0"
                ),
                format!("{text}MsgServReq user=0 from=192.0.2.1 outcome=\"done\""),
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn of_refused_requests_one_line_a_second_is_written_and_says_how_many_are_missing() {
        let refused = Refused::default();
        let flood = |n: u32| {
            for _ in 0..n {
                Line::begin("0xffff", 3).refused(Reason::Command, &refused);
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
        assert_eq!(size_of::<Line<u16>>(), size_of::<usize>());
        let refused = Refused::default();
        let none = lines(LevelFilter::INFO, || {
            let mut line = Line::begin("MsgData", 7);
            assert!(line.0.is_none(), "no clock was read, nothing was kept");
            line.refused(Reason::Command, &refused);
        });
        assert!(none.is_empty());
        assert_eq!(refused.left_out.load(Ordering::Relaxed), 0);
    }
}
