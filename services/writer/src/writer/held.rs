//! Messages that wait for a verdict, and those of the same conversations that wait behind them.
//!
//! Pure bookkeeping. *Invariants*: messages of one conversation leave in the order in which they came; of one
//! conversation one question is open; a conversation is here only while something of it waits.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use im_config::FilterConfig;
use im_core::{Conversation, UserId};

use super::job::{Incoming, SendBatch, SendSink};
use super::task::MAX_JOB_SENDS;
use crate::filter::{Question, Verdict};
use crate::reject::RejectReason;

/// What a message costs here beside its body, bytes.
pub(super) const MESSAGE: usize = 512;

/// A message that waits.
struct Waiting {
    send: Incoming,
    sink: Arc<dyn SendSink>,
    /// What it costs here, whatever replaces its body.
    bytes: usize,
}

/// What waits of one conversation.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

/// Messages of one conversation that were asked about together: its first ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    conversation: Conversation,
    messages: usize,
}

/// What goes into one request.
pub(super) struct Ask {
    pub(super) asked: Vec<Asked>,
    pub(super) questions: Vec<Question>,
}

/// A message that was denied: its tag, where its result goes, and why.
pub(super) struct Denied {
    pub(super) tag: u64,
    pub(super) sink: Arc<dyn SendSink>,
    pub(super) reason: RejectReason,
}

/// What verdicts have freed.
#[derive(Default)]
pub(super) struct Freed {
    /// To be stored, in this order.
    pub(super) batches: Vec<SendBatch>,
    pub(super) denied: Vec<Denied>,
}

/// All that waits.
pub(super) struct Held {
    config: FilterConfig,
    lanes: HashMap<Conversation, Lane>,
    /// Conversations whose first message is to be asked about, and of which no question is open.
    ready: VecDeque<Conversation>,
    /// Bytes of each sender.
    senders: HashMap<UserId, usize>,
    messages: usize,
    bytes: usize,
}

impl Held {
    pub(super) fn new(config: FilterConfig) -> Self {
        Self {
            config,
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            senders: HashMap::new(),
            messages: 0,
            bytes: 0,
        }
    }

    /// Whether messages of this conversation have to wait.
    pub(super) fn holds(&self, conversation: Conversation) -> bool {
        !self.lanes.is_empty() && self.lanes.contains_key(&conversation)
    }

    /// Messages that wait, and what they cost, bytes.
    pub(super) const fn waiting(&self) -> (usize, usize) {
        (self.messages, self.bytes)
    }

    /// Takes a message; `false` when it has no room. The first of a conversation needs a verdict.
    ///
    /// One that waits here already is not asked about again when its client sends it once more: it has the same
    /// verdict.
    pub(super) fn push(&mut self, mut send: Incoming, sink: &Arc<dyn SendSink>) -> bool {
        let bytes = weight(&send);
        let of_sender = self.senders.get(&send.sender).copied().unwrap_or_default();
        let of_lane = { self.lanes.get(&send.conversation) }.map_or(0, |lane| lane.bytes);
        let config = &self.config;
        // A single message may be larger than any bound.
        let fits = |used: usize, most: usize| used == 0 || used.saturating_add(bytes) <= most;
        let has_room = self.messages < config.waiting_messages
            && fits(self.bytes, config.waiting_bytes.as_usize())
            && fits(of_lane, config.conversation_bytes.as_usize())
            && fits(of_sender, config.sender_bytes.as_usize());
        if !has_room {
            return false;
        }
        self.messages += 1;
        self.bytes += bytes;
        *self.senders.entry(send.sender).or_default() += bytes;
        let lane = self.lanes.entry(send.conversation).or_default();
        if lane.waiting.is_empty() {
            self.ready.push_back(send.conversation);
        }
        if lane.waiting.iter().any(|it| is_repeated(&it.send, &send)) {
            send.needs_verdict = false;
        }
        lane.bytes += bytes;
        lane.waiting.push_back(Waiting {
            send,
            sink: Arc::clone(sink),
            bytes,
        });
        true
    }

    /// The next request; nothing while every conversation that waits has a question open.
    pub(super) fn next(&mut self) -> Option<Ask> {
        let most = self.config.batch.max(1);
        let most_bytes = self.config.batch_bytes.as_usize();
        let mut ask = Ask {
            asked: Vec::new(),
            questions: Vec::new(),
        };
        let mut bytes = 0_usize;
        while ask.questions.len() < most
            && let Some(conversation) = self.ready.front().copied()
        {
            let lane = self.lanes.get(&conversation);
            let waiting = lane.into_iter().flat_map(|lane| &lane.waiting);
            let mut messages = 0;
            for Waiting { send, .. } in waiting.take_while(|it| it.send.needs_verdict) {
                let all = bytes.saturating_add(send.body.len());
                let fits = all <= most_bytes || ask.questions.is_empty();
                if !fits || ask.questions.len() >= most {
                    break;
                }
                bytes = all;
                messages += 1;
                ask.questions.push(send.question());
            }
            if messages == 0 {
                break;
            }
            self.ready.pop_front();
            ask.asked.push(Asked {
                conversation,
                messages,
            });
        }
        (!ask.questions.is_empty()).then_some(ask)
    }

