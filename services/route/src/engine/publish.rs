//! What the writer says, and the spreading of its log over msg servers.

use futures::stream::StreamExt;
use im_order::{CommitSeq, Span};
use im_proto_rpc::v1::publish_item::Item as Published;
use im_proto_rpc::v1::route_item::Item;
use im_proto_rpc::v1::{
    Audience, ListSessions, LiveMessage, PublishBatch, PublishReplies, SessionList,
};
use im_rpc::{Link, batch};
use im_trace::{Hop, Step, Trace, hop, note};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::inputs::{Input, Inputs, LinkId};
use super::{Engine, WRITER_LINK};
use crate::directory::Except;

/// Session lists that may wait for room on the writer's link: one per operator's question.
const MAX_WAITING_LISTS: usize = 64;

/// The link of the writer.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) link: LinkId,
    pub(super) peer: String,
    tx: mpsc::Sender<PublishReplies>,
    closed: CancellationToken,
    /// Nothing has come over it yet.
    fresh: bool,
    /// To be said when there is room.
    confirmed: Option<CommitSeq>,
    lists: Vec<SessionList>,
    /// Bytes of a batch of replies.
    batch_bytes: usize,
}

impl Writer {
    /// Says what is to be said, if there is room.
    pub(super) fn reply(&mut self) {
        if self.confirmed.is_none() && self.lists.is_empty() {
            return;
        }
        let lists = std::mem::take(&mut self.lists);
        let confirmed = self.confirmed.unwrap_or_default().to_wire();
        let mut parts = batch::cut(lists, self.batch_bytes, batch::weight).into_iter();
        // The position goes even without lists.
        let mut next = Some(parts.next().unwrap_or_default());
        while let Some(lists) = next {
            match self.tx.try_send(PublishReplies { confirmed, lists }) {
                // The end of the link comes as an input.
                Ok(()) | Err(TrySendError::Closed(_)) => self.confirmed = None,
                Err(TrySendError::Full(replies)) => {
                    self.lists = replies.lists;
                    self.lists.extend(parts.flatten());
                    if self.lists.len() > MAX_WAITING_LISTS {
                        self.closed.cancel();
                    }
                    return;
                }
            }
            next = parts.next();
        }
    }
}

impl Engine {
    pub(super) fn open_writer(&mut self, id: LinkId, link: Link<PublishReplies, PublishBatch>) {
        let Link {
            tx,
            rx,
            peer,
            closed,
        } = link;
        if let Some(former) = self.writer.take() {
            // A writer that has a new link before the end of the old one was seen.
            warn!(peer = %former.peer, "the writer's link is replaced");
            former.closed.cancel();
        }
        info!(%peer, "the writer has a link");
        self.inputs
            .push(Inputs::new(id, rx, closed.clone(), Input::Publish).boxed());
        let lists = Vec::new();
        self.writer = Some(Writer {
            link: id,
            peer,
            tx,
            closed,
            fresh: true,
            confirmed: None,
            lists,
            batch_bytes: batch::sending_bound(&self.config.link),
        });
        self.metrics.writer_links.set(1);
    }

    /// Without a writer nothing here is complete: everybody learns it at once.
    pub(super) fn writer_gone(&mut self) {
        if let Some(writer) = self.writer.take() {
            warn!(peer = %writer.peer, position = self.at.seq.to_wire(), "the writer's link is lost");
        }
        self.metrics.writer_links.set(0);
        self.set_ring(0);
    }

