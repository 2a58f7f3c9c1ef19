//! A follower against a db-proxy of the tests.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use im_core::time::UnixSeconds;
use im_proto_rpc::v1::follow_call::Call;
use im_proto_rpc::v1::follow_item::Item;
use im_proto_rpc::v1::{
    FollowCall, FollowFenced, FollowHeld, FollowItem, FollowRetries, FollowRetry, FollowStepped,
    LogPage,
};
use im_rpc::link;
use tokio::sync::{Notify, watch};

use super::*;

const LIMIT: Duration = Duration::from_secs(30);

/// The store of a db-proxy.
#[derive(Default)]
struct Store {
    epoch: u64,
    position: u64,
    lines: BTreeMap<Bytes, FollowRetry>,
}

/// A db-proxy: its log has so many messages, each to the user of its position.
#[derive(Clone)]
struct Db {
    store: Arc<Mutex<Store>>,
    log: Arc<watch::Sender<u64>>,
}

impl Db {
    fn new() -> Self {
        Self {
            store: Arc::default(),
            log: Arc::new(watch::Sender::new(0)),
        }
    }

    fn with<T>(&self, with: impl FnOnce(&mut Store) -> T) -> T {
        with(&mut self.store.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn say(&self, messages: u64) {
        self.log.send_modify(|end| *end += messages);
    }

    /// A link that this answers until it is dropped.
    fn link(&self) -> Link<FollowCalls, FollowItems> {
        let (near, far): (_, Link<FollowItems, FollowCalls>) = link::pair("push", "db-proxy", 64);
        let this = self.clone();
        tokio::spawn(async move {
            let Link { tx, mut rx, .. } = far;
            let mut epoch = 0;
            while let Some(batch) = rx.recv().await {
                for FollowCall { tag, call } in batch.calls {
                    let (this, tx) = (this.clone(), tx.clone());
                    if let Some(Call::Hold(_)) = call {
                        epoch = this.with(|store| {
                            store.epoch += 1;
                            store.epoch
                        });
                    }
                    tokio::spawn(async move {
                        let item = Some(this.answer(call.unwrap(), epoch).await);
                        let items = vec![FollowItem { tag, item }];
                        drop(tx.send(FollowItems { items }).await);
                    });
                }
            }
        });
        near
    }

    async fn answer(&self, call: Call, epoch: u64) -> Item {
        match call {
            Call::Hold(_) => self.with(|store| {
                Item::Held(FollowHeld {
                    epoch,
                    position: store.position,
                    retries: store.lines.len() as u64,
                })
            }),
            Call::Read(read) => {
                let mut log = self.log.subscribe();
                let wait = Duration::from_millis(read.wait_ms.into());
                drop(tokio::time::timeout(wait, log.wait_for(|end| *end > read.after)).await);
                let end = *self.log.borrow();
                let through = end.min(read.after + 3);
                let messages = (read.after + 1..=through).map(message);
                Item::Page(LogPage {
                    messages: messages.collect(),
                    through: through.max(read.after),
                    more: through < end,
                })
            }
            Call::Step(step) => self.with(|store| {
                if epoch != store.epoch {
                    return Item::Fenced(FollowFenced {});
                }
                store.position = step.position;
                for key in step.remove {
                    store.lines.remove(&key);
                }
                for line in step.put {
                    store.lines.insert(line.key.clone(), line);
                }
                Item::Stepped(FollowStepped {
                    retries: store.lines.len() as u64,
                })
            }),
            Call::Due(due) => self.with(|store| {
                let all = store.lines.values();
                let retries = all.filter(|it| it.lane == due.lane && it.due <= due.until);
                let retries = retries.take(due.rows as usize).cloned().collect();
                Item::Retries(FollowRetries { retries })
            }),
            other => panic!("{other:?}"),
        }
    }
}

fn message(seq: u64) -> LiveMessage {
    LiveMessage {
        seq,
        time: UnixSeconds::now().get(),
        recipients: vec![u32::try_from(seq).unwrap()],
        ..LiveMessage::default()
    }
}

/// One job for each message, in the lane of its parity.
#[derive(Default)]
struct Doer {
    /// How often each message was done.
    done: Mutex<HashMap<u64, usize>>,
    changed: Notify,
    /// Whether the odd lane never ends an attempt.
    hangs: AtomicBool,
    /// Attempts that are to fail first.
    failures: AtomicUsize,
    tries: Mutex<Vec<u32>>,
}

#[async_trait]
impl Work for Doer {
    async fn jobs(&self, _: &Calls, messages: Vec<LiveMessage>) -> Result<Vec<Job>, Ended> {
        let job = |message: LiveMessage| Job {
            key: Bytes::from(message.seq.to_string()),
            lane: u32::try_from(message.seq % 2).unwrap(),
            body: Bytes::from(message.seq.to_string()),
        };
        Ok(messages.into_iter().map(job).collect())
    }

    async fn attempt(&self, _: &Calls, body: Bytes, tries: u32) -> Outcome {
        let seq: u64 = std::str::from_utf8(&body).unwrap().parse().unwrap();
        self.tries.lock().unwrap().push(tries);
        if seq % 2 == 1 && self.hangs.load(Ordering::Acquire) {
            std::future::pending::<()>().await;
        }
        let left = self
            .failures
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                left.checked_sub(1)
            });
        if left.is_ok() {
            return Outcome::Again(Duration::from_millis(1));
        }
        *self.done.lock().unwrap().entry(seq).or_default() += 1;
        self.changed.notify_waiters();
        Outcome::Done
    }

