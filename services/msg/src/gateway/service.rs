//! The gateway as the connection layer sees it.

use std::sync::Arc;

use im_codec::{ClientCommand, FrameRef};
use tracing::warn;

use super::handle;
use super::state::Gateway;
use crate::clock::is_due;
use crate::connection::{Conn, Output, Partials, Room, Upper, UserMeters};
use crate::metrics::Refusal;

impl Upper for Gateway {
    fn output(&self) -> &Arc<Output> {
        &self.output
    }

    fn partials(&self) -> &Partials {
        &self.partials
    }

    fn meters(&self) -> &UserMeters {
        &self.meters
    }

    fn frame(self: &Arc<Self>, conn: &Arc<Conn>, command: ClientCommand, frame: FrameRef<'_>) {
        handle::frame(self, conn, command, frame);
    }

    fn message_room(&self) -> &Room {
        self.db.messages()
    }

    fn query_room(&self) -> &Room {
        &self.queries
    }

    fn left(self: &Arc<Self>, conn: &Arc<Conn>) {
        self.leave(conn);
        self.db.cancel(conn);
        self.connections.closed(conn);
    }

    fn swept(self: &Arc<Self>, now: u32) {
        self.expire_sends(now);
        handle::presence::expire(self, now);
        handle::file::expire(self, now);
        let (pending, in_flight) = self.db.sizes();
        let metrics = &self.env.metrics;
        let queries = self.queries.used();
        metrics
            .query_bytes
            .set(i64::try_from(queries).unwrap_or(i64::MAX));
        let (before, after) = self.partials.bytes();
        metrics
            .partial_bytes
            .set(i64::try_from(before + after).unwrap_or(i64::MAX));
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
        let wait = self.env.config.send_wait.as_millis_u32();
        let mut expired = self
            .db
            .expired(|since| is_due(now, since.wrapping_add(wait)));
        if expired.is_empty() {
            return;
        }
        warn!(
            messages = expired.len(),
            "gave up messages without a link to db-proxy"
        );
        for sending in &mut expired {
            self.env.refuse(&mut sending.line, Refusal::NoDbProxy);
            self.db.release(sending);
        }
    }
}
