//! A writer over a real store, with a route server's end of its link.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use im_config::{DbProxyConfig, WriterConfig};
use im_core::{GroupId, UserId};
use im_proto_rpc::v1;
use im_rpc::{Link, PeerEvent, link};
use im_store::testing::TempStore;
use im_store::{DirectoryImport, DirectoryStore as _, ImportedUser, Store};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::faulty::{Faults, Faulty};
use crate::attach::Results;
use crate::metrics::Metrics;
use crate::positions::Positions;
use crate::publish::Publisher;
use crate::writer::{MemberCache, SendBatch, SendRules, Writer, WriterHandle, WriterParts};

/// The store that outlives writers.
pub(super) struct Ground {
    pub(super) temp: TempStore,
    pub(super) store: Faulty,
}

/// A running writer.
pub(super) struct Rig {
    pub(super) handle: WriterHandle,
    pub(super) sink: Arc<Results>,
    pub(super) route: Link<v1::PublishReplies, v1::PublishBatch>,
    pub(super) metrics: Metrics,
    pub(super) positions: Positions,
    pub(super) reachable: watch::Receiver<bool>,
    pub(super) publisher: Publisher,
    stop: CancellationToken,
    running: JoinHandle<()>,
    stop_route: CancellationToken,
    rules: SendRules,
    next_tag: u64,
}

pub(super) fn user(id: u32) -> UserId {
    UserId::from_wire(id).unwrap()
}

impl Ground {
    /// With the users 1 to 9.
    pub(super) async fn new() -> Self {
        let temp = TempStore::open().await;
        let users = (1..=9).map(|id| ImportedUser {
            id: Some(id),
            name: format!("user{id}"),
            ..ImportedUser::default()
        });
        temp.store
            .import(&DirectoryImport {
                users: users.collect(),
                now: 1,
            })
            .await
            .unwrap();
        let store = Faulty {
            inner: temp.store.clone(),
            faults: Arc::new(Faults::default()),
        };
        Self { temp, store }
    }

    pub(super) async fn start(&self) -> Rig {
        self.start_with(WriterConfig::default()).await
    }

    pub(super) async fn start_with(&self, writer: WriterConfig) -> Rig {
        let config = DbProxyConfig {
            writer,
            ..DbProxyConfig::default()
        };
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        let metrics = Metrics::default();
        let publisher = Publisher::new(&config.publish, metrics.clone());
        let positions = Positions::new(Arc::clone(&store), &config.positions, metrics.clone());
        let rules = SendRules {
            max_body_bytes: config.writer.max_body_bytes,
            client_id_window_seconds: config.writer.client_id_window_seconds,
            frame_window_seconds: config.writer.frame_window_seconds,
        };
        let (writer, handle, reachable) = Writer::new(WriterParts {
            store,
            publisher: publisher.clone(),
            positions: positions.clone(),
            member_cache: MemberCache::new(16),
            metrics: metrics.clone(),
            config: config.writer,
        });
        let (stop, stop_route) = (CancellationToken::new(), CancellationToken::new());
        let running = tokio::spawn(writer.run(stop.clone()));
        let (near, route) = link::pair("db-proxy", "route", 64);
        let (events, peers) = mpsc::channel(1);
        events.send(PeerEvent::Up(near)).await.unwrap();
        let (following, follower) = (stop_route.clone(), publisher.clone());
        tokio::spawn(async move {
            follower.follow(peers, &TaskTracker::new(), following).await;
            drop(events);
        });
        Rig {
            handle,
            sink: Arc::default(),
            route,
            metrics,
            positions,
            reachable,
            publisher,
            stop,
            running,
            stop_route,
            rules,
            next_tag: 1,
        }
    }
}

/// A text of user `from` to user `to`.
pub(super) fn text(from: u32, to: u32, seq: u32, body: &str) -> v1::Send {
    v1::Send {
        from,
        origin: u64::from(from),
        to,
        msg_type: 1,
        data: Bytes::copy_from_slice(body.as_bytes()),
        client_seq: seq,
        ..v1::Send::default()
    }
}

/// A text to a group.
pub(super) fn group_text(from: u32, group: GroupId, seq: u32) -> v1::Send {
    v1::Send {
        msg_type: 0x11,
        ..text(from, group.get(), seq, "to all")
    }
}

impl Rig {
    /// Queues sends as one batch; tags count up from 1.
    pub(super) async fn queue(&mut self, sends: Vec<v1::Send>) {
        let mut admitted = Vec::new();
        for send in sends {
            admitted.push(self.rules.admit(self.next_tag, send).unwrap());
            self.next_tag += 1;
        }
        self.handle
            .send(SendBatch::new(admitted, Arc::clone(&self.sink)))
            .await
            .unwrap();
    }

    /// The next `count` results: tag and what was done.
    pub(super) async fn results(&self, count: usize) -> Vec<(u64, v1::SendDone)> {
        let mut all = Vec::new();
        while all.len() < count {
            for result in self.sink.take(count - all.len()).await {
                let Some(v1::db_result::Result::Send(done)) = result.result else {
                    panic!()
                };
                all.push((result.tag, done));
            }
        }
        all
    }

    /// Sends and waits for the results.
    pub(super) async fn send(&mut self, sends: Vec<v1::Send>) -> Vec<v1::SendDone> {
        let count = sends.len();
        self.queue(sends).await;
        self.results(count)
            .await
            .into_iter()
            .map(|(_, done)| done)
            .collect()
    }

    pub(super) async fn send_one(&mut self, send: v1::Send) -> v1::SendDone {
        self.send(vec![send]).await.remove(0)
    }

    /// The next batch that a route server gets; confirms it.
    pub(super) async fn published(&mut self) -> v1::PublishBatch {
        let batch = self.route.rx.recv().await.unwrap();
        let replies = v1::PublishReplies {
            confirmed: batch.through,
            lists: Vec::new(),
        };
        self.route.tx.send(replies).await.unwrap();
        batch
    }

    /// Items published until the log is complete up to `seq`; no gap may be on the way.
    pub(super) async fn published_to(&mut self, seq: u64) -> Vec<v1::publish_item::Item> {
        let mut items = Vec::new();
        let mut position = None;
        loop {
            let batch = self.published().await;
            assert!(
                batch.after <= position.unwrap_or(batch.after),
                "a gap before {batch:?}"
            );
            position = Some(batch.through);
            items.extend(batch.items.into_iter().filter_map(|item| item.item));
            if batch.through >= seq {
                return items;
            }
        }
    }

    /// Waits until the writer has met the store's state.
    pub(super) async fn reachable(&mut self, wanted: bool) {
        let wait = self.reachable.wait_for(|reachable| *reachable == wanted);
        tokio::time::timeout(Duration::from_secs(10), wait)
            .await
            .unwrap()
            .unwrap();
    }

    /// Stops as the role does: the writer finishes what is queued.
    pub(super) async fn stop(self) -> Arc<Results> {
        self.stop.cancel();
        self.running.await.unwrap();
        self.stop_route.cancel();
        self.sink
    }
}
