//! What the role shows of itself to operators: no name, no text, no secret.

use im_order::CommitSeq;
use serde_json::{Value, json};
use tokio::sync::watch;

use im_writer::{Context, Core, Publisher, Space, WriterHandle};

/// What is shown, without what would keep a stopped role alive.
pub(crate) struct Dump {
    writer: WriterHandle,
    publisher: Publisher,
    space: Space,
    reachable: watch::Receiver<bool>,
}

impl Dump {
    pub(crate) fn new(core: &Core) -> Self {
        let Context {
            writer,
            publisher,
            space,
            ..
        } = core.context.clone();
        Self {
            writer,
            publisher,
            space,
            reachable: core.reachable.clone(),
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
        json!({
            "store_reachable": *self.reachable.borrow(),
            "space_is_low": self.space.is_low(),
            "position": self.publisher.position().map(CommitSeq::to_wire),
            "waiting_messages": messages,
            "waiting_bytes": bytes,
            "routes": routes,
        })
    }
}
