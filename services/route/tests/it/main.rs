//! The route role over real sockets.

#![allow(
    clippy::unwrap_used,
    reason = "tests fail by panicking, and their helpers are not marked as tests"
)]

use std::time::Duration;

use im_config::{LinkConfig, RouteConfig};
use im_discovery::Endpoint;
use im_proto_rpc::v1::publish_item::Item as Published;
use im_proto_rpc::v1::route_call::Call;
use im_proto_rpc::v1::route_item::Item;
use im_proto_rpc::v1::{
    LiveMessage, PublishBatch, PublishItem, PublishReplies, RouteCall, RouteCalls, RouteHello,
    RouteItems, SessionInfo, SessionUp,
};
use im_route::{Deps, Server, ServerError};
use im_rpc::grpc::GrpcDialer;
use im_rpc::{Dial, Guard, Link, LinkKind, LinkMetrics, RouteAttach, RoutePublish, Secret};
use im_runtime::Context;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const RING: u64 = 9;

struct Route {
    address: String,
    secret: Secret,
    context: Context,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ServerError>>,
}

impl Route {
    async fn start() -> Self {
        let (secret, context) = (Secret::generate(), Context::default());
        let config = RouteConfig {
            listen: "127.0.0.1:0".to_owned(),
            ..RouteConfig::default()
        };
        let guard = Some(Guard::new(&secret, LinkMetrics::default()));
        let deps = Deps {
            context: context.clone(),
            guard,
        };
        let server = Server::bind(config, deps).await.unwrap();
        let address = server.bound().listen.unwrap().to_string();
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone()));
        Self {
            address,
            secret,
            context,
            stop,
            task,
        }
    }

    async fn dial<K: LinkKind>(&self) -> Link<K::Call, K::Item> {
        let endpoint = Endpoint {
            name: "route".to_owned(),
            address: self.address.clone(),
        };
        let dialer = GrpcDialer::<K>::new(endpoint, self.secret.clone(), LinkConfig::default());
        dialer.dial().await.unwrap()
    }

    async fn msg(&self, server: &str) -> Link<RouteCalls, RouteItems> {
        let link = self.dial::<RouteAttach>().await;
        let hello = RouteHello {
            server: server.to_owned(),
            instance: 1,
        };
        send(&link, vec![Call::Hello(hello)]).await;
        link
    }

    async fn writer(&self, position: u64) -> Link<PublishBatch, PublishReplies> {
        let link = self.dial::<RoutePublish>().await;
        publish(&link, position, position, vec![]).await;
        link
    }
}

async fn send(link: &Link<RouteCalls, RouteItems>, calls: Vec<Call>) {
    let calls = calls
        .into_iter()
        .map(|call| RouteCall { call: Some(call) })
        .collect();
    link.tx.send(RouteCalls { calls }).await.unwrap();
}

async fn publish(
    link: &Link<PublishBatch, PublishReplies>,
    after: u64,
    through: u64,
    messages: Vec<LiveMessage>,
) {
    let items = messages
        .into_iter()
        .map(|message| PublishItem {
            item: Some(Published::Message(message)),
        })
        .collect();
    link.tx
        .send(PublishBatch {
            after,
            through,
            ring: RING,
            items,
        })
        .await
        .unwrap();
}

/// The next item of a kind.
async fn next<T>(link: &mut Link<RouteCalls, RouteItems>, pick: impl Fn(Item) -> Option<T>) -> T {
    let search = async {
        loop {
            let batch = link.rx.recv().await.expect("an open link");
            for item in batch.items.into_iter().filter_map(|item| item.item) {
                if let Some(found) = pick(item) {
                    return found;
                }
            }
        }
    };
    timeout(Duration::from_secs(10), search)
        .await
        .expect("it comes")
}

/// The positions of at least this many messages: a batch may hold several.
async fn messages(link: &mut Link<RouteCalls, RouteItems>, count: usize) -> Vec<u64> {
    let mut found = Vec::new();
    let search = async {
        while found.len() < count {
            let batch = link.rx.recv().await.expect("an open link");
            found.extend(batch.items.into_iter().filter_map(|item| match item.item {
                Some(Item::Message(message)) => Some(message.seq),
                _ => None,
            }));
        }
    };
    timeout(Duration::from_secs(10), search)
        .await
        .expect("they come");
    found
}

