//! What the role shows of itself to operators: no name, no text, no secret.

use std::sync::Arc;

use im_order::CommitSeq;
use serde_json::{Value, json};
use tokio::sync::watch;

use im_writer::{Context, Core, Metrics, Publisher, Space, WriterHandle};

use crate::filter::HttpFilter;

/// What is shown, without what would keep a stopped role alive.
pub(crate) struct Dump {
    writer: WriterHandle,
    publisher: Publisher,
    space: Space,
    reachable: watch::Receiver<bool>,
    metrics: Metrics,
    filter: Option<Arc<HttpFilter>>,
}

impl Dump {
    pub(crate) fn new(core: &Core, filter: Option<Arc<HttpFilter>>) -> Self {
        let Context {
            writer,
            publisher,
            space,
            metrics,
            ..
        } = core.context.clone();
        Self {
            writer,
            publisher,
            space,
            reachable: core.reachable.clone(),
            metrics,
            filter,
        }
    }

    pub(crate) fn show(&self) -> Value {
        let (messages, bytes) = self.writer.waiting();
        let routes: Vec<Value> = self
            .publisher
            .routes()
            .into_iter()
            .map(|(name, confirmed)| json!({ "name": name, "confirmed": confirmed.to_wire() }))
            .collect();
        let (held, held_bytes) = self.metrics.waiting_for_filter();
        json!({
            "store_reachable": *self.reachable.borrow(),
            "space_is_low": self.space.is_low(),
            "position": self.publisher.position().map(CommitSeq::to_wire),
            "waiting_messages": messages,
            "waiting_bytes": bytes,
            "routes": routes,
            "filter": self.filter.as_ref().map(|filter| filter.show()),
            "waiting_for_filter_messages": held,
            "waiting_for_filter_bytes": held_bytes,
        })
    }
}
