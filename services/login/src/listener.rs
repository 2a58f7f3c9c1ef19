//! Accepting clients, bounded in all and by where they come from, and letting them go.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use im_core::places::{self, Admission, Place};
use im_core::{AcceptBackoff, Chain};
use im_runtime::requests::{self, Refused};
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::answer::Answers;
use crate::http::Limits;
use crate::metrics::{Answer, Metrics, Port, Refusal};
use crate::table::{Choice, LoadTable};
use crate::{binary, http};

/// What a client may still send while it takes its answer; more is not read.
const MAX_AFTER_ANSWER: u64 = 64 * 1024;

/// The line of the log that a request leaves.
pub(crate) type Line = requests::Line<&'static str>;

/// A client's place; its token ends the connection that loses it to a newcomer.
pub(crate) type ClientPlace = Place<CancellationToken>;

/// What all connections of clients share.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) table: Arc<Mutex<LoadTable>>,
    pub(crate) answers: Answers,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    /// Which refused requests have a line in the log.
    pub(crate) refused: Refused,
    /// Bounds of the places of each port.
    pub(crate) places: places::Limits,
}

impl Clients {
    /// Chooses for one client and counts what it is told.
    pub(crate) fn choose(&self, port: Port, mut line: Line) -> Choice {
        let choice = {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            table.choose(Instant::now())
        };
        let answer = Answer::from(&choice);
        self.metrics.answered(port, answer);
        match answer {
            Answer::Server | Answer::LastKnown => line.done(),
            Answer::Nobody | Answer::AllFull => line.refused(answer, &self.refused),
        }
        choice
    }

    /// Counts a client that is closed without an answer.
    pub(crate) fn refuse(&self, port: Port, reason: Refusal, mut line: Line) {
        self.metrics.refuse(port, reason);
        if reason != Refusal::Gone {
            line.refused(reason, &self.refused);
        }
    }
}

/// The line of a request whose first bytes have come: nobody says whose it is.
pub(crate) fn begin_line(port: Port, stream: &TcpStream) -> Line {
    let line = Line::begin(port.request(), 0);
    match stream.peer_addr() {
        Ok(peer) if line.is_open() => line.coming_from(peer.ip()),
        _ => line,
    }
}

/// Accepts clients of one port, which has places of its own, until `stop` fires.
pub(crate) async fn accept(
    listener: TcpListener,
    port: Port,
    clients: Arc<Clients>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let open = clients.metrics.connections(port);
    let places = Admission::new(clients.places);
    let refused = Refused::default();
    let (mut backoff, opened) = (AcceptBackoff::default(), Instant::now());
    loop {
        let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else {
            return;
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                let (wait, log) = backoff.failed(opened.elapsed());
                if log {
                    warn!(error = %Chain(&error), ?port, "accept failed");
                }
                clients.metrics.accept_failures.inc();
                sleep(wait).await;
                continue;
            }
        };
        backoff.succeeded();
        // Fires at a stop as well.
        let evict = stop.child_token();
        let place = match places.enter(peer.ip(), evict.clone()) {
            Ok((place, evicted)) => {
                if let Some(evicted) = evicted {
                    clients.metrics.refuse(port, Refusal::Evicted);
                    evicted.cancel();
                }
                place
            }
            Err(reason) => {
                if let Some(left_out) = refused.admit() {
                    debug!(%peer, ?reason, left_out, "refused a client");
                }
                clients.metrics.refuse(port, reason.into());
                continue;
            }
        };
        let (clients, counted) = (Arc::clone(&clients), Counted::new(&open));
        tasks.spawn(async move {
            let mut place = place;
            let serve = async {
                match port {
                    Port::Http => http::serve(stream, &mut place, &clients).await,
                    Port::Binary => binary::serve(stream, &mut place, &clients).await,
                }
            };
            // An answer takes no time; whoever has not asked yet asks elsewhere.
            evict.run_until_cancelled(serve).await;
            drop((counted, place));
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
