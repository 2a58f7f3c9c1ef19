//! The internal port: the secret, the limits, the stop.

use std::sync::Arc;
use std::time::Duration;

use im_config::LinkConfig;
use im_config::units::{ByteSize, Span};
use im_discovery::Endpoint;
use im_proto_rpc::v1::{DbCall, DbCalls, Send, db_call::Call};
use im_rpc::grpc::GrpcDialer;
use im_rpc::serve::{BoundGrpc, Gate, GrpcServer};
use im_rpc::{
    DbProxyAttach, Dial, DialError, Guard, LinkKind, LinkMetrics, LoginReport, RouteAttach,
    RoutePublish, Secret,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::world::{Far, calls, config, results, soon};

pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) metrics: LinkMetrics,
    pub(crate) accepted: mpsc::UnboundedReceiver<Far>,
    pub(crate) bound: BoundGrpc,
}

pub(crate) async fn server(secret: &Secret, config: &LinkConfig) -> Server {
    let metrics = LinkMetrics::default();
    let (links, accepted) = mpsc::unbounded_channel();
    let accept = Arc::new(move |link: Far| drop(links.send(link)));
    let bound = GrpcServer::new(config, Guard::new(secret, metrics.clone()))
        .link::<DbProxyAttach>(accept)
        .on(TcpListener::bind("127.0.0.1:0").await.unwrap())
        .unwrap();
    Server {
        address: bound.local_addr().to_string(),
        metrics,
        accepted,
        bound,
    }
}

