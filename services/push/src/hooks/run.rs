//! Holds the name, and has a task for each subscription.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use im_codec::text::TextCipher;
use im_config::{HookReach, PushConfig, SubscriptionsConfig, TrustConfig};
use im_core::Chain;
use im_follower::{Calls, Ended};
use im_proto_rpc::v1::{DeliveryState, FollowCalls, FollowItems, Hook, HookList, SubscribedLog};
use im_rpc::PeerEvent;
use rustls::ClientConfig;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use super::courier::{Courier, Shared, Stopped};
use super::line::Line;
use super::metrics::{Counted, HookMetrics};
use super::tail::{self, Page};
use super::{CALLS, again, passing};
use im_outbound::trust::{self, TrustError};

/// Name of the follower under which deliveries are made.
const NAME: &str = "subscriptions";

/// Delivers to subscriptions.
pub(crate) struct Deliveries {
    config: Arc<SubscriptionsConfig>,
    reach: HookReach,
    tls: ClientConfig,
    max_answer: usize,
    metrics: HookMetrics,
}

impl Deliveries {
    /// Prepares TLS.
    ///
    /// # Errors
    /// Certificates cannot be read.
    pub(crate) fn new(
        config: &PushConfig,
        trust: &TrustConfig,
        metrics: HookMetrics,
    ) -> Result<Self, TrustError> {
        Ok(Self {
            config: Arc::new(config.subscriptions.clone()),
            reach: trust.hook_reach(),
            tls: trust::client(trust)?,
            max_answer: config.max_answer.as_usize(),
            metrics,
        })
    }

    /// Delivers over whatever link there is until `stop`; `linked` hears whether there is one. What is under
    /// way at the end comes again.
    pub(crate) async fn run(
        self,
        mut peers: mpsc::Receiver<PeerEvent<FollowCalls, FollowItems>>,
        linked: impl Fn(bool) + Send + Sync,
        stop: CancellationToken,
    ) {
        while let Some(Some(event)) = stop.run_until_cancelled(peers.recv()).await {
            if let PeerEvent::Up(link) = event {
                linked(true);
                let calls = Calls::over(link);
                let ended = tokio::select! {
                    Err(ended) = self.serve(&calls) => Some(ended),
                    () = calls.ended() => Some(Ended::Gone),
                    () = stop.cancelled() => None,
                };
                calls.end();
                self.metrics.holds.set(0);
                linked(false);
                if let Some(error) = ended {
                    warn!(error = %Chain(&error), "deliveries to subscriptions begin anew");
                }
            }
        }
    }

    /// Delivers over one link; with it, its tasks go.
    async fn serve(&self, calls: &Calls) -> Result<std::convert::Infallible, Ended> {
        let held = calls.hold(NAME, Duration::ZERO).await?;
        info!(epoch = held.epoch, "delivers to subscriptions");
        self.metrics.holds.set(1);
        let [messages, changes, sessions] = std::array::from_fn(|_| Newest::default());
        let shared = Shared {
            calls: calls.clone(),
            permits: Semaphore::new(CALLS),
            messages: messages.page.subscribe(),
            changes: changes.page.subscribe(),
            sessions: sessions.page.subscribe(),
            config: Arc::clone(&self.config),
            reach: self.reach.clone(),
            tls: self.tls.clone(),
            max_answer: self.max_answer,
            cipher: self.config.text.then(TextCipher::default),
            metrics: self.metrics.clone(),
        };
        let mut tasks = Tasks {
            shared: Arc::new(shared),
            messages,
            changes,
            sessions,
            lines: HashMap::new(),
            last: 0,
            running: JoinSet::new(),
        };
        loop {
            let list = calls.hooks().await?;
            tasks.follow(list);
            let next = tokio::time::sleep(self.config.look_every.duration());
            tokio::pin!(next);
            loop {
                tokio::select! {
                    () = &mut next => break,
                    Some(done) = tasks.running.join_next() => tasks.done(done)?,
                }
            }
        }
    }
}

/// Which task of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Tail,
    Line,
    Again,
}

/// A task that has ended: which, its number, and why.
type Done = (What, u64, Result<(), Stopped>);

/// The tasks of one subscription.
struct Running {
    /// Of the subscription as it was listed.
    epoch: u64,
    courier: Arc<Courier>,
    line: u64,
    /// Of the delivery that is made again.
    again: Option<u64>,
    stop: DropGuard,
    _counted: Counted,
}

/// The newest page of a log.
struct Newest {
    page: Arc<watch::Sender<Arc<Page>>>,
    /// Follows the log while there is a subscription to it.
    follows: Option<DropGuard>,
}

impl Default for Newest {
    fn default() -> Self {
        Self {
            page: Arc::new(watch::Sender::new(Arc::new(Page::default()))),
            follows: None,
        }
    }
}