    fn lanes(&self) -> u32 {
        2
    }
}

impl Doer {
    /// Waits until these messages have been done.
    async fn has_done(&self, seqs: impl Iterator<Item = u64> + Clone) {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                let all = {
                    let done = self.done.lock().unwrap();
                    seqs.clone().all(|seq| done.contains_key(&seq))
                };
                if all {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.expect("in time");
    }

    fn times(&self, seq: u64) -> usize {
        let done = self.done.lock().unwrap();
        done.get(&seq).copied().unwrap_or_default()
    }
}

fn limits() -> Limits {
    Limits {
        flush: Duration::from_millis(20),
        gather: Duration::from_millis(1),
        body_bytes: 0,
        lane: 4,
        patience: Duration::from_millis(40),
        attempt: Duration::from_secs(20),
        longest: Duration::from_secs(60),
        retries: 1_000,
        stop_grace: Duration::from_secs(10),
    }
}

struct Running {
    events: mpsc::Sender<PeerEvent<FollowCalls, FollowItems>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    metrics: FollowerMetrics,
}

fn run(work: &Arc<Doer>, limits: Limits) -> Running {
    let (events, peers) = mpsc::channel(4);
    let (stop, metrics) = (CancellationToken::new(), FollowerMetrics::default());
    let work = Arc::clone(work) as Arc<dyn Work>;
    let follower = Follower::new("push", work, limits, metrics.clone());
    let task = tokio::spawn(follower.run(peers, |_| {}, stop.clone()));
    Running {
        events,
        stop,
        task,
        metrics,
    }
}

impl Running {
    async fn link(&self, db: &Db) -> CancellationToken {
        let link = db.link();
        let closed = link.closed.clone();
        assert!(self.events.send(PeerEvent::Up(link)).await.is_ok());
        closed
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "it ends wherever it is, as a process that is killed"
    )]
    fn killed(&self) {
        self.task.abort();
    }

    async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(LIMIT, self.task).await;
        ended.expect("it ends in time").unwrap();
    }
}

