//! Connections of clients: accepted within bounds, served, and let go.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use im_core::places::{self, Admission};
use im_core::{AcceptBackoff, Chain};
use im_runtime::listen;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::metrics::Closed;
use crate::pace::{ClientPlace, Pace, Paced, Turn};
use crate::service::{Client, Shared, answer};

/// Bounds of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) places: places::Limits,
    /// Bytes of a request's head.
    pub(crate) max_head: usize,
    pub(crate) head_timeout: Duration,
    pub(crate) body_grace: Duration,
    /// Bytes per second.
    pub(crate) least_rate: u64,
    pub(crate) linger: Duration,
    /// Bytes that a client may still send while it takes its answer.
    pub(crate) max_after_answer: u64,
}

/// The two stops of a server: nobody new and no new request, and an end to all.
#[derive(Clone, Debug)]
pub(crate) struct Stops {
    pub(crate) drain: CancellationToken,
    pub(crate) end: CancellationToken,
}

/// Accepts clients until the drain begins.
pub(crate) async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    limits: Limits,
    tasks: TaskTracker,
    stops: Stops,
) {
    let places = Admission::new(limits.places);
    let (mut backoff, opened) = (AcceptBackoff::default(), Instant::now());
    loop {
        let Some(accepted) = stops.drain.run_until_cancelled(listener.accept()).await else {
            return;
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                let (wait, log) = backoff.failed(opened.elapsed());
                if log {
                    warn!(error = %Chain(&error), "accept failed");
                }
                shared.metrics.accept_failures.inc();
                sleep(wait).await;
                continue;
            }
        };
        backoff.succeeded();
        let evict = stops.end.child_token();
        let place = match places.enter(peer.ip(), evict.clone()) {
            Ok((place, evicted)) => {
                if let Some(evicted) = evicted {
                    shared.metrics.close(Closed::Evicted);
                    evicted.cancel();
                }
                place
            }
            Err(reason) => {
                debug!(%peer, ?reason, "refused a client");
                shared.metrics.close(reason.into());
                continue;
            }
        };
        let counted = Counted::new(&shared.metrics.connections);
        let connection = Connection {
            shared: Arc::clone(&shared),
            limits,
            peer,
            drain: stops.drain.clone(),
        };
        tasks.spawn(async move {
            let serving = connection.serve(stream, place);
            evict.run_until_cancelled(serving).await;
            drop(counted);
        });
    }
}

/// A connection that is served.
struct Connection {
    shared: Arc<Shared>,
    limits: Limits,
    peer: SocketAddr,
    drain: CancellationToken,
}

impl Connection {
    async fn serve(self, stream: TcpStream, place: ClientPlace) {
        let Self {
            shared,
            limits,
            peer,
            drain,
        } = self;
        let (Ok(()), Ok(local)) = (listen::tune(&stream), stream.local_addr()) else {
            return;
        };
        let pace = Pace::new(limits.body_grace, limits.least_rate);
        let client = Client {
            from: peer.ip(),
            base: base(shared.public_url.as_deref(), local),
            pace: pace.clone(),
        };
        let metrics = shared.metrics.clone();
        let io = Paced::new(stream, pace.clone(), place, metrics.clone());
        let service = service_fn(move |request| {
            let answer = answer(Arc::clone(&shared), client.clone(), request);
            Box::pin(async move { Ok::<_, Infallible>(answer.await) })
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .half_close(true)
            .max_header_size(limits.max_head)
            .max_buf_size(limits.max_head.max(MIN_BUFFER));
        let mut connection = http.serve_connection(TokioIo::new(io), service);
        let mut is_draining = false;
        let served = loop {
            tokio::select! {
                served = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break served,
                turn = pace.watch() => {
                    metrics.close(match turn {
                        Turn::Sending => Closed::SlowBody,
                        Turn::Taking | Turn::Ours => Closed::SlowReader,
                    });
                    return;
                }
                () = drain.cancelled(), if !is_draining => {
                    is_draining = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        if let Err(error) = served {
            debug!(%peer, error = %Chain(&error), "connection ended");
            if error.is_timeout() {
                metrics.close(Closed::SlowHead);
                return;
            }
            if error.is_parse_too_large() {
                metrics.close(Closed::LongHead);
            } else if error.is_parse() {
                metrics.close(Closed::Malformed);
            } else {
                return;
            }
        }
        finish(connection.into_parts().io.into_inner(), &limits).await;
    }
}

/// The least that the library takes.
const MIN_BUFFER: usize = 8_192;

/// Closes. The client may take its time within `linger`: closing with unread bytes would take the answer
/// away from it.
async fn finish(mut io: Paced<TcpStream>, limits: &Limits) {
    let deadline = Instant::now() + limits.linger;
    if !matches!(timeout_at(deadline, io.shutdown()).await, Ok(Ok(()))) {
        return;
    }
    let mut rest = io.take(limits.max_after_answer);
    let mut scratch = [0; 4_096];
    while let Ok(Ok(1..)) = timeout_at(deadline, rest.read(&mut scratch)).await {}
}

/// What the URLs begin with that a client is told who has come at this address.
fn base(public_url: Option<&str>, local: SocketAddr) -> Arc<str> {
    match public_url {
        Some(url) => url.into(),
        None => {
            let local = SocketAddr::new(local.ip().to_canonical(), local.port());
            format!("http://{local}/").into()
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
    fn a_client_is_told_the_public_url_or_the_address_at_which_it_came() {
        let local = |text: &str| text.parse().unwrap();
        for (public, at, expected) in [
            (
                Some("http://f.example.com/a/"),
                "10.0.0.1:8700",
                "http://f.example.com/a/",
            ),
            (None, "10.0.0.1:8700", "http://10.0.0.1:8700/"),
            (None, "[2001:db8::1]:8700", "http://[2001:db8::1]:8700/"),
            (None, "[::ffff:10.0.0.1]:8700", "http://10.0.0.1:8700/"),
        ] {
            assert_eq!(&*base(public, local(at)), expected);
        }
    }
}
