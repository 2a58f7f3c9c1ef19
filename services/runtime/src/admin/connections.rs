//! Connections of the admin port: bounded in number and by address, and none stays for long.
//!
//! Probes must get through whoever else holds connections: of those beyond the bound the one goes that has been
//! there longest, a head that does not come in time ends its connection, and so does an answer that is not read.

use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use im_config::AdminConfig;
use im_core::places::{Admission, Limits, Place};
use im_core::{AcceptBackoff, Chain};
use prometheus_client::metrics::counter::Counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::Context;

/// Longest head of a request, bytes; the least that the library takes.
const MAX_HEAD: usize = 8 << 10;

/// A connection is closed after so long, behind the answer that is under way, which has as long again.
const LIFETIME: Duration = Duration::from_secs(60);

/// Time for open requests when the process stops.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// The connections of one port.
pub(super) struct Connections {
    config: AdminConfig,
    places: Admission<CancellationToken>,
    /// Those that were closed or refused because there were too many.
    crowded: Counter,
}

impl Connections {
    pub(super) fn new(config: AdminConfig, context: &Context) -> Self {
        let crowded = Counter::default();
        context.metrics.register(|registry| {
            registry.register(
                "im_admin_crowded_connections",
                "Connections of the admin port that were closed because there were too many",
                crowded.clone(),
            );
        });
        let places = Admission::new(Limits {
            total: config.max_connections,
            per_address: config.max_connections_per_address,
            reserved: config.max_connections / 8,
            few: 2,
            leaving: (config.max_connections / 4).max(8),
        });
        Self {
            config,
            places,
            crowded,
        }
    }

    /// Serves until `stop`; then requests that are open get a moment.
    pub(super) async fn serve(
        self,
        listener: TcpListener,
        routes: Router,
        stop: CancellationToken,
    ) {
        let tasks = TaskTracker::new();
        let (mut backoff, opened) = (AcceptBackoff::default(), Instant::now());
        let head = self.config.head_timeout.duration();
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let (sock, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    let (wait, log) = backoff.failed(opened.elapsed());
                    if log {
                        warn!(error = %Chain(&error), "the admin port cannot accept");
                    }
                    sleep(wait).await;
                    continue;
                }
            };
            backoff.succeeded();
            let cut = CancellationToken::new();
            let Some(place) = self.enter(remote.ip().to_canonical(), &cut) else {
                continue;
            };
            let (routes, stop) = (routes.clone(), stop.clone());
            tasks.spawn(async move {
                let talk = talk(sock, routes, head, stop);
                cut.run_until_cancelled(talk).await;
                drop(place);
            });
        }
        tasks.close();
        // What is cut off is a probe of a process that ends.
        drop(timeout(STOP_LIMIT, tasks.wait()).await);
    }

    fn enter(&self, from: IpAddr, cut: &CancellationToken) -> Option<Place<CancellationToken>> {
        match self.places.enter(from, cut.clone()) {
            Ok((place, evicted)) => {
                if let Some(evicted) = evicted {
                    self.crowded.inc();
                    evicted.cancel();
                }
                Some(place)
            }
            Err(reason) => {
                self.crowded.inc();
                debug!(%from, ?reason, "the admin port has no room");
                None
            }
        }
    }
}

/// One connection, to its end.
async fn talk(sock: TcpStream, routes: Router, head: Duration, stop: CancellationToken) {
    let service = service_fn(move |request: Request<Incoming>| {
        routes.clone().oneshot(request.map(Body::new))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(sock), service);
    let mut connection = pin!(connection);
    let ending = async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(LIFETIME) => {}
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = ending => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(LIFETIME, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(error = %Chain(&error), "a connection of the admin port ended");
    }
}