/// Waits until the store is so.
async fn stored(db: &Db, holds: impl Fn(&Store) -> bool) {
    let waiting = async {
        while !db.with(|store| holds(store)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.expect("in time");
}

#[tokio::test]
async fn what_comes_is_done_once_and_the_position_follows() {
    let (db, work) = (Db::new(), Arc::new(Doer::default()));
    db.say(7);
    let running = run(&work, limits());
    running.link(&db).await;
    work.has_done(1..=7).await;
    db.say(3);
    work.has_done(1..=10).await;
    stored(&db, |store| store.position == 10).await;
    assert!((1..=10).all(|seq| work.times(seq) == 1));
    stored(&db, |store| store.lines.is_empty()).await;
    running.stop().await;
}

#[tokio::test]
async fn what_fails_is_tried_again_until_it_is_done() {
    let (db, work) = (Db::new(), Arc::new(Doer::default()));
    work.failures.store(12, Ordering::Release);
    db.say(6);
    let running = run(&work, limits());
    running.link(&db).await;
    work.has_done(1..=6).await;
    stored(&db, |store| store.lines.is_empty() && store.position == 6).await;
    assert!(work.tries.lock().unwrap().iter().any(|tries| *tries > 0));
    running.stop().await;
}

#[tokio::test]
async fn a_lane_that_hangs_holds_up_neither_the_other_nor_the_position() {
    let (db, work) = (Db::new(), Arc::new(Doer::default()));
    work.hangs.store(true, Ordering::Release);
    db.say(40);
    let running = run(&work, limits());
    running.link(&db).await;
    work.has_done((1..=20).map(|n| n * 2)).await;
    // All of the odd ones have lines: four run, the others were put off.
    stored(&db, |store| store.position == 40 && store.lines.len() == 20).await;
    assert!(running.metrics.put_off.get() > 0);
    running.killed();
}

#[tokio::test]
async fn whoever_is_killed_leaves_everything_to_the_next_one() {
    let (db, work) = (Db::new(), Arc::new(Doer::default()));
    work.hangs.store(true, Ordering::Release);
    db.say(20);
    let running = run(&work, limits());
    running.link(&db).await;
    stored(&db, |store| store.position == 20).await;
    running.killed();
    work.hangs.store(false, Ordering::Release);
    // What runs in the killed process has a lease that is over at once here.
    db.with(|store| {
        for line in store.lines.values_mut() {
            line.due = 0;
        }
    });
    let next = run(&work, limits());
    next.link(&db).await;
    work.has_done(1..=20).await;
    stored(&db, |store| store.lines.is_empty()).await;
    next.stop().await;
}

#[tokio::test]
async fn a_link_that_ends_takes_nothing_with_it() {
    let (db, work) = (Db::new(), Arc::new(Doer::default()));
    let running = run(&work, limits());
    for round in 1..=10 {
        let closed = running.link(&db).await;
        db.say(5);
        work.has_done(std::iter::once(round)).await;
        closed.cancel();
    }
    running.link(&db).await;
    work.has_done(1..=50).await;
    stored(&db, |store| store.position == 50).await;
    running.stop().await;
}

#[tokio::test]
async fn the_older_of_two_holders_of_a_name_is_fenced_and_nothing_is_missing() {
    let (db, work) = (Db::new(), Arc::new(Doer::default()));
    let older = run(&work, limits());
    older.link(&db).await;
    db.say(5);
    work.has_done(1..=5).await;
    // This db-proxy gives the name away twice.
    let newer = run(&work, limits());
    newer.link(&db).await;
    stored(&db, |store| store.epoch == 2).await;
    db.say(5);
    work.has_done(1..=10).await;
    stored(&db, |store| store.position == 10).await;
    let lost = async {
        while older.metrics.holds.get() != 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LIMIT, lost).await.expect("it is told");
    older.stop().await;
    newer.stop().await;
}

#[tokio::test]
async fn nothing_is_read_while_as_much_waits_as_may() {
    let (db, work) = (Db::new(), Arc::new(Doer::default()));
    work.hangs.store(true, Ordering::Release);
    db.say(40);
    let few = Limits {
        retries: 6,
        ..limits()
    };
    let running = run(&work, few);
    running.link(&db).await;
    stored(&db, |store| store.lines.len() >= 6).await;
    let position = db.with(|store| store.position);
    assert!(position < 40, "{position}");
    assert!(running.metrics.full.get() >= 1, "it says so");
    running.killed();
    work.hangs.store(false, Ordering::Release);
    db.with(|store| {
        for line in store.lines.values_mut() {
            line.due = 0;
        }
    });
    let next = run(&work, few);
    next.link(&db).await;
    work.has_done(1..=40).await;
    next.stop().await;
}

#[tokio::test]
async fn at_a_stop_what_is_under_way_ends_and_is_stored() {
    let (db, work) = (Db::new(), Arc::new(Doer::default()));
    let late = Limits {
        flush: Duration::from_secs(4),
        ..limits()
    };
    let running = run(&work, late);
    running.link(&db).await;
    db.say(9);
    work.has_done(1..=9).await;
    running.stop().await;
    assert_eq!(db.with(|store| (store.position, store.lines.len())), (9, 0));
}
