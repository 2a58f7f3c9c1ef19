//! What tests of every part share: people, and the other end of the link to a route server.

use im_proto_rpc::v1;
use im_rpc::{Link, PeerEvent, link};
use im_store::testing::TempStore;
use im_store::{DirectoryImport, DirectoryStore as _, ImportedUser};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::publish::Publisher;

/// A store with the users 1 to 9, named user1 to user9.
pub(crate) async fn people() -> TempStore {
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
pub(crate) struct RouteEnd {
    pub(crate) link: Link<v1::PublishReplies, v1::PublishBatch>,
    /// Ends the publisher's side.
    _stop: DropGuard,
}

/// Links a route server to the publisher.
pub(crate) async fn route(publisher: &Publisher) -> RouteEnd {
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
    pub(crate) async fn batch(&mut self) -> v1::PublishBatch {
        let batch = self.link.rx.recv().await.expect("the link is up");
        let replies = v1::PublishReplies {
            confirmed: batch.through,
            lists: Vec::new(),
        };
        self.link.tx.send(replies).await.unwrap();
        batch
    }
}
