//! Strangers and peers: a connection has one of few places until a call on it presents the secret.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use im_config::LinkConfig;
use im_core::places::{Admission, Limits, Place};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpConnectInfo;

/// Strangers evicted but not gone yet: as many as are accepted before other tasks have a turn.
const LEAVING: usize = 128;

/// The places of one port.
#[derive(Debug)]
pub(super) struct Doors {
    peers: Arc<Semaphore>,
    strangers: Admission<CancellationToken>,
    /// Time that a stranger has.
    pub(super) patience: Duration,
}

impl Doors {
    pub(super) fn new(config: &LinkConfig) -> Self {
        let total = config.max_unauthenticated;
        Self {
            peers: Arc::new(Semaphore::new(config.max_connections)),
            strangers: Admission::new(Limits {
                total,
                // One address has half of them: peers show who they are within a round trip.
                per_address: total.div_ceil(2),
                reserved: total / 8,
                few: 2,
                leaving: LEAVING,
            }),
            patience: config.authenticate_within.into(),
        }
    }

    /// A place for a newcomer, and the token of the stranger that loses its own for it. `None` when there
    /// is none.
    pub(super) fn enter(
        &self,
        from: IpAddr,
        cut: &CancellationToken,
    ) -> Option<(Arc<Standing>, Option<CancellationToken>)> {
        let (place, evicted) = self.strangers.enter(from, cut.clone()).ok()?;
        let standing = Standing {
            known: AtomicBool::new(false),
            holds: Mutex::new(Holds::Stranger(place)),
            peers: Arc::clone(&self.peers),
        };
        Some((Arc::new(standing), evicted))
    }
}

/// What one connection is to the port.
#[derive(Debug)]
pub(super) struct Standing {
    known: AtomicBool,
    holds: Mutex<Holds>,
    peers: Arc<Semaphore>,
}

#[derive(Debug)]
enum Holds {
    Stranger(Place<CancellationToken>),
    Peer { _permit: OwnedSemaphorePermit },
    Gone,
}

impl Standing {
    /// Whether the secret was presented on this connection.
    pub(super) fn is_known(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    /// The secret was presented. False when there are too many peers, or the connection was evicted.
    fn recognise(&self) -> bool {
        if self.is_known() {
            return true;
        }
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *holds {
            Holds::Peer { .. } => true,
            Holds::Gone => false,
            Holds::Stranger(place) => {
                let Ok(permit) = Arc::clone(&self.peers).try_acquire_owned() else {
                    return false;
                };
                if !place.keep() {
                    return false;
                }
                *holds = Holds::Peer { _permit: permit };
                self.known.store(true, Ordering::Release);
                true
            }
        }
    }

    /// The socket is closed.
    pub(super) fn leave(&self) {
        *self.holds.lock().unwrap_or_else(PoisonError::into_inner) = Holds::Gone;
    }
}

/// The connection of a call, among the extensions of its request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(super) tcp: TcpConnectInfo,
    pub(super) standing: Arc<Standing>,
}

impl Caller {
    pub(crate) fn address(&self) -> TcpConnectInfo {
        self.tcp.clone()
    }

    pub(crate) fn recognise(&self) -> bool {
        self.standing.recognise()
    }
}
