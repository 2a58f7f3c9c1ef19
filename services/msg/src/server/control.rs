//! What administrators and the operator ask of a running msg server. Nothing of it survives a restart.

use std::sync::Arc;

use im_proto_rpc::v1::{
    MonitorSessions, MsgState, SessionEvent, SessionsAsk, ShedRequest, ShedState,
};
use tokio::sync::broadcast;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{listing, shed};
use crate::gateway::Gateway;
use crate::gateway::shed::{NotTaken, Order, Shedding};

/// Longest key of an order, bytes.
const MAX_KEY: usize = 128;

/// Most sessions of one order.
pub(super) const MAX_SESSIONS: u32 = 1_000_000;

/// Most sessions that an order lets go per second.
const MAX_RATE: u32 = 100_000;

/// Why a msg server does not do what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The key of an order is empty or too long.
    #[error("key must have 1 to {MAX_KEY} bytes")]
    Key,
    /// Too many sessions.
    #[error("sessions must be 0 to {MAX_SESSIONS}")]
    Sessions,
    /// No rate, or too high a one.
    #[error("per_second must be 1 to {MAX_RATE}")]
    Rate,
    /// The key belongs to an order with other numbers.
    #[error("another order came under this key")]
    OtherUnderKey,
    /// One order at a time.
    #[error("another order is under way; sessions 0 ends it")]
    Busy,
    /// All of its clients are about to go.
    #[error("the server is stopping")]
    Stopping,
}

/// A running msg server, for those who administer it. Clones are the same server.
#[derive(Clone)]
pub struct Control(Arc<Gateway>);

impl Control {
    pub(super) const fn new(gateway: Arc<Gateway>) -> Self {
        Self(gateway)
    }

    /// Takes no new client any more: login servers are told, and when they have heard it, or `drain_notice` is
    /// over, newcomers are closed. Returns then. Clients that are there stay.
    pub async fn cordon(&self) -> MsgState {
        let gateway = Arc::clone(&self.0);
        // Whoever asks may go away meanwhile; half a cordon is none.
        let cordoning = self.0.env.tasks.spawn(async move {
            if !gateway.drain.state().is_cordoned {
                info!(server = %gateway.env.name, "cordoned: no new client is taken");
            }
            gateway.drain.cordon();
            gateway.env.metrics.cordoned.set(1);
            gateway.load_changed();
            let bound = gateway.env.config.drain_notice.duration();
            let heard = timeout(bound, gateway.drain.all_have_seen()).await;
            if heard.is_err() {
                warn!("not every login server has seen that this server is cordoned");
            }
            gateway.drain.close();
        });
        // It does not fail, and if the runtime ends nobody reads the state.
        cordoning.await.ok();
        self.state()
    }

    /// Takes new clients again.
    pub fn uncordon(&self) -> MsgState {
        if self.0.drain.state().is_cordoned {
            info!(server = %self.0.env.name, "uncordoned");
        }
        self.0.drain.uncordon();
        self.0.env.metrics.cordoned.set(0);
        self.0.load_changed();
        self.state()
    }

    /// Asks sessions to go, the idlest first, and returns at once. An order that comes again changes nothing;
    /// one for no session ends that which is under way.
    ///
    /// # Errors
    /// The order is out of bounds, another one came under its key or is under way, or the server is stopping.
    pub fn shed(&self, request: ShedRequest) -> Result<MsgState, ControlError> {
        let ShedRequest {
            key,
            sessions,
            per_second,
        } = request;
        if sessions == 0 {
            self.0.sheds.stop();
            return Ok(self.state());
        }
        if !(1..=MAX_KEY).contains(&key.len()) {
            return Err(ControlError::Key);
        }
        if sessions > MAX_SESSIONS {
            return Err(ControlError::Sessions);
        }
        if !(1..=MAX_RATE).contains(&per_second) {
            return Err(ControlError::Rate);
        }
        if self.0.drain.state().is_draining {
            return Err(ControlError::Stopping);
        }
        let order = Order {
            key,
            sessions,
            per_second,
        };
        let is_new = self.0.sheds.begin(order).map_err(|why| match why {
            NotTaken::Busy => ControlError::Busy,
            NotTaken::OtherUnderKey => ControlError::OtherUnderKey,
        })?;
        if is_new {
            self.0.env.tasks.spawn(shed::run(Arc::clone(&self.0)));
        }
        Ok(self.state())
    }

    /// A page of at most 1,000 sessions, in an order that all msg servers share.
    pub async fn sessions(&self, ask: &SessionsAsk) -> MonitorSessions {
        listing::page(&self.0, ask).await
    }

    /// Sessions that come and go from now on; who is 512 behind misses some.
    pub fn events(&self) -> broadcast::Receiver<SessionEvent> {
        self.0.sessions.events()
    }

    /// The server at this moment.
    pub fn state(&self) -> MsgState {
        let gateway = &self.0;
        let drain = gateway.drain.state();
        MsgState {
            server: gateway.env.name.clone(),
            instance: gateway.env.instance,
            cordoned: drain.is_cordoned,
            closed: drain.is_closed,
            draining: drain.is_draining,
            sessions: gateway.sessions.len(),
            connections: gateway.connections.len(),
            shed: gateway.sheds.last().map(told),
        }
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Control").field(&self.0.env.name).finish()
    }
}

fn told(shedding: Shedding) -> ShedState {
    let Shedding {
        order,
        chosen,
        gone,
        ended,
        is_stopped: _,
        is_over,
    } = shedding;
    ShedState {
        order: Some(ShedRequest {
            key: order.key,
            sessions: order.sessions,
            per_second: order.per_second,
        }),
        chosen,
        gone,
        ended,
        over: is_over,
    }
}
