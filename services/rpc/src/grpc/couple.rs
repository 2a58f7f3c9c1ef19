//! Couples a [`Link`] to the two directions of a gRPC stream.
//!
//! The outbound direction is the link's queue itself, polled by tonic when the peer has room. The
//! inbound direction is a task that waits for room in the link's queue before it reads on, so that a
//! slow owner stops the peer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Code, Streaming};
use tracing::{debug, error, warn};

use crate::batch::Batch;
use crate::link::Link;
use crate::metrics::Held;

/// How long a link that its owner dropped may take to send what was queued and to hear the peer's
/// end.
const LINGER: Duration = Duration::from_secs(5);

/// A link whose far end is still to be coupled.
pub(super) struct Half<Out, In> {
    out: mpsc::Receiver<Out>,
    inbound: mpsc::Sender<In>,
    peer: String,
    closed: CancellationToken,
}

/// Makes a link and the other half of its channels.
pub(super) fn open<Out, In>(peer: String, queue: usize) -> (Link<Out, In>, Half<Out, In>) {
    let (tx, out) = mpsc::channel(queue);
    let (inbound, rx) = mpsc::channel(queue);
    let closed = CancellationToken::new();
    let link = Link {
        tx,
        rx,
        peer: peer.clone(),
        closed: closed.clone(),
    };
    (
        link,
        Half {
            out,
            inbound,
            peer,
            closed,
        },
    )
}

impl<Out: Batch + Send + 'static, In: Send + 'static> Half<Out, In> {
    /// The outbound direction, whose batches have at most `limit` bytes, and what receives the inbound
    /// one.
    pub(super) fn split(self, limit: usize) -> (Outbound<Out>, Inbound<In>) {
        let sent = CancellationToken::new();
        let out = ReceiverStream::new(self.out).take_until(self.closed.clone().cancelled_owned());
        let outbound = Outbound {
            queue: Box::pin(out),
            limit,
            parts: Vec::new().into_iter(),
            peer: self.peer.clone(),
            sent: Some(sent.clone().drop_guard()),
        };
        let inbound = Inbound {
            queue: self.inbound,
            peer: self.peer,
            closed: self.closed,
            sent,
        };
        (outbound, inbound)
    }
}

/// What an end sends, until its link is dropped and drained or is cut.
pub(super) struct Outbound<T> {
    queue: Pin<Box<dyn Stream<Item = T> + Send>>,
    limit: usize,
    /// What is left of a batch that was too large.
    parts: std::vec::IntoIter<T>,
    peer: String,
    sent: Option<DropGuard>,
}

impl<T: Batch> Outbound<T> {
    /// The peer would refuse this batch, and with it the link.
    fn cut(&mut self, batch: T) -> Option<T> {
        let (bytes, limit) = (batch.encoded_len(), self.limit);
        let parts = batch.parts(limit);
        let peer = self.peer.as_str();
        if let Some(larger) = parts.iter().find(|part| part.encoded_len() > limit) {
            let bytes = larger.encoded_len();
            error!(
                peer,
                bytes, limit, "the link ends: one item is above max_batch"
            );
        } else {
            warn!(peer, bytes, limit, parts = parts.len(), "a batch was cut");
        }
        self.parts = parts.into_iter();
        self.parts.next()
    }
}

impl<T: Batch + Unpin> Stream for Outbound<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(part) = self.parts.next() {
            return Poll::Ready(Some(part));
        }
        match self.queue.as_mut().poll_next(cx) {
            Poll::Ready(Some(batch)) if batch.encoded_len() > self.limit => {
                Poll::Ready(self.cut(batch))
            }
            Poll::Ready(None) => {
                self.sent = None;
                Poll::Ready(None)
            }
            polled => polled,
        }
    }
}

/// Receives for a link.
pub(super) struct Inbound<T> {
    queue: mpsc::Sender<T>,
    peer: String,
    closed: CancellationToken,
    /// Fires when the outbound direction has ended.
    sent: CancellationToken,
}

impl<T: Send + 'static> Inbound<T> {
    /// Receives in a task of its own until either end closes the link.
    pub(super) fn spawn(self, stream: Streaming<T>, held: Option<Held>) {
        // Ends with the link: by `closed`, by the peer, or by the owner's dropping it.
        tokio::spawn(async move {
            self.run(stream).await;
            drop(held);
        });
    }

    async fn run(self, mut stream: Streaming<T>) {
        let Self {
            queue,
            peer,
            closed,
            sent,
        } = self;
        // However this ends, and should it panic, the link is closed then.
        let ended = closed.clone().drop_guard();
        tokio::select! {
            () = closed.cancelled() => return,
            () = deliver(&mut stream, &queue, &peer) => {}
        }
        if queue.is_closed() {
            // The owner is gone. What he queued is sent, what the peer still says is not wanted.
            let bye = async {
                let heard = async { while let Ok(Some(_)) = stream.message().await {} };
                tokio::join!(sent.cancelled(), heard)
            };
            tokio::select! {
                () = closed.cancelled() => {}
                _ = tokio::time::timeout(LINGER, bye) => {}
            }
        }
        drop(ended);
    }
}

/// Hands batches on until the peer ends the stream or the owner drops the link.
async fn deliver<T>(stream: &mut Streaming<T>, queue: &mpsc::Sender<T>, peer: &str) {
    loop {
        let received = tokio::select! {
            () = queue.closed() => return,
            received = stream.message() => received,
        };
        match received {
            Ok(Some(batch)) => {
                if queue.send(batch).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(status) if status.code() == Code::OutOfRange => {
                warn!(
                    peer,
                    reason = status.message(),
                    "the link ends: a batch is too large"
                );
                return;
            }
            Err(status) => {
                debug!(peer, code = ?status.code(), reason = status.message(), "stream failed");
                return;
            }
        }
    }
}
