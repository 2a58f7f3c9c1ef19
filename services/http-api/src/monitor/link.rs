//! The link of one server: what it reports, and what it is asked.
//!
//! One task for each. A server that is silent, says more than it may, or does not take its questions loses the
//! link; nobody waits for it but who asked it, and that for a bounded time.

use std::collections::HashMap;
use std::time::Duration;

use im_proto_rpc::v1::monitor_answer::Answer;
use im_proto_rpc::v1::monitor_ask::Ask;
use im_proto_rpc::v1::monitor_call::Call;
use im_proto_rpc::v1::{EventsAsk, MonitorAsk, MonitorAsks, MonitorCalls};
use im_rpc::Link;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::{Happening, Monitor, NoAnswer};
use crate::metrics::Cut;

/// A question, and who waits for its answer.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) ask: Ask,
    pub(crate) answer: oneshot::Sender<Result<Answer, NoAnswer>>,
}

/// Seconds for which a server may have been silent and then report all it has.
const BURST: u32 = 8;

/// Largest event, bytes: many of them wait for subscribers.
const MAX_EVENT: usize = 1_024;

/// Bytes that may come without being asked for.
struct Budget {
    left: f64,
    rate: f64,
    last: Instant,
}

impl Budget {
    fn new(rate: u64, now: Instant) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "a rate, not an account")]
        let rate = rate as f64;
        Self {
            left: rate * f64::from(BURST),
            rate,
            last: now,
        }
    }

    /// Takes so many bytes; false when there are not so many.
    fn take(&mut self, bytes: usize, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.last).as_secs_f64();
        self.last = now;
        #[allow(clippy::cast_precision_loss, reason = "a rate, not an account")]
        let bytes = bytes as f64;
        self.left = self.rate.mul_add(since, self.left);
        self.left = self.left.min(self.rate * f64::from(BURST)) - bytes;
        self.left >= 0.0
    }
}

/// What this end knows of one link.
struct Reporter<'a> {
    monitor: &'a Monitor,
    id: u64,
    tx: mpsc::Sender<MonitorAsks>,
    asks: mpsc::Sender<Question>,
    name: Option<String>,
    is_msg: bool,
    last_tag: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<Answer, NoAnswer>>>,
    budget: Budget,
    /// What it was told about events.
    tells_events: bool,
}

/// Serves the link until it ends.
pub(super) async fn follow(monitor: Monitor, id: u64, link: Link<MonitorAsks, MonitorCalls>) {
    let Link {
        tx,
        rx,
        peer,
        closed,
    } = link;
    let config = &monitor.config;
    let (asks, questions) = mpsc::channel(config.questions);
    let mut reporter = Reporter {
        id,
        tx,
        asks,
        name: None,
        is_msg: false,
        last_tag: 0,
        waiting: HashMap::new(),
        budget: Budget::new(config.report_rate.as_u64(), Instant::now()),
        tells_events: false,
        monitor: &monitor,
    };
    let cut = tokio::select! {
        () = closed.cancelled() => None,
        () = monitor.stop.cancelled() => None,
        cut = reporter.run(rx, questions) => cut,
    };
    let name = reporter.name.take();
    if let Some(cut) = cut {
        monitor.metrics.cut(cut);
        warn!(peer, name, why = ?cut, "cut the link of a server that reports");
    } else {
        info!(peer, name, "a server reports no more");
    }
    if let Some(name) = name {
        monitor.gone(id, &name);
    }
    closed.cancel();
}

