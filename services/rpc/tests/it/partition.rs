//! A network that goes silent without a word: keep-alive finds it, at both ends.

use std::sync::Arc;
use std::time::Duration;

use im_config::LinkConfig;
use im_config::units::Span;
use im_discovery::Endpoint;
use im_rpc::grpc::GrpcDialer;
use im_rpc::serve::GrpcServer;
use im_rpc::{DbProxyAttach, Dial, Guard, LinkMetrics, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::world::{Far, calls, soon};

/// Passes bytes on until `silent` fires; then it holds the connections open and drops the bytes.
async fn proxy(to: std::net::SocketAddr, silent: CancellationToken) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.unwrap();
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            tokio::spawn(pass(near_read, far_write, silent.clone()));
            tokio::spawn(pass(far_read, near_write, silent.clone()));
        }
    });
    address
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, silent: CancellationToken) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        if !silent.is_cancelled() && to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn both_ends_of_a_silent_link_are_closed_within_the_keep_alive_time() {
    let config = LinkConfig {
        keepalive: Span::millis(50),
        // A ping is answered at once, but a busy machine needs its time for that.
        keepalive_timeout: Span::seconds(2),
        ..LinkConfig::default()
    };
    let secret = Secret::generate();
    let (links, mut accepted) = mpsc::unbounded_channel();
    let accept = Arc::new(move |link: Far| links.send(link).unwrap());
    let server = GrpcServer::new(&config, Guard::new(&secret, LinkMetrics::default()))
        .link::<DbProxyAttach>(accept)
        .on(TcpListener::bind("127.0.0.1:0").await.unwrap())
        .unwrap();
    let silent = CancellationToken::new();
    let address = proxy(server.local_addr(), silent.clone()).await.to_string();
    tokio::spawn(server.run(CancellationToken::new(), Duration::ZERO));

    let endpoint = Endpoint {
        name: "db".to_owned(),
        address,
    };
    let near = GrpcDialer::<DbProxyAttach>::new(endpoint, secret, config)
        .dial()
        .await
        .unwrap();
    let mut far = soon(accepted.recv()).await.unwrap();
    near.tx.send(calls(1)).await.unwrap();
    assert_eq!(soon(far.rx.recv()).await, Some(calls(1)));
    // Idle for longer than the keep-alive time: an answered ping keeps the link.
    let idle = tokio::time::timeout(Duration::from_millis(300), near.closed.cancelled()).await;
    assert!(idle.is_err(), "an idle link was closed");

    silent.cancel();
    soon(near.closed.cancelled()).await;
    soon(far.closed.cancelled()).await;
    assert_eq!(soon(far.rx.recv()).await, None);
}