struct Tasks {
    shared: Arc<Shared>,
    messages: Newest,
    changes: Newest,
    sessions: Newest,
    /// By subscription and log.
    lines: HashMap<(u32, SubscribedLog), Running>,
    last: u64,
    running: JoinSet<Done>,
}

impl Tasks {
    /// Begins and ends tasks, so that each subscription has its own as it is now.
    fn follow(&mut self, list: HookList) {
        let HookList {
            hooks,
            end,
            changes_end,
            sessions_end,
        } = list;
        self.lines.retain(|place, running| {
            let mut same = hooks.iter().filter(|hook| place_of(hook) == *place);
            same.any(|hook| hook.epoch == running.epoch)
        });
        for (log, end) in [
            (SubscribedLog::Messages, end),
            (SubscribedLog::Changes, changes_end),
            (SubscribedLog::Sessions, sessions_end),
        ] {
            let is_wanted = hooks.iter().any(|hook| hook.log() == log);
            let newest = self.newest(log);
            if !is_wanted {
                newest.follows = None;
            } else if newest.follows.is_none() {
                self.begin_tail(log, end);
            }
        }
        for hook in hooks {
            self.begin(hook);
        }
    }

    const fn newest(&mut self, log: SubscribedLog) -> &mut Newest {
        match log {
            SubscribedLog::Messages => &mut self.messages,
            SubscribedLog::Changes => &mut self.changes,
            SubscribedLog::Sessions => &mut self.sessions,
        }
    }

    fn begin_tail(&mut self, log: SubscribedLog, end: u64) {
        let page = Arc::clone(&self.newest(log).page);
        page.send_replace(Arc::new(Page {
            after: end,
            through: end,
            entries: Vec::new(),
        }));
        let stop = CancellationToken::new();
        let (calls, config) = (self.shared.calls.clone(), Arc::clone(&self.shared.config));
        let following = tail::follow(calls, log, page, config);
        let task = async move { following.await.map_err(Stopped::from) };
        self.spawn(What::Tail, &stop, task);
        self.newest(log).follows = Some(stop.drop_guard());
    }

    fn begin(&mut self, hook: Hook) {
        let place = place_of(&hook);
        let again = hook
            .deliveries
            .iter()
            .find(|row| row.state() == DeliveryState::Again)
            .cloned();
        if !self.lines.contains_key(&place) {
            let epoch = hook.epoch;
            let Some(courier) = Courier::new(Arc::clone(&self.shared), hook) else {
                return;
            };
            let courier = Arc::new(courier);
            let stop = CancellationToken::new();
            let line = if place.1 == SubscribedLog::Sessions {
                let passing = passing::run(Arc::clone(&courier));
                let task = async move { passing.await.map(|never| match never {}) };
                self.spawn(What::Line, &stop, task)
            } else {
                let line = Line::new(Arc::clone(&courier));
                let task = async move { line.run().await.map(|never| match never {}) };
                self.spawn(What::Line, &stop, task)
            };
            let running = Running {
                epoch,
                courier,
                line,
                again: None,
                stop: stop.drop_guard(),
                _counted: Counted::in_gauge(&self.shared.metrics.lines),
            };
            self.lines.insert(place, running);
        }
        let Some(row) = again else { return };
        let Some(running) = self.lines.get(&place).filter(|it| it.again.is_none()) else {
            return;
        };
        // With the subscription as it was listed, this ends too.
        let stop = running.stop.token().clone();
        let task = again::make(Arc::clone(&running.courier), row);
        let number = self.spawn(What::Again, &stop, task);
        if let Some(running) = self.lines.get_mut(&place) {
            running.again = Some(number);
        }
    }

    /// Runs a task until it ends or is to stop; its number.
    fn spawn(
        &mut self,
        what: What,
        stop: &CancellationToken,
        task: impl Future<Output = Result<(), Stopped>> + Send + 'static,
    ) -> u64 {
        self.last += 1;
        let (number, stop) = (self.last, stop.clone());
        self.running.spawn(async move {
            let ended = stop.run_until_cancelled(task).await;
            (what, number, ended.unwrap_or(Ok(())))
        });
        number
    }

    /// A task has ended. One whose subscription has changed begins anew at the next look.
    fn done(&mut self, done: Result<Done, tokio::task::JoinError>) -> Result<(), Ended> {
        let fault = || Ended::Refused("a delivery ended by a fault".to_owned());
        let (what, number, ended) = done.map_err(|_| fault())?;
        match (what, ended) {
            (_, Err(Stopped::Ended(ended))) => return Err(ended),
            (What::Again, _) => {
                let lines = self.lines.values_mut();
                for running in lines.filter(|it| it.again == Some(number)) {
                    running.again = None;
                }
            }
            (What::Line | What::Tail, _) => self.lines.retain(|_, it| it.line != number),
        }
        Ok(())
    }
}

/// Which subscription, in which log.
fn place_of(hook: &Hook) -> (u32, SubscribedLog) {
    (hook.id, hook.log())
}
