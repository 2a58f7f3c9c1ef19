//! A server and a client of one link kind, over either transport.

use std::sync::Arc;
use std::time::Duration;

use im_config::LinkConfig;
use im_config::units::Span;
use im_discovery::Endpoint;
use im_proto_rpc::v1::{DbCall, DbCalls, DbResult, DbResults};
use im_rpc::grpc::GrpcDialer;
use im_rpc::local::LocalDialer;
use im_rpc::serve::GrpcServer;
use im_rpc::{DbProxyAttach, Dial, Guard, Link, LinkMetrics, Secret};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) type Near = Link<DbCalls, DbResults>;
pub(crate) type Far = Link<DbResults, DbCalls>;

/// A server that hands its ends of the links to the test.
pub(crate) struct World {
    pub(crate) dialer: Arc<dyn Dial<DbCalls, DbResults>>,
    pub(crate) accepted: mpsc::UnboundedReceiver<Far>,
    /// Stops a gRPC server when the test ends.
    _stop: tokio_util::sync::DropGuard,
}

pub(crate) fn config() -> LinkConfig {
    LinkConfig {
        queue_batches: 4,
        backoff_min: Span::millis(1),
        backoff_max: Span::millis(10),
        ..LinkConfig::default()
    }
}

pub(crate) fn local() -> World {
    let (links, accepted) = mpsc::unbounded_channel();
    let accept = Arc::new(move |link: Far| drop(links.send(link)));
    World {
        dialer: Arc::new(LocalDialer::new("db", accept, config().queue_batches)),
        accepted,
        _stop: CancellationToken::new().drop_guard(),
    }
}

pub(crate) async fn grpc() -> World {
    let (links, accepted) = mpsc::unbounded_channel();
    let accept = Arc::new(move |link: Far| drop(links.send(link)));
    let secret = Secret::generate();
    let guard = Guard::new(&secret, LinkMetrics::default());
    let server = GrpcServer::new(&config(), guard)
        .link::<DbProxyAttach>(accept)
        .on(TcpListener::bind("127.0.0.1:0").await.unwrap())
        .unwrap();
    let address = server.local_addr().to_string();
    let stop = CancellationToken::new();
    tokio::spawn(server.run(stop.clone(), Duration::ZERO));
    let endpoint = Endpoint {
        name: "db".to_owned(),
        address,
    };
    World {
        dialer: Arc::new(GrpcDialer::<DbProxyAttach>::new(endpoint, secret, config())),
        accepted,
        _stop: stop.drop_guard(),
    }
}

impl World {
    pub(crate) async fn link(&mut self) -> (Near, Far) {
        let near = self.dialer.dial().await.unwrap();
        (near, soon(self.accepted.recv()).await.unwrap())
    }
}

/// The result of something that must happen, with a limit that only a defect reaches.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), future)
        .await
        .expect("it happens within 10 s")
}

pub(crate) fn calls(tag: u64) -> DbCalls {
    DbCalls {
        calls: vec![DbCall { tag, call: None }],
    }
}

pub(crate) fn results(tag: u64) -> DbResults {
    DbResults {
        results: vec![DbResult { tag, result: None }],
    }
}
