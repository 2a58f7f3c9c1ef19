//! Connections without the secret: few, for seconds, and in nobody's way.

use std::time::Duration;

use im_config::LinkConfig;
use im_config::units::Span;
use im_rpc::{DbProxyAttach, Dial, DialError, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::serve::{Server, dialer, server};
use crate::world::{config, results, soon};

/// Waits for the end of a connection, whatever the server still says.
async fn ended(mut stream: TcpStream) {
    let mut bytes = Vec::new();
    let _ended_or_reset = soon(stream.read_to_end(&mut bytes)).await;
}

#[tokio::test]
async fn who_does_not_present_the_secret_in_time_is_cut_and_a_peer_stays() {
    let secret = Secret::generate();
    let hasty = LinkConfig {
        authenticate_within: Span::millis(200),
        ..config()
    };
    let Server {
        address,
        metrics,
        mut accepted,
        bound,
    } = server(&secret, &hasty).await;
    tokio::spawn(bound.run(CancellationToken::new(), Duration::ZERO));
    let mut near = dialer::<DbProxyAttach>(&address, &secret)
        .dial()
        .await
        .unwrap();
    let far = soon(accepted.recv()).await.unwrap();
    let silent = TcpStream::connect(&address).await.unwrap();
    // HTTP/2 that never calls anything.
    let mut idle = TcpStream::connect(&address).await.unwrap();
    idle.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    // A call with another secret.
    let wrong = dialer::<DbProxyAttach>(&address, &Secret::generate())
        .dial()
        .await;
    assert!(matches!(wrong, Err(DialError::Refused { .. })));
    ended(silent).await;
    ended(idle).await;
    assert!(metrics.refused_strangers().get() >= 2);
    far.tx.send(results(1)).await.unwrap();
    assert_eq!(soon(near.rx.recv()).await, Some(results(1)));
}

#[tokio::test]
async fn strangers_hold_no_place_against_peers() {
    let secret = Secret::generate();
    let small = LinkConfig {
        max_connections: 3,
        max_unauthenticated: 4,
        authenticate_within: Span::seconds(600),
        ..config()
    };
    let Server {
        address,
        metrics,
        mut accepted,
        bound,
    } = server(&secret, &small).await;
    tokio::spawn(bound.run(CancellationToken::new(), Duration::ZERO));
    let mut strangers = Vec::new();
    for _ in 0..50 {
        strangers.push(TcpStream::connect(&address).await.unwrap());
    }
    let mut peers = Vec::new();
    for _ in 0..3 {
        let dialer = dialer::<DbProxyAttach>(&address, &secret);
        let near = soon(dialer.dial()).await.unwrap();
        peers.push((near, soon(accepted.recv()).await.unwrap()));
    }
    assert!(metrics.refused_strangers().get() >= 46);
    // One more peer than there are places is told so, and comes in when another has gone.
    let dialer = dialer::<DbProxyAttach>(&address, &secret);
    let full = soon(dialer.dial()).await;
    assert!(
        matches!(full, Err(DialError::Unreachable { .. })),
        "{full:?}"
    );
    peers.pop();
    let again = async {
        loop {
            if let Ok(link) = dialer.dial().await {
                return link;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(again).await;
}
