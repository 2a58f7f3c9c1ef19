//! What a follower says to db-proxy, over one link.

mod hooks;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use im_proto_rpc::v1::follow_call::Call;
use im_proto_rpc::v1::follow_item::Item;
use im_proto_rpc::v1::{
    FollowCall, FollowCalls, FollowDue, FollowHeld, FollowHold, FollowItems, FollowRead,
    FollowRetry, FollowStep, LogPage, PushFacts, PushFactsOf, PushTarget, PushTargetGone,
    PushTargetsOf, PushTest, PushTested, PushTestsOf, PushVerdict,
};
use im_rpc::Link;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Why a call has no answer. Whoever gets this begins anew with another link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// The link is gone.
    #[error("reach db-proxy")]
    Gone,
    /// Somebody else holds the name.
    #[error("hold the name, which somebody else has taken")]
    Fenced,
    /// db-proxy takes no such call.
    #[error("ask db-proxy: {0}")]
    Refused(String),
}

/// The calls of one link; clones share it.
#[derive(Clone, Debug)]
pub struct Calls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tx: mpsc::Sender<FollowCalls>,
    closed: CancellationToken,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Item>>,
}

impl Calls {
    /// Takes over a link; a task hands out its answers until it ends.
    pub fn over(link: Link<FollowCalls, FollowItems>) -> Self {
        let Link { tx, rx, closed, .. } = link;
        let this = Self(Arc::new(Shared {
            tx,
            closed,
            open: Mutex::default(),
        }));
        tokio::spawn(hand_out(Arc::clone(&this.0), rx));
        this
    }

    /// Returns when the link has ended.
    pub async fn ended(&self) {
        self.0.closed.cancelled().await;
    }

    /// Ends the link.
    pub fn end(&self) {
        self.0.closed.cancel();
    }

    async fn ask(&self, call: Call) -> Result<Item, Ended> {
        let shared = &self.0;
        let (answer, answered) = oneshot::channel();
        let tag = {
            let mut open = shared.open();
            open.last += 1;
            let tag = open.last;
            open.waiting.insert(tag, answer);
            tag
        };
        // Whoever does not wait any more leaves nothing behind.
        let _forget = Forget { shared, tag };
        let calls = vec![FollowCall {
            tag,
            call: Some(call),
        }];
        let asking = async {
            shared.tx.send(FollowCalls { calls }).await.ok()?;
            answered.await.ok()
        };
        let item = shared.closed.run_until_cancelled(asking).await.flatten();
        match item {
            None => Err(Ended::Gone),
            Some(Item::Fenced(_)) => Err(Ended::Fenced),
            Some(Item::Refused(refused)) => Err(Ended::Refused(refused.reason)),
            Some(item) => Ok(item),
        }
    }

    /// Waits for the name. No job waits longer than this until it is tried again, 0 where nothing is.
    ///
    /// # Errors
    /// The link does not serve any more, or there is no such name.
    pub async fn hold(&self, name: &str, longest: Duration) -> Result<FollowHeld, Ended> {
        let hold = FollowHold {
            name: name.to_owned(),
            longest_wait_ms: u64::try_from(longest.as_millis()).unwrap_or(u64::MAX),
        };
        match self.ask(Call::Hold(hold)).await? {
            Item::Held(held) => Ok(held),
            other => Err(unexpected(&other)),
        }
    }

    /// A page of the log.
    ///
    /// # Errors
    /// The link does not serve any more.
    pub async fn read(&self, read: FollowRead) -> Result<LogPage, Ended> {
        match self.ask(Call::Read(read)).await? {
            Item::Page(page) => Ok(page),
            other => Err(unexpected(&other)),
        }
    }

    /// Returns how much is to be tried again afterwards.
    pub(crate) async fn step(&self, step: FollowStep) -> Result<u64, Ended> {
        match self.ask(Call::Step(step)).await? {
            Item::Stepped(stepped) => Ok(stepped.retries),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) async fn due(&self, due: FollowDue) -> Result<Vec<FollowRetry>, Ended> {
        match self.ask(Call::Due(due)).await? {
            Item::Retries(due) => Ok(due.retries),
            other => Err(unexpected(&other)),
        }
    }

    /// The devices of these people, 4,096 of them at most.
    ///
    /// # Errors
    /// The link does not serve any more.
    pub async fn targets(&self, users: Vec<u32>) -> Result<Vec<PushTarget>, Ended> {
        match self.ask(Call::Targets(PushTargetsOf { users })).await? {
            Item::Targets(targets) => Ok(targets.targets),
            other => Err(unexpected(&other)),
        }
    }

    /// What notices are made from, for 4,096 people, names and groups each at most.
    ///
    /// # Errors
    /// The link does not serve any more.
    pub async fn facts(&self, of: PushFactsOf) -> Result<PushFacts, Ended> {
        match self.ask(Call::Facts(of)).await? {
            Item::Facts(facts) => Ok(facts),
            other => Err(unexpected(&other)),
        }
    }

    /// A provider says that a device is gone; returns when it is forgotten.
    ///
    /// # Errors
    /// The link does not serve any more.
    pub async fn target_gone(&self, token: &str, session: u64) -> Result<(), Ended> {
        let gone = PushTargetGone {
            token: token.to_owned(),
            session,
        };
        match self.ask(Call::Gone(gone)).await? {
            Item::Done(_) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits so long for a test notice that somebody asks for.
    ///
    /// # Errors
    /// The link does not serve any more, or db-proxy knows no tests.
    pub async fn test(&self, wait: Duration) -> Result<Option<PushTest>, Ended> {
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        match self.ask(Call::Tests(PushTestsOf { wait_ms })).await? {
            Item::Test(test) => Ok(Some(test).filter(|test| test.id != 0)),
            other => Err(unexpected(&other)),
        }
    }

    /// Says what became of a test notice.
    ///
    /// # Errors
    /// The link does not serve any more.
    pub async fn tested(&self, id: u64, verdict: PushVerdict) -> Result<(), Ended> {
        let tested = PushTested {
            id,
            verdict: Some(verdict),
        };
        match self.ask(Call::Tested(tested)).await? {
            Item::Done(_) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Forget<'a> {
    shared: &'a Shared,
    tag: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.open().waiting.remove(&self.tag);
    }
}

fn unexpected(item: &Item) -> Ended {
    let name = match item {
        Item::Held(_) => "a name",
        Item::Page(_) => "a page",
        Item::Stepped(_) => "a step",
        Item::Retries(_) => "retries",
        Item::Targets(_) => "targets",
        Item::Facts(_) => "facts",
        Item::Done(_) => "an end",
        Item::Hooks(_) => "subscriptions",
        Item::Hook(_) => "a step of a subscription",
        Item::Test(_) => "a test notice",
        Item::Changes(_) => "changes",
        Item::Sessions(_) => "sessions",
        Item::Fenced(_) | Item::Refused(_) => "a refusal",
    };
    Ended::Refused(format!("it answered with {name}"))
}

async fn hand_out(shared: Arc<Shared>, mut items: mpsc::Receiver<FollowItems>) {
    let closed = shared.closed.clone();
    while let Some(Some(batch)) = closed.run_until_cancelled(items.recv()).await {
        for item in batch.items {
            let waiting = shared.open().waiting.remove(&item.tag);
            if let (Some(waiting), Some(item)) = (waiting, item.item) {
                // Who has gone meanwhile does not need it.
                drop(waiting.send(item));
            }
        }
    }
    shared.closed.cancel();
}
