//! One link to a route server: sends what has gathered while earlier batches were in flight.

use std::collections::VecDeque;
use std::time::Duration;

use im_order::CommitSeq;
use im_proto_rpc::v1;
use im_rpc::Link;
use im_trace::{Hop, Step, note};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Publisher;
use super::shards::Registered;

impl Publisher {
    /// Serves a link until it ends or `stop` fires; then forgets it.
    pub(super) async fn run_link(
        self,
        mut link: Link<v1::PublishBatch, v1::PublishReplies>,
        registered: Registered,
        stop: CancellationToken,
    ) {
        self.serve(&mut link, &registered, &stop).await;
        if stop.is_cancelled() {
            // What is queued on the link is sent after the link is dropped.
            self.hand_over_rest(&link, &registered);
        } else {
            link.closed.cancel();
        }
        self.lock().remove(registered.id);
    }

    /// Everything has been published: passes on what still waits, as far as the link takes it.
    fn hand_over_rest(
        &self,
        link: &Link<v1::PublishBatch, v1::PublishReplies>,
        registered: &Registered,
    ) {
        while let Ok(permit) = link.tx.try_reserve() {
            let taken = self.lock().take(registered.id);
            let Some(batch) = taken else { return };
            note_published(&batch);
            permit.send(batch);
        }
    }

    async fn serve(
        &self,
        link: &mut Link<v1::PublishBatch, v1::PublishReplies>,
        registered: &Registered,
        stop: &CancellationToken,
    ) {
        let config = &self.0.config;
        let interval = config
            .position_interval
            .duration()
            .max(Duration::from_millis(1));
        let mut flight = Flight::default();
        let mut next_word = Instant::now() + interval;
        loop {
            let ready = self.lock().has_work(registered.id);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = link.closed.cancelled() => return,
                replies = link.rx.recv() => match replies {
                    Some(replies) => {
                        let confirmed = CommitSeq::from_wire(replies.confirmed);
                        flight.confirmed(confirmed);
                        let mut shards = self.lock();
                        shards.confirmed(registered.id, confirmed);
                        for list in replies.lists {
                            shards.session_list(registered.id, list);
                        }
                    }
                    None => return,
                },
                permit = link.tx.reserve(), if ready && flight.len() < config.in_flight.max(1) => {
                    let Ok(permit) = permit else { return };
                    let taken = self.lock().take(registered.id);
                    if let Some(batch) = taken {
                        flight.sent(CommitSeq::from_wire(batch.through));
                        note_published(&batch);
                        permit.send(batch);
                        next_word = Instant::now() + interval;
                    }
                }
                () = registered.wake.notified(), if !ready => {}
                () = tokio::time::sleep_until(next_word), if !ready => {
                    self.lock().announce(registered.id);
                    next_word = Instant::now() + interval;
                }
            }
        }
    }
}

/// A batch leaves for a route server.
fn note_published(batch: &v1::PublishBatch) {
    for item in &batch.items {
        if let Some(v1::publish_item::Item::Message(message)) = &item.item {
            let hop = Hop {
                position: message.seq,
                ..Hop::of(Step::Published)
            };
            note(message.trace, hop);
        }
    }
}

/// Batches that were sent and not confirmed, by their positions. A batch that does not go beyond
/// what is confirmed cannot be confirmed by a position, and is not waited for.
#[derive(Debug, Default)]
struct Flight {
    sent: VecDeque<CommitSeq>,
    confirmed: Option<CommitSeq>,
}

impl Flight {
    fn sent(&mut self, through: CommitSeq) {
        if self.confirmed.is_none_or(|confirmed| through > confirmed) {
            self.sent.push_back(through);
        }
    }

    fn confirmed(&mut self, position: CommitSeq) {
        self.confirmed = self.confirmed.max(Some(position));
        while self.sent.front().is_some_and(|sent| *sent <= position) {
            self.sent.pop_front();
        }
    }

    fn len(&self) -> usize {
        self.sent.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_in_flight_until_its_position_is_confirmed() {
        let mut flight = Flight::default();
        flight.sent(CommitSeq::START);
        assert_eq!(flight.len(), 1);
        flight.confirmed(CommitSeq::START);
        flight.sent(CommitSeq::from_wire(3));
        flight.sent(CommitSeq::from_wire(5));
        flight.confirmed(CommitSeq::from_wire(4));
        assert_eq!(flight.len(), 1);
        flight.confirmed(CommitSeq::from_wire(5));
        flight.sent(CommitSeq::from_wire(5));
        assert_eq!(flight.len(), 0, "a position that is confirmed already");
    }
}
