//! Keeps messages from the log until the filter has judged them, beside everything else that is stored.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;

use im_config::FilterConfig;
use im_core::time::UnixSeconds;
use im_proto_rpc::v1::{self, send_done::Outcome};
use tokio::task::{Id, JoinError, JoinSet};
use tracing::error;

use super::held::{Asked, Freed, Held};
use super::job::{Incoming, SendBatch};
use super::retries::RetryWindow;
use super::task::result;
use crate::filter::{Filter, Verdict};
use crate::metrics::Metrics;

/// The messages that wait, the questions that are open, and what is to be stored now.
pub(super) struct Screen {
    filter: Arc<dyn Filter>,
    in_flight: usize,
    held: Held,
    /// One task per request; they end with the writer.
    requests: JoinSet<Vec<Verdict>>,
    under_way: HashMap<Id, Vec<Asked>>,
    /// Goes before whatever comes later.
    released: VecDeque<SendBatch>,
    metrics: Metrics,
}

impl Screen {
    pub(super) fn new(filter: Arc<dyn Filter>, config: &FilterConfig, metrics: Metrics) -> Self {
        Self {
            filter,
            in_flight: config.in_flight.max(1),
            held: Held::new(config.clone()),
            requests: JoinSet::new(),
            under_way: HashMap::new(),
            released: VecDeque::new(),
            metrics,
        }
    }

    /// Takes from a batch what has to wait. A message that is stored already stays, and is answered as ever.
    pub(super) fn take(&mut self, batch: &mut SendBatch, stored: &RetryWindow) {
        if batch.is_judged || !batch.sends.iter().any(|send| self.stops(send)) {
            return;
        }
        let now = UnixSeconds::now();
        let (mut held, mut lost) = (Vec::new(), Vec::new());
        for mut send in mem::take(&mut batch.sends) {
            if !self.stops(&send) {
                batch.sends.push(send);
                continue;
            }
            send.needs_verdict = self.concerns(&send);
            let before = { send.key }.and_then(|it| stored.find(&it.key, it.window_seconds, now));
            let tag = send.tag;
            if before.is_some() {
                batch.sends.push(send);
            } else if self.held.push(send, &batch.sink) {
                held.push(tag);
            } else {
                lost.push(tag);
            }
        }
        if !held.is_empty() {
            batch.sink.held(held);
        }
        if !lost.is_empty() {
            self.metrics.failed(lost.len());
            self.metrics.filter_turned_away(lost.len());
            let failed = lost.into_iter().map(|tag| told(tag, Outcome::Failed));
            batch.sink.push(failed.collect());
        }
    }

    fn concerns(&self, send: &Incoming) -> bool {
        let Incoming {
            sender,
            conversation,
            msg_type,
            ..
        } = send;
        self.filter.concerns(*sender, *conversation, *msg_type)
    }

    /// Whether a message waits: for a verdict, or behind one.
    fn stops(&self, send: &Incoming) -> bool {
        self.concerns(send) || self.held.holds(send.conversation)
    }

    /// Asks as much as may be asked at the same time.
    pub(super) fn ask(&mut self) {
        while self.under_way.len() < self.in_flight
            && let Some(ask) = self.held.next()
        {
            let filter = Arc::clone(&self.filter);
            let questions = ask.questions;
            let request = self
                .requests
                .spawn(async move { filter.judge(questions).await });
            self.under_way.insert(request.id(), ask.asked);
        }
        let (messages, bytes) = self.held.waiting();
        self.metrics.filter_waiting(messages, bytes);
    }

    /// Waits until a request is answered, and takes the verdicts. Never ends while none is open; loses nothing
    /// when it is dropped.
    pub(super) async fn judged(&mut self) {
        match self.requests.join_next_with_id().await {
            Some(done) => self.done(done),
            None => std::future::pending().await,
        }
    }

    /// What is to be stored next, before anything that has come later.
    pub(super) fn released(&mut self) -> Option<SendBatch> {
        self.released.pop_front()
    }

    fn done(&mut self, done: Result<(Id, Vec<Verdict>), JoinError>) {
        let (id, verdicts) = match done {
            Ok(judged) => judged,
            Err(broken) => {
                error!(error = %broken, "a request to the filter ended by a fault");
                (broken.id(), Vec::new())
            }
        };
        let Some(asked) = self.under_way.remove(&id) else {
            return;
        };
        let filter = Arc::clone(&self.filter);
        let rest = std::iter::repeat_with(move || filter.unanswered());
        let Freed { batches, denied } = self.held.judged(asked, verdicts.into_iter().chain(rest));
        self.released.extend(batches);
        for it in denied {
            self.metrics.refused(it.reason);
            it.sink.push(vec![told(it.tag, Outcome::Refused)]);
        }
        self.ask();
    }
}

fn told(tag: u64, outcome: Outcome) -> v1::DbResult {
    let done = v1::SendDone {
        outcome: outcome.into(),
        ..v1::SendDone::default()
    };
    result(tag, done)
}
