//! Accepting clients, bounded in all and per address, and letting them go.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::answer::Answers;
use crate::http::Limits;
use crate::metrics::{Metrics, Port, Refusal};
use crate::table::{Choice, LoadTable};
use crate::{binary, http};

/// Wait after a failed accept: long enough not to spin when descriptors are short.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// What a client may still send while it takes its answer; more is not read.
const MAX_AFTER_ANSWER: u64 = 64 * 1024;

/// What all connections of clients share.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) table: Arc<Mutex<LoadTable>>,
    pub(crate) answers: Answers,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) addresses: Addresses,
}

impl Clients {
    /// Chooses for one client and counts what it is told.
    pub(crate) fn choose(&self, port: Port) -> Choice {
        let choice = {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            table.choose(Instant::now())
        };
        self.metrics.answered(port, &choice);
        choice
    }
}

/// Accepts clients of one port until `stop` fires. Beyond the number of connections one waits here and
/// the others in the kernel's queue.
pub(crate) async fn accept(
    listener: TcpListener,
    port: Port,
    clients: Arc<Clients>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let open = clients.metrics.connections(port);
    loop {
        let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else {
            return;
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "accept failed");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        // Asked for only when there is a client: the ports share the places.
        let place = stop.run_until_cancelled(Arc::clone(&clients.places).acquire_owned());
        let Some(Ok(place)) = place.await else { return };
        let Some(address) = clients.addresses.admit(peer.ip()) else {
            debug!(%peer, "refused a client: too many of its address");
            clients.metrics.refuse(port, Refusal::Address);
            continue;
        };
        let (clients, stop) = (Arc::clone(&clients), stop.clone());
        let counted = Counted::new(&open);
        tasks.spawn(async move {
            let serve = async {
                match port {
                    Port::Http => http::serve(stream, &clients).await,
                    Port::Binary => binary::serve(stream, &clients).await,
                }
            };
            // An answer takes no time; whoever has not asked yet asks elsewhere.
            stop.run_until_cancelled(serve).await;
            drop((counted, address, place));
        });
    }
}

/// Sends the answer and closes. The client may take its time within `linger`: closing with unread
/// bytes would take the answer away from it.
pub(crate) async fn finish(mut stream: TcpStream, answer: &[u8], linger: Duration) {
    let deadline = Instant::now() + linger;
    let sent = timeout_at(deadline, async {
        stream.write_all(answer).await?;
        stream.shutdown().await
    });
    if !matches!(sent.await, Ok(Ok(()))) {
        return;
    }
    let mut rest = stream.take(MAX_AFTER_ANSWER);
    let mut scratch = [0; 512];
    while let Ok(Ok(1..)) = timeout_at(deadline, rest.read(&mut scratch)).await {}
}

/// Open connections by address.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    limit: usize,
}

impl Addresses {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            open: Arc::default(),
            limit,
        }
    }

    /// Counts a connection while the answer lives; `None` when there are too many.
    fn admit(&self, address: IpAddr) -> Option<Admitted> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Admitted {
            addresses: self.clone(),
            address,
        })
    }
}

/// A counted connection.
#[derive(Debug)]
struct Admitted {
    addresses: Addresses,
    address: IpAddr,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self
            .addresses
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// A gauge that is one higher while this lives.
struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_no_memory_of_them() {
        let addresses = Addresses::new(2);
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let other: IpAddr = "192.0.2.2".parse().unwrap();
        let first = addresses.admit(one);
        let second = addresses.admit(one);
        assert!(first.is_some() && second.is_some());
        assert!(addresses.admit(one).is_none());
        assert!(addresses.admit(other).is_some());
        drop(first);
        assert!(addresses.admit(one).is_some());
        drop(second);
        assert!(addresses.open.lock().unwrap().is_empty());
    }
}
