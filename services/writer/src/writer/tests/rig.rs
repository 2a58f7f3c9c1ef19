//! A writer over a real store, with a route server's end of its link.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use im_config::{DbProxyConfig, WriterConfig};
use im_core::{GroupId, UserId};
use im_proto_rpc::v1;
use im_store::Store;
use im_store::testing::TempStore;

use super::faulty::{Faults, Faulty};
use crate::assembly::{Context, Core};
use crate::filter::Filter;
use crate::metrics::Metrics;
use crate::testing::{RouteEnd, Sink, people, route};
use crate::writer::{SendBatch, SendRules};

/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// The store that outlives writers.
pub(super) struct Ground {
    pub(super) temp: TempStore,
    pub(super) store: Faulty,
}

/// A running writer.
pub(super) struct Rig {
    pub(super) core: Core,
    pub(super) sink: Arc<Sink>,
    pub(super) route: RouteEnd,
    rules: SendRules,
    next_tag: u64,
}

impl Deref for Rig {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.core.context
    }
}

pub(super) fn user(id: u32) -> UserId {
    UserId::from_wire(id).unwrap()
}

impl Ground {
    /// With the users 1 to 9.
    pub(super) async fn new() -> Self {
        let temp = people().await;
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
        self.start_as(config, None).await
    }

    /// With a filter that judges messages.
    pub(super) async fn start_filtered(&self, filter: impl Filter) -> Rig {
        self.start_as(DbProxyConfig::default(), Some(Arc::new(filter)))
            .await
    }

    /// The same, where so many messages may wait for it.
    pub(super) async fn start_bounded(&self, filter: impl Filter, messages: usize) -> Rig {
        let mut config = DbProxyConfig::default();
        config.filter.waiting_messages = messages;
        self.start_as(config, Some(Arc::new(filter))).await
    }

    async fn start_as(&self, config: DbProxyConfig, filter: Option<Arc<dyn Filter>>) -> Rig {
        let rules = SendRules::from(&config.writer);
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        let core = Core::start_with(Arc::new(config), store, Metrics::default(), filter);
        let route = route(&core.context.publisher).await;
        Rig {
            core,
            sink: Arc::default(),
            route,
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
        self.writer
            .send(SendBatch::new(admitted, Arc::clone(&self.sink)))
            .await
            .unwrap();
    }

    /// The next `count` results: tag and what was done.
    pub(super) async fn results(&self, count: usize) -> Vec<(u64, v1::SendDone)> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.sink.take(count - all.len()).await);
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

    /// Items published until the log is complete up to `seq`; no gap may be on the way.
    pub(super) async fn published_to(&mut self, seq: u64) -> Vec<v1::publish_item::Item> {
        let mut items = Vec::new();
        let mut position = None;
        loop {
            let batch = self.route.batch().await;
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
        let wait = self
            .core
            .reachable
            .wait_for(|reachable| *reachable == wanted);
        tokio::time::timeout(PATIENCE, wait).await.unwrap().unwrap();
    }

    /// Stops as the role does: the writer finishes what is queued.
    pub(super) async fn stop(self) -> Arc<Sink> {
        self.core.stop(PATIENCE).await.unwrap();
        self.sink
    }
}
