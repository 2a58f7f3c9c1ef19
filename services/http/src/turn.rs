//! Bodies that say whose turn it is.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Frame, SizeHint};

use crate::pace::{Pace, Turn};

/// Among the extensions of an answer: its body comes as things happen, so that there is no least rate. A client
/// that takes nothing of what there is for the grace is closed all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live;

/// A body while which it is the client's turn: to send it, from the first look at it on, or to take it.
#[derive(Debug)]
pub struct InTurn<B> {
    body: B,
    pace: Pace,
    turn: Turn,
    has_begun: bool,
}

impl<B> InTurn<B> {
    /// What a client sends. Until somebody wants it, its time does not run.
    pub(crate) const fn sending(body: B, pace: Pace) -> Self {
        Self {
            body,
            pace,
            turn: Turn::Sending,
            has_begun: false,
        }
    }

    /// What a client takes, from now on.
    pub(crate) fn taking(body: B, pace: Pace) -> Self {
        pace.begin(Turn::Taking);
        Self {
            body,
            pace,
            turn: Turn::Taking,
            has_begun: true,
        }
    }

    /// What a client takes as it comes: only what it does not take at all counts.
    pub(crate) const fn live(body: B, pace: Pace) -> Self {
        Self {
            body,
            pace,
            turn: Turn::Taking,
            has_begun: false,
        }
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.has_begun) {
            self.pace.end(self.turn);
        }
    }
}

impl<B> Drop for InTurn<B> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<B: Body + Unpin> Body for InTurn<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if self.turn == Turn::Sending && !self.has_begun {
            self.has_begun = true;
            self.pace.begin(Turn::Sending);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if self.turn == Turn::Sending && !matches!(frame, Some(Ok(_))) {
            self.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::time::Instant;

    use super::*;

    /// So many frames of one byte.
    struct Frames(usize);

    impl Body for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let Some(left) = self.0.checked_sub(1) else {
                return Poll::Ready(None);
            };
            self.0 = left;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    fn poll(body: &mut InTurn<Frames>) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(body).poll_frame(&mut cx).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_the_turn_while_somebody_waits_for_its_body_or_it_takes_the_answer() {
        let pace = Pace::new(Duration::from_secs(1), 1);
        let whose = || pace.broken(Instant::now() + Duration::from_secs(9));
        let mut body = InTurn::sending(Frames(1), pace.clone());
        assert_eq!(whose(), None, "nobody wants it yet");
        poll(&mut body);
        assert_eq!(whose(), Some(Turn::Sending));
        poll(&mut body);
        assert_eq!(whose(), None, "it is whole");
        let answer = InTurn::taking(Frames(1), pace.clone());
        drop(body);
        assert_eq!(whose(), Some(Turn::Taking));
        drop(answer);
        assert_eq!(whose(), None);
        let mut given_up = InTurn::sending(Frames(5), pace.clone());
        poll(&mut given_up);
        drop(given_up);
        assert_eq!(whose(), None);
    }
}
