//! Keeps one link to every endpoint that discovery lists, for ever.
//!
//! Each endpoint has a task that dials with capped, jittered backoff, hands the link to the owner,
//! waits for its end, says so, and dials again. Endpoints that leave the list are closed and
//! forgotten, new ones are dialed at once.
//!
//! *Invariant*: for one peer the owner sees Up, Down, Up, Down, …, starting with Up, and a Down for
//! every Up unless everything stops.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use im_config::LinkConfig;
use im_core::{Backoff, Chain};
use im_discovery::{Discover, Endpoint, StaticList};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, info, info_span, warn};

use crate::grpc::{GrpcConnect, LinkKind};
use crate::link::{Accept, Dial, DialError, Link};
use crate::local::LocalConnect;
use crate::metrics::{DialResult, LinkMetrics};
use crate::secret::Secret;

/// What happens to the link to a peer.
#[derive(Debug)]
pub enum PeerEvent<Out, In> {
    /// A link is there; `link.peer` is the peer's name.
    Up(Link<Out, In>),
    /// The link of this peer is gone. It is being dialed again unless it left the list.
    Down {
        /// Name of the peer.
        peer: String,
    },
}

/// Makes dialers for endpoints.
pub trait Connect<Out, In>: Send + Sync + 'static {
    /// A dialer of this endpoint; its name is the endpoint's.
    fn dialer(&self, endpoint: &Endpoint) -> Arc<dyn Dial<Out, In>>;
}

/// The peers of one role, as another role depends on them: who they are and how to reach them.
pub struct Peers<Out, In> {
    discover: Arc<dyn Discover>,
    connect: Arc<dyn Connect<Out, In>>,
}

impl<Out, In> Clone for Peers<Out, In> {
    fn clone(&self) -> Self {
        Self {
            discover: Arc::clone(&self.discover),
            connect: Arc::clone(&self.connect),
        }
    }
}

impl<Out, In> fmt::Debug for Peers<Out, In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

/// What [`Peers::watch`] needs besides the peers.
#[derive(Clone, Debug)]
pub struct Watch<'a> {
    /// Kind of these links, for logs and metrics.
    pub link: im_role::Link,
    /// Bounds and waits.
    pub config: &'a LinkConfig,
    /// Counters.
    pub metrics: &'a LinkMetrics,
    /// Every task is spawned here.
    pub tasks: &'a TaskTracker,
    /// Stops dialing and ends the events. Open links are left to their owner.
    pub stop: CancellationToken,
}

impl<Out: Send + 'static, In: Send + 'static> Peers<Out, In> {
    /// Peers that `discover` lists and `connect` reaches.
    pub fn new(discover: Arc<dyn Discover>, connect: Arc<dyn Connect<Out, In>>) -> Self {
        Self { discover, connect }
    }

    /// One peer inside this process, known as `name`.
    pub fn local(name: &str, accept: Arc<dyn Accept<In, Out>>, config: &LinkConfig) -> Self {
        let only = Endpoint {
            name: name.to_owned(),
            address: name.to_owned(),
        };
        let connect = LocalConnect {
            accept,
            queue: config.queue_batches,
        };
        Self::new(Arc::new(StaticList::new(vec![only])), Arc::new(connect))
    }

    /// Peers reached over gRPC with the installation's secret.
    pub fn grpc<K>(discover: Arc<dyn Discover>, secret: &Secret, config: &LinkConfig) -> Self
    where
        K: LinkKind<Call = Out, Item = In>,
    {
        Self::new(
            discover,
            Arc::new(GrpcConnect::<K>::new(secret.clone(), config.clone())),
        )
    }

    /// Starts dialing. Events arrive until `stop` fires and must be received: a full channel (16)
    /// holds up further dialing, nothing else.
    pub fn watch(&self, watch: Watch<'_>) -> mpsc::Receiver<PeerEvent<Out, In>> {
        let (events, receiver) = mpsc::channel(16);
        let keeper = Keeper {
            link: watch.link,
            config: watch.config.clone(),
            metrics: watch.metrics.clone(),
            events,
        };
        let endpoints = self.discover.watch();
        let connect = Arc::clone(&self.connect);
        let discover = Arc::clone(&self.discover);
        let tasks = watch.tasks.clone();
        let stop = watch.stop;
        watch.tasks.spawn(async move {
            follow(endpoints, connect, Arc::new(keeper), tasks, stop).await;
            drop(discover);
        });
        receiver
    }
}