impl Reporter<'_> {
    /// Works until the server closes the link, or why it is cut.
    async fn run(
        &mut self,
        mut rx: mpsc::Receiver<MonitorCalls>,
        mut questions: mpsc::Receiver<Question>,
    ) -> Option<Cut> {
        let mut wanted = self.monitor.wanted.subscribe();
        let silence: Duration = self.monitor.config.silence.duration();
        let mut heard = Instant::now();
        loop {
            let taken = tokio::select! {
                calls = rx.recv() => match calls {
                    None => return None,
                    Some(calls) => self.calls(calls, &mut heard, &mut wanted),
                },
                Some(question) = questions.recv() => self.ask(question),
                // The sender lives as long as the monitor.
                Ok(()) = wanted.changed() => self.want(&mut wanted),
                () = sleep_until(heard + silence) => Err(Cut::Silent),
            };
            if let Err(cut) = taken {
                return Some(cut);
            }
        }
    }

    /// What has come together.
    fn calls(
        &mut self,
        calls: MonitorCalls,
        heard: &mut Instant,
        wanted: &mut watch::Receiver<usize>,
    ) -> Result<(), Cut> {
        let now = Instant::now();
        for call in calls.calls {
            let bytes = call.encoded_len();
            match call.call {
                Some(Call::Answer(answer)) => {
                    let waiting = self.waiting.remove(&answer.tag);
                    let (Some(waiting), Some(answer)) = (waiting, answer.answer) else {
                        self.unasked(bytes, now)?;
                        continue;
                    };
                    // Whoever has asked may have gone.
                    drop(waiting.send(Ok(answer)));
                }
                Some(Call::Report(report)) => {
                    self.unasked(bytes, now)?;
                    let is_other = self.name.as_ref().is_some_and(|it| *it != report.name);
                    if is_other {
                        return Err(Cut::Malformed);
                    }
                    let is_first = self.name.is_none();
                    self.is_msg = report.role == super::MSG;
                    let name = report.name.clone();
                    self.monitor.report(self.id, report, &self.asks, now)?;
                    self.name = Some(name);
                    *heard = now;
                    if is_first {
                        self.want(wanted)?;
                    }
                }
                Some(Call::Event(event)) => {
                    self.unasked(bytes, now)?;
                    if bytes > MAX_EVENT {
                        return Err(Cut::Malformed);
                    }
                    if let Some(session) = event.session {
                        let up = event.up;
                        self.monitor.tell(Happening::Session { up, session });
                    }
                }
                Some(Call::LeftOut(events)) => {
                    self.unasked(bytes, now)?;
                    self.monitor.tell(Happening::LeftOut(events));
                }
                None => return Err(Cut::Malformed),
            }
        }
        Ok(())
    }

    fn unasked(&mut self, bytes: usize, now: Instant) -> Result<(), Cut> {
        if self.budget.take(bytes, now) {
            Ok(())
        } else {
            Err(Cut::Flood)
        }
    }

    /// Passes a question on.
    fn ask(&mut self, question: Question) -> Result<(), Cut> {
        let Question { ask, answer } = question;
        self.waiting.retain(|_, waiting| !waiting.is_closed());
        if self.waiting.len() >= self.monitor.config.questions {
            drop(answer.send(Err(NoAnswer::Busy)));
            return Ok(());
        }
        self.last_tag += 1;
        self.waiting.insert(self.last_tag, answer);
        self.send(self.last_tag, ask)
    }

    /// Says whether events are wanted, when that has changed.
    fn want(&mut self, wanted: &mut watch::Receiver<usize>) -> Result<(), Cut> {
        let wanted = *wanted.borrow_and_update() > 0;
        if !self.is_msg || wanted == self.tells_events {
            return Ok(());
        }
        self.tells_events = wanted;
        self.send(0, Ask::Events(EventsAsk { wanted }))
    }

    fn send(&self, tag: u64, ask: Ask) -> Result<(), Cut> {
        let asks = vec![MonitorAsk {
            tag,
            ask: Some(ask),
        }];
        self.tx
            .try_send(MonitorAsks { asks })
            .map_err(|_| Cut::Slow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_unasked_may_burst_for_eight_seconds_and_no_more() {
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let mut budget = Budget::new(100, now);
        assert!(budget.take(800, now) && !budget.take(1, now));
        let mut budget = Budget::new(100, now);
        for second in 1..100 {
            assert!(budget.take(100, later(second)), "{second}");
        }
        assert!(budget.take(800, later(1_000)), "rest is no credit");
        assert!(!budget.take(1, later(1_000)));
    }
}