pub(crate) fn dialer<K: LinkKind>(address: &str, secret: &Secret) -> GrpcDialer<K> {
    let endpoint = Endpoint {
        name: "db".to_owned(),
        address: address.to_owned(),
    };
    GrpcDialer::new(endpoint, secret.clone(), config())
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_counted_and_reaches_nobody() {
    let secret = Secret::generate();
    let Server {
        address,
        metrics,
        mut accepted,
        bound,
    } = server(&secret, &config()).await;
    tokio::spawn(bound.run(CancellationToken::new(), Duration::ZERO));
    for _ in 0..2 {
        let error = dialer::<DbProxyAttach>(&address, &Secret::generate())
            .dial()
            .await;
        assert!(matches!(error, Err(DialError::Refused { peer }) if peer == "db"));
    }
    assert_eq!(metrics.refused_secrets().get(), 2);
    assert!(accepted.try_recv().is_err());
    let _link = dialer::<DbProxyAttach>(&address, &secret)
        .dial()
        .await
        .unwrap();
    assert!(soon(accepted.recv()).await.is_some());
    assert_eq!(metrics.refused_secrets().get(), 2);
}

#[tokio::test]
async fn a_port_without_a_listener_is_unreachable() {
    let address = server(&Secret::generate(), &config()).await.address;
    let error = dialer::<DbProxyAttach>(&address, &Secret::generate())
        .dial()
        .await;
    assert!(
        matches!(error, Err(DialError::Unreachable { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_listener_that_never_answers_is_given_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint {
        name: "db".to_owned(),
        address: silent.local_addr().unwrap().to_string(),
    };
    let config = LinkConfig {
        connect_timeout: Span::millis(50),
        ..config()
    };
    let dialer = GrpcDialer::<DbProxyAttach>::new(endpoint, Secret::generate(), config);
    let error = soon(dialer.dial()).await;
    assert!(
        matches!(error, Err(DialError::Unreachable { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_batch_above_the_limit_ends_the_link_and_the_server_goes_on() {
    let secret = Secret::generate();
    let small = LinkConfig {
        max_batch: ByteSize::kib(64),
        ..config()
    };
    let Server {
        address,
        mut accepted,
        bound,
        ..
    } = server(&secret, &small).await;
    tokio::spawn(bound.run(CancellationToken::new(), Duration::ZERO));
    let mut link = dialer::<DbProxyAttach>(&address, &secret)
        .dial()
        .await
        .unwrap();
    let mut far = soon(accepted.recv()).await.unwrap();
    let send = Send {
        data: vec![0; 1 << 17].into(),
        ..Send::default()
    };
    let call = DbCall {
        tag: 1,
        call: Some(Call::Send(send)),
    };
    link.tx.send(DbCalls { calls: vec![call] }).await.unwrap();
    assert_eq!(soon(far.rx.recv()).await, None);
    drop(far);
    assert_eq!(soon(link.rx.recv()).await, None);
    let _again = dialer::<DbProxyAttach>(&address, &secret)
        .dial()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_stopping_server_delivers_the_last_results_of_links_that_their_owner_drops() {
    let secret = Secret::generate();
    let Server {
        address,
        mut accepted,
        bound,
        ..
    } = server(&secret, &config()).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(bound.run(stop.clone(), Duration::from_mins(1)));
    let mut near = dialer::<DbProxyAttach>(&address, &secret)
        .dial()
        .await
        .unwrap();
    let mut far = soon(accepted.recv()).await.unwrap();
    stop.cancel();
    near.tx.send(calls(1)).await.unwrap();
    assert_eq!(soon(far.rx.recv()).await, Some(calls(1)));
    far.tx.send(results(1)).await.unwrap();
    drop(far);
    assert_eq!(soon(near.rx.recv()).await, Some(results(1)));
    assert_eq!(soon(near.rx.recv()).await, None);
    drop(near);
    soon(running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_link_that_nobody_closes_is_cut_when_the_grace_is_over() {
    let secret = Secret::generate();
    let Server {
        address,
        mut accepted,
        bound,
        ..
    } = server(&secret, &config()).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(bound.run(stop.clone(), Duration::from_millis(20)));
    let near = dialer::<DbProxyAttach>(&address, &secret)
        .dial()
        .await
        .unwrap();
    let far = soon(accepted.recv()).await.unwrap();
    stop.cancel();
    soon(near.closed.cancelled()).await;
    soon(far.closed.cancelled()).await;
    soon(running).await.unwrap().unwrap();
}

#[tokio::test]
async fn every_kind_of_link_reaches_its_service() {
    let secret = Secret::generate();
    let (seen, mut kinds) = mpsc::unbounded_channel();
    let note = |kind: &'static str| {
        let seen = seen.clone();
        move || seen.send(kind).unwrap()
    };
    let (attach, publish, report) = (note("attach"), note("publish"), note("report"));
    let bound = GrpcServer::new(&config(), Guard::new(&secret, LinkMetrics::default()))
        .link::<RouteAttach>(Arc::new(move |_| attach()))
        .link::<RoutePublish>(Arc::new(move |_| publish()))
        .link::<LoginReport>(Arc::new(move |_| report()))
        .on(TcpListener::bind("127.0.0.1:0").await.unwrap())
        .unwrap();
    let address = bound.local_addr().to_string();
    tokio::spawn(bound.run(CancellationToken::new(), Duration::ZERO));
    let _attach = dialer::<RouteAttach>(&address, &secret)
        .dial()
        .await
        .unwrap();
    assert_eq!(soon(kinds.recv()).await, Some("attach"));
    let _publish = dialer::<RoutePublish>(&address, &secret)
        .dial()
        .await
        .unwrap();
    assert_eq!(soon(kinds.recv()).await, Some("publish"));
    let _report = dialer::<LoginReport>(&address, &secret)
        .dial()
        .await
        .unwrap();
    assert_eq!(soon(kinds.recv()).await, Some("report"));
    // A service that this port does not have.
    let absent = dialer::<DbProxyAttach>(&address, &secret).dial().await;
    assert!(matches!(absent, Err(DialError::Unreachable { .. })));
}

#[tokio::test]
async fn a_gate_that_closes_cuts_the_links_and_lets_nobody_in_until_it_opens() {
    let secret = Secret::generate();
    let Server {
        address,
        mut accepted,
        bound,
        ..
    } = server(&secret, &config()).await;
    let gate = Gate::default();
    let bound = bound.behind(gate.clone());
    tokio::spawn(bound.run(CancellationToken::new(), Duration::ZERO));
    let near = dialer::<DbProxyAttach>(&address, &secret)
        .dial()
        .await
        .unwrap();
    let far = soon(accepted.recv()).await.unwrap();

    assert!(gate.set(false));
    soon(near.closed.cancelled()).await;
    soon(far.closed.cancelled()).await;
    let refused = dialer::<DbProxyAttach>(&address, &secret).dial().await;
    assert!(refused.is_err(), "{refused:?}");

    assert!(gate.set(true) && !gate.set(true));
    let _again = dialer::<DbProxyAttach>(&address, &secret)
        .dial()
        .await
        .unwrap();
}
