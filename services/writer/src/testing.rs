//! What tests of every part share: people, the other end of the link to a route server, and a sink of
//! results.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "only tests have this module"
)]

use std::sync::{Mutex, PoisonError};

use im_proto_rpc::v1;
use im_rpc::{Link, PeerEvent, link};
use im_store::testing::TempStore;
use im_store::{DirectoryImport, DirectoryStore as _, ImportedUser};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::publish::Publisher;
use crate::writer::SendSink;

/// A store with the users 1 to 9, named user1 to user9.
pub async fn people() -> TempStore {
    let temp = TempStore::open().await;
    let users = (1..=9).map(|id| ImportedUser {
        id: Some(id),
        name: format!("user{id}"),
        ..ImportedUser::default()
    });
    let import = DirectoryImport {
        users: users.collect(),
        now: im_core::time::UnixSeconds::from_wire(1_000_000),
    };
    assert_eq!(temp.store.import(&import).await.unwrap().added, 9);
    temp
}

/// A route server as the publisher sees it: the test holds its end of the link.
pub struct RouteEnd {
    /// The test's end.
    pub link: Link<v1::PublishReplies, v1::PublishBatch>,
    /// Ends the publisher's side.
    _stop: DropGuard,
}

/// Links a route server to the publisher.
pub async fn route(publisher: &Publisher) -> RouteEnd {
    let (near, far) = link::pair("db-proxy", "route", 64);
    let (events, peers) = mpsc::channel(1);
    events.send(PeerEvent::Up(near)).await.unwrap();
    let stop = CancellationToken::new();
    let (publisher, following) = (publisher.clone(), stop.clone());
    tokio::spawn(async move {
        publisher
            .follow(peers, &TaskTracker::new(), following)
            .await;
        drop(events);
    });
    RouteEnd {
        link: far,
        _stop: stop.drop_guard(),
    }
}

impl RouteEnd {
    /// The next batch; confirms it.
    pub async fn batch(&mut self) -> v1::PublishBatch {
        let batch = self.link.rx.recv().await.expect("the link is up");
        let replies = v1::PublishReplies {
            confirmed: batch.through,
            lists: Vec::new(),
        };
        self.link.tx.send(replies).await.unwrap();
        batch
    }
}

/// Gathers the results of sends.
#[derive(Debug, Default)]
pub struct Sink {
    results: Mutex<Vec<v1::DbResult>>,
    held: Mutex<Vec<u64>>,
    ready: Notify,
}

impl SendSink for Sink {
    fn push(&self, results: Vec<v1::DbResult>) {
        let mut all = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(results);
        self.ready.notify_one();
    }

    fn held(&self, tags: Vec<u64>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.extend(tags);
    }
}

impl Sink {
    /// What has come and was not taken: tags, and what was done.
    pub fn take_now(&self) -> Vec<(u64, v1::SendDone)> {
        self.taken(usize::MAX)
    }

    /// Tags of which it was told that their results come later.
    pub fn held_now(&self) -> Vec<u64> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }

    /// Waits until something has come; at most so many, in their order.
    pub async fn take(&self, most: usize) -> Vec<(u64, v1::SendDone)> {
        loop {
            let ready = self.ready.notified();
            let taken = self.taken(most);
            if !taken.is_empty() {
                return taken;
            }
            ready.await;
        }
    }

    fn taken(&self, most: usize) -> Vec<(u64, v1::SendDone)> {
        let mut all = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let most = most.min(all.len());
        all.drain(..most).map(done).collect()
    }
}

fn done(result: v1::DbResult) -> (u64, v1::SendDone) {
    let Some(v1::db_result::Result::Send(done)) = result.result else {
        panic!("a send's result is expected, not {result:?}");
    };
    (result.tag, done)
}
