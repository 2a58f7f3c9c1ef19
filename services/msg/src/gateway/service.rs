//! The gateway as the connection layer sees it.

use std::sync::Arc;

use im_codec::{ClientCommand, FrameRef};
use tracing::warn;

use super::handle;
use super::state::Gateway;
use crate::clock::is_due;
use crate::connection::{Conn, Output, Upper};
use crate::metrics::Refusal;

impl Upper for Gateway {
    fn output(&self) -> &Arc<Output> {
        &self.output
    }

    fn frame(self: &Arc<Self>, conn: &Arc<Conn>, command: ClientCommand, frame: FrameRef<'_>) {
        handle::frame(self, conn, command, frame);
    }

    fn is_full(&self) -> bool {
        self.db.pending_bytes() >= self.env.config.pending_total_bytes
    }

    fn left(self: &Arc<Self>, conn: &Arc<Conn>) {
        self.leave(conn);
        self.connections.closed(conn);
        self.admission.release(conn.remote());
    }

    fn swept(&self, now: u32) {
        self.expire_sends(now);
        let (pending, in_flight) = self.db.sizes();
        let metrics = &self.env.metrics;
        metrics
            .pending_messages
            .set(i64::try_from(pending).unwrap_or(i64::MAX));
        metrics
            .in_flight_calls
            .set(i64::try_from(in_flight).unwrap_or(i64::MAX));
    }
}

impl Gateway {
    /// Gives up messages that have waited too long for a link to db-proxy.
    fn expire_sends(&self, now: u32) {
        if self.db.is_up() {
            return;
        }
        let wait = self.env.config.send_wait_ms;
        let expired = self
            .db
            .expired(|since| is_due(now, since.wrapping_add(wait)));
        if expired.is_empty() {
            return;
        }
        warn!(
            messages = expired.len(),
            "gave up messages without a link to db-proxy"
        );
        for sending in &expired {
            self.env.metrics.refused(Refusal::NoDbProxy);
            self.db.release(sending);
        }
    }
}