/// Starts and stops one task per endpoint, as the list changes.
async fn follow<Out: Send + 'static, In: Send + 'static>(
    mut endpoints: watch::Receiver<Vec<Endpoint>>,
    connect: Arc<dyn Connect<Out, In>>,
    keeper: Arc<Keeper<Out, In>>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let mut kept: HashMap<String, Kept> = HashMap::new();
    loop {
        let listed = endpoints.borrow_and_update().clone();
        let gone: Vec<String> = kept
            .iter()
            .filter(|(_, kept)| !listed.contains(&kept.endpoint))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(Kept { stop, done, .. }) = kept.remove(&name) {
                stop.cancel();
                // A successor under the same name starts only after its last event.
                done.cancelled().await;
            }
        }
        for endpoint in listed {
            if kept.contains_key(&endpoint.name) {
                continue;
            }
            let (gone, done) = (CancellationToken::new(), CancellationToken::new());
            let dialer = connect.dialer(&endpoint);
            let finished = done.clone().drop_guard();
            let (keeper, stop, removed) = (Arc::clone(&keeper), stop.clone(), gone.clone());
            tasks.spawn(async move {
                keeper.keep(dialer, stop, removed).await;
                drop(finished);
            });
            kept.insert(
                endpoint.name.clone(),
                Kept {
                    endpoint,
                    stop: gone,
                    done,
                },
            );
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = endpoints.changed() => if changed.is_err() {
                // Nobody can change the list any more.
                stop.cancelled().await;
                return;
            },
        }
    }
}

struct Kept {
    endpoint: Endpoint,
    stop: CancellationToken,
    done: CancellationToken,
}

struct Keeper<Out, In> {
    link: im_role::Link,
    config: LinkConfig,
    metrics: LinkMetrics,
    events: mpsc::Sender<PeerEvent<Out, In>>,
}

/// Between half of a wait and all of it, so that links that were cut together are not dialed together.
fn with_jitter(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(0.5..=1.0))
}

impl<Out: Send + 'static, In: Send + 'static> Keeper<Out, In> {
    /// Keeps a link to one peer until `stop` (everything stops, links are left alone) or `removed`
    /// (the peer left the list, its link is closed).
    async fn keep(
        &self,
        dialer: Arc<dyn Dial<Out, In>>,
        stop: CancellationToken,
        removed: CancellationToken,
    ) {
        let mut backoff = Backoff::new(
            self.config.backoff_min.duration(),
            self.config.backoff_max.duration(),
        );
        let mut trouble = Trouble::None;
        loop {
            let attempt = tokio::select! {
                () = stop.cancelled() => return,
                () = removed.cancelled() => return,
                attempt = dialer.dial() => attempt,
            };
            match attempt {
                Ok(link) => {
                    self.metrics.dialed(self.link, DialResult::Up);
                    info!(kind = self.link.kind, peer = dialer.peer(), "link is up");
                    trouble = Trouble::None;
                    let since = Instant::now();
                    let span = info_span!("link", kind = self.link.kind, peer = dialer.peer());
                    let held = self.hold(link, dialer.peer(), &stop, &removed);
                    if !held.instrument(span).await {
                        return;
                    }
                    info!(kind = self.link.kind, peer = dialer.peer(), "link is down");
                    backoff.survived(since.elapsed());
                }
                Err(error) => self.failed(&error, dialer.peer(), &mut trouble),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = removed.cancelled() => return,
                () = tokio::time::sleep(with_jitter(backoff.step())) => {}
            }
        }
    }

    /// Hands the link over and waits for its end. False when dialing is over.
    async fn hold(
        &self,
        link: Link<Out, In>,
        peer: &str,
        stop: &CancellationToken,
        removed: &CancellationToken,
    ) -> bool {
        let closed = link.closed.clone();
        let held = self.metrics.hold_dialed(self.link);
        if !self.tell(PeerEvent::Up(link), stop).await {
            return false;
        }
        tokio::select! {
            () = stop.cancelled() => return false,
            () = closed.cancelled() => {}
            () = removed.cancelled() => closed.cancel(),
        }
        drop(held);
        self.tell(
            PeerEvent::Down {
                peer: peer.to_owned(),
            },
            stop,
        )
        .await
            && !removed.is_cancelled()
    }

    async fn tell(&self, event: PeerEvent<Out, In>, stop: &CancellationToken) -> bool {
        matches!(
            stop.run_until_cancelled(self.events.send(event)).await,
            Some(Ok(()))
        )
    }

    /// Counts every failure; logs the first of a kind in a row.
    fn failed(&self, error: &DialError, peer: &str, trouble: &mut Trouble) {
        let kind = self.link.kind;
        let now = match error {
            DialError::Refused { .. } => {
                self.metrics.dialed(self.link, DialResult::Refused);
                Trouble::Refused
            }
            DialError::Unreachable { .. } => {
                self.metrics.dialed(self.link, DialResult::Unreachable);
                Trouble::Unreachable
            }
        };
        if *trouble == now {
            debug!(kind, peer, error = %Chain(error), "dial failed again");
        } else {
            warn!(kind, peer, error = %Chain(error), "dial failed");
        }
        *trouble = now;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    Unreachable,
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_leaves_a_wait_between_half_of_it_and_all() {
        let wait = Duration::from_millis(100);
        let waits: Vec<_> = (0..100).map(|_| with_jitter(wait)).collect();
        assert!(waits.iter().all(|it| (wait / 2..=wait).contains(it)));
        assert!(waits.iter().any(|it| *it != waits[0]), "they differ");
    }
}
