//! Asks the route servers who is online.
//!
//! Each knows a part of the people, and which part changes as servers come and go: all of them are asked, and
//! whoever is online at one is online. One that does not answer in time knows of nobody, so that people are
//! told once too often rather than not at all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use im_proto_rpc::v1::{PresenceAnswer, PresenceAnswers, PresenceAsk, PresenceAsks};
use im_rpc::{Link, PeerEvent};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::choose::Online;
use crate::metrics::Metrics;

/// People of one question: as many as route takes.
const ASKED: usize = 2_048;

/// The route servers that are linked; clones share them.
#[derive(Clone)]
pub(crate) struct Presence {
    routes: Arc<Mutex<HashMap<String, Arc<Route>>>>,
    timeout: Duration,
    metrics: Metrics,
}

struct Route {
    tx: mpsc::Sender<PresenceAsks>,
    closed: CancellationToken,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<PresenceAnswer>>,
}

impl Presence {
    pub(crate) fn new(timeout: Duration, metrics: Metrics) -> Self {
        Self {
            routes: Arc::default(),
            timeout,
            metrics,
        }
    }

    /// Keeps the links until `stop`.
    pub(crate) async fn follow(
        self,
        mut peers: mpsc::Receiver<PeerEvent<PresenceAsks, PresenceAnswers>>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) {
        while let Some(Some(event)) = stop.run_until_cancelled(peers.recv()).await {
            match event {
                PeerEvent::Up(link) => self.add(link, &tasks),
                PeerEvent::Down { peer } => drop(self.routes().remove(&peer)),
            }
        }
    }

    fn add(&self, link: Link<PresenceAsks, PresenceAnswers>, tasks: &TaskTracker) {
        let Link {
            tx,
            rx,
            peer,
            closed,
        } = link;
        let route = Arc::new(Route {
            tx,
            closed,
            open: Mutex::default(),
        });
        tasks.spawn(hand_out(Arc::clone(&route), rx));
        self.routes().insert(peer, route);
    }

    /// Which of these people are online, and by what.
    pub(crate) async fn of(&self, users: &[u32]) -> HashMap<u32, Online> {
        let routes: Vec<Arc<Route>> = self.routes().values().cloned().collect();
        if routes.is_empty() && !users.is_empty() {
            self.metrics.presence_unknown();
        }
        let asking = routes.iter().map(|route| async {
            let mut answers = Vec::new();
            for part in users.chunks(ASKED) {
                answers.extend(route.ask(part.to_vec()).await);
            }
            answers
        });
        let asked = asking.map(|asking| tokio::time::timeout(self.timeout, asking));
        let mut online: HashMap<u32, Online> = HashMap::new();
        for answers in join_all(asked).await {
            let Ok(answers) = answers else {
                self.metrics.presence_unknown();
                continue;
            };
            for answer in answers {
                for user in answer.pc {
                    online.entry(user).or_default().pc = true;
                }
                for user in answer.mobile {
                    online.entry(user).or_default().mobile = true;
                }
            }
        }
        online
    }

    fn routes(&self) -> MutexGuard<'_, HashMap<String, Arc<Route>>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Route {
    async fn ask(&self, users: Vec<u32>) -> Option<PresenceAnswer> {
        let (answer, answered) = oneshot::channel();
        let tag = {
            let mut open = self.open();
            open.last += 1;
            let tag = open.last;
            open.waiting.insert(tag, answer);
            tag
        };
        let _forget = Forget { route: self, tag };
        let asks = vec![PresenceAsk { tag, users }];
        let asking = async {
            self.tx.send(PresenceAsks { asks }).await.ok()?;
            answered.await.ok()
        };
        self.closed.run_until_cancelled(asking).await.flatten()
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Forget<'a> {
    route: &'a Route,
    tag: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.route.open().waiting.remove(&self.tag);
    }
}

async fn hand_out(route: Arc<Route>, mut answers: mpsc::Receiver<PresenceAnswers>) {
    let closed = route.closed.clone();
    while let Some(Some(batch)) = closed.run_until_cancelled(answers.recv()).await {
        for answer in batch.answers {
            let waiting = route.open().waiting.remove(&answer.tag);
            if let Some(waiting) = waiting {
                // Who has gone meanwhile does not need it.
                drop(waiting.send(answer));
            }
        }
    }
    route.closed.cancel();
}

#[cfg(test)]
mod tests {
    use im_rpc::link;

    use super::*;

    type End = Link<PresenceAnswers, PresenceAsks>;

    fn presence() -> Presence {
        Presence::new(Duration::from_secs(1), Metrics::default())
    }

    fn route(presence: &Presence, name: &str) -> End {
        let (near, far) = link::pair("push", name, 4);
        presence.add(near, &TaskTracker::new());
        far
    }

    /// Answers one question with these PCs and phones.
    async fn answer(end: &mut End, pc: &[u32], mobile: &[u32]) {
        let asks = end.rx.recv().await.unwrap().asks;
        let answers = asks.into_iter().map(|ask| PresenceAnswer {
            tag: ask.tag,
            pc: pc.to_vec(),
            mobile: mobile.to_vec(),
        });
        let answers = answers.collect();
        end.tx.send(PresenceAnswers { answers }).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_online_somewhere_is_online() {
        let presence = presence();
        let (mut one, mut other) = (route(&presence, "r1"), route(&presence, "r2"));
        let users = [1, 2, 3];
        let (online, (), ()) = tokio::join!(
            presence.of(&users),
            answer(&mut one, &[1], &[]),
            answer(&mut other, &[], &[1, 2])
        );
        let both = Online {
            pc: true,
            mobile: true,
        };
        assert_eq!(online.get(&1), Some(&both));
        assert!(online.get(&2).is_some_and(|it| it.mobile && !it.pc));
        assert_eq!(online.get(&3), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_holds_nobody_up_for_long() {
        let presence = presence();
        let (mut one, _silent) = (route(&presence, "r1"), route(&presence, "r2"));
        let begin = tokio::time::Instant::now();
        let (online, ()) = tokio::join!(presence.of(&[1, 2]), answer(&mut one, &[1], &[]));
        assert_eq!(begin.elapsed(), Duration::from_secs(1));
        assert_eq!(online.len(), 1);
        assert_eq!(presence.metrics.times_unknown(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_server_nobody_is_online_and_it_is_counted() {
        let presence = presence();
        assert_eq!(presence.of(&[1]).await.len(), 0);
        let one = route(&presence, "r1");
        one.closed.cancel();
        assert_eq!(presence.of(&[1]).await.len(), 0);
        assert_eq!(presence.metrics.times_unknown(), 1);
    }
}