    pub(super) fn publish(&mut self, link: LinkId, batch: PublishBatch) {
        let Some(writer) = self.writer.as_mut().filter(|writer| writer.link == link) else {
            return;
        };
        let PublishBatch {
            after,
            through,
            ring,
            items,
        } = batch;
        let span = Span::from_wire(after, through);
        let fresh = std::mem::take(&mut writer.fresh);
        if fresh && span.through() < self.at.seq {
            let (from, to) = (self.at.seq.to_wire(), span.through().to_wire());
            warn!(from, to, "the log went back");
            self.at.seq = span.after();
            for outlet in self.outlets.iter_mut().flatten() {
                outlet.go_back_to(self.at.seq);
            }
        }
        if !span.joins(self.at.seq) {
            // What lies between concerns msg servers that nobody here can tell.
            self.metrics.log_gaps.inc();
            self.at.seq = span.after();
            for outlet in self.outlets.iter_mut().flatten() {
                outlet.skip_to(span.after());
            }
        }
        let (mut messages, mut copies) = (0, 0);
        for item in items {
            match item.item {
                Some(Published::Message(message)) => {
                    messages += 1;
                    let (trace, seq) = (Trace::from_wire(message.trace), message.seq);
                    let servers = self.message(message);
                    hop!(trace, "route", seq, servers);
                    // What was handed over leaves behind this batch.
                    let routed = Hop {
                        position: seq,
                        count: u32::try_from(servers).unwrap_or(u32::MAX),
                        ..Hop::of(Step::Routed)
                    };
                    note(trace.to_wire(), routed);
                    copies += servers;
                }
                Some(Published::Event(event)) => self.event(event),
                Some(Published::Kick(kick)) => self.kick(kick),
                Some(Published::ListSessions(question)) => self.list(question),
                // An item that this version does not know.
                None => {}
            }
        }
        self.metrics.messages.inc_by(messages);
        self.metrics.message_copies.inc_by(copies);
        self.at.seq = self.at.seq.max(span.through());
        self.set_ring(ring);
        if let Some(writer) = &mut self.writer {
            writer.confirmed = Some(self.at.seq);
        }
    }

    fn set_ring(&mut self, ring: u64) {
        let before = std::mem::replace(&mut self.at.ring, ring);
        if before == ring {
            return;
        }
        self.flush_all = true;
        self.readiness.dependency(WRITER_LINK, ring != 0);
        if before == 0 {
            self.release_waiting();
        }
    }

    /// Hands a message to the msg servers of its recipients. Returns to how many.
    fn message(&mut self, mut message: LiveMessage) -> u64 {
        let users = std::mem::take(&mut message.recipients);
        // Whose only terminal is the sending one gets nothing: the message does not concern it.
        let sender = Except::Session {
            user: message.from,
            epoch: message.origin,
        };
        self.spread(
            message,
            users,
            Audience::All,
            sender,
            |message, recipients| {
                Item::Message(LiveMessage {
                    recipients,
                    ..message
                })
            },
        )
    }

    /// Hands a copy to each msg server that holds some of these users. The last one gets the item
    /// itself and the list's memory. Returns to how many.
    pub(super) fn spread<T: Clone>(
        &mut self,
        item: T,
        mut users: Vec<u32>,
        audience: Audience,
        except: Except,
        wrap: impl Fn(T, Vec<u32>) -> Item,
    ) -> u64 {
        self.fanout.split(&self.directory, &users, audience, except);
        let touched = self.fanout.touched();
        if let Some((last, others)) = touched.split_last() {
            for server in others {
                let mut own = Vec::new();
                self.fanout.take(*server, &mut own);
                self.push(*server, wrap(item.clone(), own));
            }
            self.fanout.take(*last, &mut users);
            self.push(*last, wrap(item, users));
        }
        let copies = touched.len() as u64;
        self.fanout.reuse(touched);
        copies
    }

    fn list(&mut self, question: ListSessions) {
        let limit = self.config.max_listed_sessions;
        let (sessions, cut) = self.directory.list(question.user, limit);
        if cut {
            self.metrics.cut_lists.inc();
            warn!(limit, "a list of sessions was cut");
        }
        if let Some(writer) = &mut self.writer {
            writer.lists.push(SessionList {
                tag: question.tag,
                sessions,
            });
        }
    }
}
