//! All incoming links as one stream of inputs.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use im_proto_rpc::v1::{PresenceAsks, PublishBatch, RouteCalls};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Names a link inside this process, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LinkId(pub(super) u64);

/// What came over a link.
#[derive(Debug)]
pub(super) enum Input {
    Calls(LinkId, RouteCalls),
    Publish(LinkId, PublishBatch),
    Asks(LinkId, PresenceAsks),
    /// Nothing more will come.
    Gone(LinkId),
}

/// The receiving half of a link: its inputs, then [`Input::Gone`], then the end. What arrived before
/// the link was closed still comes.
pub(super) struct Inputs<T> {
    id: LinkId,
    wrap: fn(LinkId, T) -> Input,
    /// `None` after the end.
    open: Option<(mpsc::Receiver<T>, Pin<Box<WaitForCancellationFutureOwned>>)>,
}

impl<T> Inputs<T> {
    pub(super) fn new(
        id: LinkId,
        rx: mpsc::Receiver<T>,
        closed: CancellationToken,
        wrap: fn(LinkId, T) -> Input,
    ) -> Self {
        Self {
            id,
            wrap,
            open: Some((rx, Box::pin(closed.cancelled_owned()))),
        }
    }
}

impl<T> Stream for Inputs<T> {
    type Item = Input;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Input>> {
        let this = self.get_mut();
        let Some((rx, closed)) = &mut this.open else {
            return Poll::Ready(None);
        };
        match rx.poll_recv(cx) {
            Poll::Ready(Some(batch)) => return Poll::Ready(Some((this.wrap)(this.id, batch))),
            Poll::Ready(None) => {}
            Poll::Pending if closed.as_mut().poll(cx).is_ready() => {}
            Poll::Pending => return Poll::Pending,
        }
        this.open = None;
        Poll::Ready(Some(Input::Gone(this.id)))
    }
}
