//! Connections of clients: accepted within bounds, served, and let go.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use im_core::places::{self, Admission};
use im_core::{AcceptBackoff, Chain};
use im_runtime::listen;
use im_runtime::requests::Refused;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::line::Line;
use crate::meter::{Closed, Meter};
use crate::pace::{ClientPlace, Pace, Paced, Turn};
use crate::tls::{self, Tls};
use crate::turn::{InTurn, Live};

/// Bounds of connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many there are, in all and by where they come from.
    pub places: places::Limits,
    /// Bytes of a request's head.
    pub max_head: usize,
    /// Time for a head, and between two requests.
    pub head_timeout: Duration,
    /// How long a client may be slower than `least_rate`.
    pub body_grace: Duration,
    /// Bytes per second that a client must send or take.
    pub least_rate: u64,
    /// Time a client has to take its answer and close.
    pub linger: Duration,
    /// Bytes that a client may still send while it takes its answer.
    pub max_after_answer: u64,
}

/// The two stops of a server: nobody new and no new request, and an end to all.
#[derive(Clone, Debug)]
pub struct Stops {
    /// Nobody new; requests that are open end.
    pub drain: CancellationToken,
    /// Everything is cut.
    pub end: CancellationToken,
}

/// A client's connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    /// At which of our addresses it came.
    pub local: SocketAddr,
    /// Whether it came by TLS.
    pub secure: bool,
}

/// What answers requests.
pub trait Serve: Send + Sync + 'static {
    /// Whether requests come with a [`Line`], at the cost of a second descriptor for each connection.
    const WATCHED: bool = false;

    /// Body of an answer.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;

    /// Answers one request.
    fn serve(
        self: Arc<Self>,
        peer: Peer,
        request: Request<InTurn<Incoming>>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// Accepts clients until the drain begins. With `tls` the port takes both, told apart by the first byte.
pub async fn accept<S: Serve>(
    listener: TcpListener,
    service: Arc<S>,
    tls: Option<Tls>,
    meter: Meter,
    limits: Limits,
    tasks: TaskTracker,
    stops: Stops,
) {
    let places = Admission::new(limits.places);
    let refused = Refused::default();
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
                meter.accept_failures.inc();
                sleep(wait).await;
                continue;
            }
        };
        backoff.succeeded();
        let evict = stops.end.child_token();
        let place = match places.enter(peer.ip(), evict.clone()) {
            Ok((place, evicted)) => {
                if let Some(evicted) = evicted {
                    meter.close(Closed::Evicted);
                    evicted.cancel();
                }
                place
            }
            Err(reason) => {
                if let Some(left_out) = refused.admit() {
                    debug!(%peer, ?reason, left_out, "refused a client");
                }
                meter.close(reason.into());
                continue;
            }
        };
        let counted = Counted::new(&meter.connections);
        let connection = Connection {
            service: Arc::clone(&service),
            tls: tls.clone(),
            meter: meter.clone(),
            limits,
            peer,
            drain: stops.drain.clone(),
        };
        tasks.spawn(async move {
            // Large: on the heap from the beginning.
            let serving = Box::pin(connection.serve(stream, place));
            evict.run_until_cancelled(serving).await;
            drop(counted);
        });
    }
}

/// A connection that is served.
struct Connection<S> {
    service: Arc<S>,
    tls: Option<Tls>,
    meter: Meter,
    limits: Limits,
    peer: SocketAddr,
    drain: CancellationToken,
}

impl<S: Serve> Connection<S> {
    async fn serve(self, stream: TcpStream, place: ClientPlace) {
        let (Ok(()), Ok(local)) = (listen::tune(&stream), stream.local_addr()) else {
            return;
        };
        let mut peer = Peer {
            address: self.peer,
            local,
            secure: false,
        };
        let line = S::WATCHED.then(|| Line::of(&stream)).and_then(Result::ok);
        let pace = Pace::new(self.limits.body_grace, self.limits.least_rate);
        let begin = Instant::now();
        let secure = match &self.tls {
            None => None,
            Some(tls) => {
                let mut first = [0];
                let peeked = timeout_at(begin + self.limits.head_timeout, stream.peek(&mut first));
                match peeked.await {
                    Ok(Ok(1..)) if first == [tls::FIRST_BYTE] => Some(tls.acceptor()),
                    Ok(Ok(1..)) => None,
                    Ok(_) => return,
                    Err(_) => {
                        self.meter.close(Closed::SlowHead);
                        return;
                    }
                }
            }
        };
        let io = Paced::new(stream, pace.clone(), place, self.meter.clone());
        match secure {
            None => self.requests(io, peer, pace, line).await,
            Some(acceptor) => {
                let handshake = acceptor.accept(io);
                match timeout_at(begin + self.limits.head_timeout, handshake).await {
                    Ok(Ok(io)) => {
                        peer.secure = true;
                        self.requests(io, peer, pace, line).await;
                    }
                    Ok(Err(error)) => {
                        debug!(peer = %self.peer, error = %Chain(&error), "no TLS");
                        self.meter.close(Closed::Handshake);
                    }
                    Err(_) => self.meter.close(Closed::Handshake),
                }
            }
        }
    }

    async fn requests<I>(self, io: I, peer: Peer, pace: Pace, line: Option<Line>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self {
            service,
            meter,
            limits,
            drain,
            ..
        } = self;
        let turns = pace.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let pace = turns.clone();
            let mut request = request.map(|body| InTurn::sending(body, pace.clone()));
            if let Some(line) = &line {
                request.extensions_mut().insert(line.clone());
            }
            let answer = Arc::clone(&service).serve(peer, request);
            Box::pin(async move {
                let answer = answer.await;
                let is_live = answer.extensions().get::<Live>().is_some();
                Ok::<_, Infallible>(answer.map(|body| {
                    if is_live {
                        InTurn::live(body, pace)
                    } else {
                        InTurn::taking(body, pace)
                    }
                }))
            })
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
                    meter.close(match turn {
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
            debug!(peer = %peer.address, error = %Chain(&error), "connection ended");
            if error.is_timeout() {
                meter.close(Closed::SlowHead);
                return;
            }
            if error.is_parse_too_large() {
                meter.close(Closed::LongHead);
            } else if error.is_parse() {
                meter.close(Closed::Malformed);
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
async fn finish<I: AsyncRead + AsyncWrite + Unpin>(mut io: I, limits: &Limits) {
    let deadline = Instant::now() + limits.linger;
    if !matches!(timeout_at(deadline, io.shutdown()).await, Ok(Ok(()))) {
        return;
    }
    let mut rest = io.take(limits.max_after_answer);
    let mut scratch = [0; 4_096];
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
