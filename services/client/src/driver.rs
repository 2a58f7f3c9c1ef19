//! The task behind a client: connects, runs one session after the other, and reconnects.
//!
//! It owns everything that outlives a connection: the sequence numbers, the unacknowledged
//! messages, the queues. The handles talk to it over bounded channels only.

mod link;
mod outbox;
mod pending;
mod push;
mod session;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use im_codec::Command;
use im_proto_teamtalk::base::UserInfo;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::client::SendAck;
use crate::config::{ClientConfig, Lookup, Reconnect};
use crate::error::Error;
use crate::event::{Event, EventSink, Events};
use crate::profile::Seqs;
use link::{Finder, Link};
use outbox::Outbox;
use session::End;

/// What a waiting caller gets.
pub(crate) type Reply<T> = Result<T, Error>;

/// What a handle asks the driver for.
#[derive(Debug)]
pub(crate) enum Request {
    /// A request with an answer; the answer's body goes back.
    Ask {
        command: Command,
        answer: Command,
        seq: Option<u16>,
        body: Bytes,
        reply: oneshot::Sender<Reply<Bytes>>,
    },
    /// Something without an answer.
    Tell { command: Command, body: Bytes },
    /// Lose the connection.
    Break,
}

/// A message that waits for its turn.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) to_session_id: u32,
    pub(crate) msg_type: i32,
    pub(crate) data: Bytes,
    pub(crate) client_msg_id: Option<[u8; 16]>,
    pub(crate) reply: oneshot::Sender<Reply<SendAck>>,
}

/// What handles can see at any time.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) connected: bool,
    pub(crate) address: String,
    pub(crate) user: UserInfo,
}

/// A client that is logged in and only needs its driver to be run.
pub(crate) struct Start<F> {
    pub(crate) driver: F,
    pub(crate) user_id: u32,
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) sends: mpsc::Sender<Outgoing>,
    pub(crate) state: watch::Receiver<State>,
    pub(crate) events: Events,
}

/// Connects and logs in for the first time.
pub(crate) async fn start(
    config: Arc<ClientConfig>,
    stop: CancellationToken,
) -> Result<Start<impl Future<Output = ()> + Send + 'static>, Error> {
    let mut finder = Finder::new(&config.server);
    let mut seqs = Seqs::new(config.profile, rand::random());
    let link = link::open(&config, &mut finder, &mut seqs, |_| false).await?;
    let user_id = link.user.user_id;

    let (request_sender, requests) = mpsc::channel(config.queue_capacity.max(1));
    let (send_sender, sends) = mpsc::channel(config.queue_capacity.max(1));
    let (state_sender, state) = watch::channel(State::default());
    let (sink, events) = EventSink::new(config.event_capacity);
    let driver = Driver {
        outbox: Outbox::new(config.sending),
        config,
        finder,
        seqs,
        requests,
        sends,
        events: sink,
        state: state_sender,
        stop,
    };
    // Before the driver runs, so that the handle never sees itself unconnected.
    driver.announce(&link);
    Ok(Start {
        driver: driver.run(link),
        user_id,
        requests: request_sender,
        sends: send_sender,
        state,
        events,
    })
}

/// See the module.
struct Driver {
    config: Arc<ClientConfig>,
    finder: Finder,
    seqs: Seqs,
    outbox: Outbox,
    requests: mpsc::Receiver<Request>,
    sends: mpsc::Receiver<Outgoing>,
    events: EventSink,
    state: watch::Sender<State>,
    stop: CancellationToken,
}

impl Driver {
    async fn run(mut self, mut link: Link) {
        let end = loop {
            self.events.emit(Event::Connected {
                address: link.address.clone(),
                user: Box::new(link.user.clone()),
            });
            let end = self.session(link).await;
            self.state.send_modify(|state| state.connected = false);
            let lost = match end {
                End::Lost(error) => error,
                End::Kicked(reason) => {
                    self.events.emit(Event::Kick { reason });
                    break Some(Error::Kicked { reason });
                }
                End::Stopped => break None,
            };
            if !self.config.sending.across_reconnects {
                self.outbox.fail_all();
            }
            let Some(reconnect) = self.config.reconnect else {
                break Some(lost);
            };
            match self.reconnect(reconnect, lost).await {
                Ok(next) => link = next,
                Err(error) => break error,
            }
        };
        self.events.emit(Event::Closed { error: end });
    }

    fn announce(&self, link: &Link) {
        self.state.send_replace(State {
            connected: true,
            address: link.address.clone(),
            user: link.user.clone(),
        });
    }

    /// Tries until it is connected; ends with a final error, or without one when it was stopped.
    async fn reconnect(
        &mut self,
        reconnect: Reconnect,
        mut lost: Error,
    ) -> Result<Link, Option<Error>> {
        let mut step = reconnect.first.min(reconnect.longest);
        loop {
            let wait = if reconnect.jitter {
                step.mul_f64(rand::random_range(0.5..1.0))
            } else {
                step
            };
            let wait = match &lost {
                Error::Busy { retry_after } => wait.max(*retry_after),
                _ => wait,
            };
            self.events.emit(Event::Disconnected {
                error: lost,
                retry_in: wait,
            });
            self.pause(wait).await?;
            match reconnect.lookup {
                Lookup::Always => self.finder.forget(),
                Lookup::AfterStep(limit) if step > limit => self.finder.forget(),
                Lookup::AfterStep(_) | Lookup::Never => {}
            }
            let outbox = &self.outbox;
            let in_use = |seq| outbox.uses(seq);
            let attempt = link::open(&self.config, &mut self.finder, &mut self.seqs, in_use);
            let Some(outcome) = self.stop.run_until_cancelled(attempt).await else {
                return Err(None);
            };
            match outcome {
                Ok(link) => {
                    self.announce(&link);
                    return Ok(link);
                }
                Err(error) if error.is_retryable() => lost = error,
                Err(error) => return Err(Some(error)),
            }
            step = step.saturating_mul(2).min(reconnect.longest);
        }
    }

    /// Waits between attempts; ends early when the client is stopped or nobody holds it any more.
    async fn pause(&self, wait: Duration) -> Result<(), Option<Error>> {
        // The last handle's drop cancels the token, too.
        self.stop
            .run_until_cancelled(tokio::time::sleep(wait))
            .await
            .ok_or(None)
    }
}