async fn log_in(link: &mut Link<RouteCalls, RouteItems>, user: u32, epoch: u64) {
    let session = SessionInfo {
        user,
        epoch,
        client_type: 0x12,
        login_ms: epoch,
        ..SessionInfo::default()
    };
    send(
        link,
        vec![Call::Up(SessionUp {
            tag: epoch,
            session: Some(session),
        })],
    )
    .await;
    let tag = next(link, |item| match item {
        Item::Ready(ready) => Some(ready.tag),
        _ => None,
    });
    assert_eq!(tag.await, epoch);
}

fn message(seq: u64, recipients: &[u32]) -> LiveMessage {
    LiveMessage {
        seq,
        recipients: recipients.to_vec(),
        ..LiveMessage::default()
    }
}

/// S-31.
#[tokio::test]
async fn a_thousand_messages_between_servers_arrive_once_and_in_order() {
    let route = Route::start().await;
    let mut writer = route.writer(0).await;
    let (mut m1, mut m2) = (route.msg("m1").await, route.msg("m2").await);
    log_in(&mut m1, 1, 11).await;
    log_in(&mut m2, 2, 12).await;
    assert!(route.context.readiness.is_ready());
    let publishing = tokio::spawn(async move {
        for seq in 1..=1_000 {
            publish(&writer, seq - 1, seq, vec![message(seq, &[1, 2])]).await;
        }
        while writer.rx.recv().await.unwrap().confirmed < 1_000 {}
        writer
    });
    for link in [&mut m1, &mut m2] {
        assert_eq!(messages(link, 1_000).await, (1..=1_000).collect::<Vec<_>>());
    }
    drop(publishing.await.unwrap());
    // The port stays until it is told to stop; then every link ends.
    route.stop.cancel();
    timeout(Duration::from_secs(10), route.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let ended = async { while m1.rx.recv().await.is_some() {} };
    timeout(Duration::from_secs(10), ended).await.unwrap();
    assert!(!route.context.readiness.is_ready());
}

#[tokio::test]
async fn a_duplicate_login_is_kicked_over_the_network() {
    let route = Route::start().await;
    let _writer = route.writer(0).await;
    let (mut m1, mut m2) = (route.msg("m1").await, route.msg("m2").await);
    log_in(&mut m1, 1, 11).await;
    log_in(&mut m2, 1, 12).await;
    let kick = next(&mut m1, |item| match item {
        Item::Kick(kick) => Some((kick.user, kick.epoch, kick.reason)),
        _ => None,
    });
    assert_eq!(kick.await, (1, 11, 1));
}

#[tokio::test]
async fn metrics_and_dump_show_what_is_there() {
    let route = Route::start().await;
    let _writer = route.writer(5).await;
    let mut m1 = route.msg("m1").await;
    log_in(&mut m1, 1, 11).await;
    let shown = async {
        loop {
            let text = route.context.metrics.encode().unwrap();
            if text.contains("im_route_sessions{kind=\"mobile\"} 1")
                && text.contains("im_route_servers{kind=\"attached\"} 1")
                && text.contains("im_route_position 5")
            {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), shown)
        .await
        .expect("metrics follow");
    let dump = route.context.dumps.dump();
    assert_eq!(dump["route"]["servers"][0]["name"], "m1");
    assert_eq!(dump["route"]["servers"][0]["mobile_sessions"], 1);
}

#[tokio::test]
async fn an_occupied_port_is_named() {
    let route = Route::start().await;
    let config = RouteConfig {
        listen: route.address.clone(),
        ..RouteConfig::default()
    };
    let guard = Some(Guard::new(&route.secret, LinkMetrics::default()));
    let deps = Deps {
        context: Context::default(),
        guard,
    };
    let Err(error) = Server::bind(config, deps).await else {
        panic!("it is taken")
    };
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, format!("listen on {}", route.address));
}