    /// Takes the verdicts on a request, and what they free.
    pub(super) fn judged(
        &mut self,
        asked: Vec<Asked>,
        mut verdicts: impl Iterator<Item = Verdict>,
    ) -> Freed {
        let mut freed = Freed::default();
        for Asked {
            conversation,
            messages,
        } in asked
        {
            for _ in 0..messages {
                let Some(waiting) = self.pop(conversation) else {
                    break;
                };
                let verdict = verdicts.next().unwrap_or(Verdict::Unjudged);
                match &verdict {
                    Verdict::Allow => {}
                    Verdict::Replace(body) => self.replace_repeated(&waiting.send, body),
                    Verdict::Deny | Verdict::Unjudged => {
                        for repeated in self.take_repeated(&waiting.send) {
                            freed.judge(repeated, verdict.clone());
                        }
                    }
                }
                freed.judge(waiting, verdict);
            }
            while let Some(next) = self.first(conversation)
                && !next.send.needs_verdict
            {
                if let Some(waiting) = self.pop(conversation) {
                    freed.add(waiting);
                }
            }
            if self.first(conversation).is_some() {
                self.ready.push_back(conversation);
            } else {
                self.lanes.remove(&conversation);
            }
        }
        freed
    }

    fn first(&self, conversation: Conversation) -> Option<&Waiting> {
        self.lanes.get(&conversation)?.waiting.front()
    }

    fn pop(&mut self, conversation: Conversation) -> Option<Waiting> {
        let lane = self.lanes.get_mut(&conversation)?;
        let waiting = lane.waiting.pop_front()?;
        lane.bytes -= waiting.bytes;
        self.left(&waiting);
        Some(waiting)
    }

    /// A message waits no more.
    fn left(&mut self, waiting: &Waiting) {
        let bytes = waiting.bytes;
        self.messages -= 1;
        self.bytes -= bytes;
        let sender = waiting.send.sender;
        if let Some(of_sender) = self.senders.get_mut(&sender) {
            *of_sender -= bytes;
            if *of_sender == 0 {
                self.senders.remove(&sender);
            }
        }
    }

    /// What waits behind a message and is the same one, sent again.
    fn take_repeated(&mut self, of: &Incoming) -> Vec<Waiting> {
        let Some(lane) = self.lanes.get_mut(&of.conversation) else {
            return Vec::new();
        };
        let all = std::mem::take(&mut lane.waiting).into_iter();
        let (taken, rest): (Vec<_>, Vec<_>) = all.partition(|it| is_repeated(of, &it.send));
        lane.waiting = rest.into();
        lane.bytes -= taken.iter().map(|it| it.bytes).sum::<usize>();
        for waiting in &taken {
            self.left(waiting);
        }
        taken
    }

    /// What waits behind a message and is the same one says what has replaced it.
    fn replace_repeated(&mut self, of: &Incoming, body: &Bytes) {
        let lane = self.lanes.get_mut(&of.conversation);
        let waiting = lane.into_iter().flat_map(|lane| &mut lane.waiting);
        for repeated in waiting.filter(|it| is_repeated(of, &it.send)) {
            repeated.send.body.clone_from(body);
        }
    }
}

impl Freed {
    fn judge(&mut self, mut waiting: Waiting, verdict: Verdict) {
        let reason = match verdict {
            Verdict::Allow => None,
            Verdict::Replace(body) => {
                waiting.send.body = body;
                None
            }
            Verdict::Deny => Some(RejectReason::Filtered),
            Verdict::Unjudged => Some(RejectReason::Unjudged),
        };
        let Some(reason) = reason else {
            waiting.send.needs_verdict = false;
            self.add(waiting);
            return;
        };
        self.denied.push(Denied {
            tag: waiting.send.tag,
            sink: waiting.sink,
            reason,
        });
    }

    /// Adds a message that is to be stored behind those before.
    fn add(&mut self, waiting: Waiting) {
        let Waiting { send, sink, .. } = waiting;
        match self.batches.last_mut() {
            Some(last) if last.sends.len() < MAX_JOB_SENDS && is_same(&last.sink, &sink) => {
                last.sends.push(send);
            }
            _ => self.batches.push(SendBatch::judged(vec![send], sink)),
        }
    }
}

/// Whether both are one message that its client has sent twice.
fn is_repeated(one: &Incoming, other: &Incoming) -> bool {
    let key = |send: &Incoming| send.key.as_ref().map(|it| it.key);
    key(one).is_some() && key(one) == key(other)
}

fn weight(send: &Incoming) -> usize {
    // What replaces a body comes when it has left.
    send.body.len() + MESSAGE
}

fn is_same(one: &Arc<dyn SendSink>, other: &Arc<dyn SendSink>) -> bool {
    Arc::as_ptr(one).cast::<()>() == Arc::as_ptr(other).cast::<()>()
}

#[cfg(test)]
mod tests;
