//! The engine over in-process links, on a paused clock.

mod asks;
mod bounds;
mod fanout;
mod presence;
mod recovery;
mod timers;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use im_config::RouteConfig;
use im_proto_rpc::v1::publish_item::Item as Published;
use im_proto_rpc::v1::route_call::Call;
use im_proto_rpc::v1::route_item::Item;
use im_proto_rpc::v1::{
    LiveMessage, PublishBatch, PublishItem, PublishReplies, RouteCall, RouteCalls, RouteHello,
    RouteItem, RouteItems, SessionDown, SessionInfo, SessionUp,
};
use im_rpc::{Link, link};
use im_runtime::Readiness;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Engine, NewLink, WRITER_LINK};
use crate::dump::RouteDump;
use crate::metrics::Metrics;

const WINDOWS: u32 = 0x01;
const ANDROID: u32 = 0x12;
const RING: u64 = 77;

/// A running engine.
struct Route {
    links: mpsc::Sender<NewLink>,
    metrics: Metrics,
    readiness: Readiness,
    dump: Arc<Mutex<RouteDump>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Route {
    fn start() -> Self {
        Self::with(|_| {})
    }

    fn with(configure: impl FnOnce(&mut RouteConfig)) -> Self {
        let mut config = RouteConfig::default();
        configure(&mut config);
        let (links, new_links) = mpsc::channel(16);
        let (metrics, readiness) = (Metrics::default(), Readiness::default());
        let dump = Arc::default();
        let engine = Engine::new(
            config,
            metrics.clone(),
            readiness.clone(),
            Arc::clone(&dump),
            new_links,
        );
        let stop = CancellationToken::new();
        let task = tokio::spawn(engine.run(stop.clone()));
        Self {
            links,
            metrics,
            readiness,
            dump,
            stop,
            task,
        }
    }

    async fn msg_link(&self, queue: usize) -> Msg {
        let (near, far) = link::pair("msg", "route", queue);
        self.links.send(NewLink::Msg(far)).await.unwrap();
        Msg {
            link: near,
            position: None,
            ring: None,
            n_batches: 0,
        }
    }

    /// A msg server that has said hello and heard its position.
    async fn msg(&self, server: &str) -> Msg {
        self.msg_instance(server, 1).await
    }

    async fn msg_instance(&self, server: &str, instance: u64) -> Msg {
        let mut msg = self.msg_link(64).await;
        msg.hello(server, instance).await;
        let first = msg.batch().await;
        assert_eq!(first.after, first.through, "nothing lies before");
        msg
    }

    /// A writer whose log stands at `position`.
    async fn writer(&self, position: u64) -> Writer {
        let (near, far) = link::pair("db-proxy", "route", 64);
        self.links.send(NewLink::Writer(far)).await.unwrap();
        let mut writer = Writer {
            link: near,
            position,
        };
        writer.publish_from(position, position, vec![]).await;
        writer
    }
}

/// A msg server's end of its link.
struct Msg {
    link: Link<RouteCalls, RouteItems>,
    /// As the last batch said.
    position: Option<u64>,
    ring: Option<u64>,
    /// Positions are announced for ever: a wait in vain must end.
    n_batches: u32,
}

impl Msg {
    async fn call(&self, call: Call) {
        self.calls(vec![call]).await;
    }

    async fn calls(&self, calls: Vec<Call>) {
        let calls = calls
            .into_iter()
            .map(|call| RouteCall { call: Some(call) })
            .collect();
        self.link.tx.send(RouteCalls { calls }).await.unwrap();
    }

    async fn hello(&self, server: &str, instance: u64) {
        let hello = RouteHello {
            server: server.to_owned(),
            instance,
        };
        self.call(Call::Hello(hello)).await;
    }

    async fn up(&self, tag: u64, info: SessionInfo) {
        self.call(Call::Up(SessionUp {
            tag,
            session: Some(info),
        }))
        .await;
    }

    /// Logs in and waits for the confirmation. Returns its position.
    async fn log_in(&mut self, info: SessionInfo) -> u64 {
        let tag = info.epoch;
        self.up(tag, info).await;
        loop {
            for item in self.items().await {
                if let Item::Ready(ready) = item {
                    assert_eq!(ready.tag, tag);
                    return ready.through;
                }
            }
        }
    }

    async fn down(&self, user: u32, epoch: u64) {
        self.call(Call::Down(SessionDown { user, epoch })).await;
    }

    async fn batch(&mut self) -> RouteItems {
        let batch = timeout(Duration::from_secs(30), self.link.rx.recv()).await;
        let batch = batch
            .expect("a batch within the announcement period")
            .expect("an open link");
        self.n_batches += 1;
        assert!(self.n_batches < 1_000, "waited in vain");
        self.position = Some(batch.through);
        self.ring = Some(batch.ring);
        batch
    }

    /// The next batch that holds something.
    async fn items(&mut self) -> Vec<Item> {
        loop {
            let items = self.batch().await.items;
            if !items.is_empty() {
                return items
                    .into_iter()
                    .filter_map(|RouteItem { item }| item)
                    .collect();
            }
        }
    }

    /// The next item, which must be alone in its batch.
    async fn item(&mut self) -> Item {
        let mut items = self.items().await;
        assert_eq!(items.len(), 1, "{items:?}");
        items.remove(0)
    }

    /// The next message, presence set aside.
    async fn message(&mut self) -> LiveMessage {
        loop {
            for item in self.items().await {
                if let Item::Message(message) = item {
                    return message;
                }
            }
        }
    }

    /// Nothing but positions comes for three seconds.
    async fn hears_nothing(&mut self) {
        let three_seconds = tokio::time::Instant::now() + Duration::from_secs(3);
        while tokio::time::Instant::now() < three_seconds {
            let batch = self.batch().await;
            assert_eq!(batch.items, [], "nothing was expected");
        }
    }

    async fn closed(&mut self) {
        let ended = async { while self.link.rx.recv().await.is_some() {} };
        timeout(Duration::from_secs(30), ended)
            .await
            .expect("the link ends");
        self.link.closed.cancelled().await;
    }
}

/// The writer's end of its link.
struct Writer {
    link: Link<PublishBatch, PublishReplies>,
    position: u64,
}

impl Writer {
    async fn publish(&mut self, items: Vec<Published>) {
        let seqs = items.iter().filter_map(|item| match item {
            Published::Message(message) => Some(message.seq),
            _ => None,
        });
        let (after, through) = (self.position, seqs.max().unwrap_or(self.position));
        self.publish_from(after, through, items).await;
    }

    async fn publish_from(&mut self, after: u64, through: u64, items: Vec<Published>) {
        let items = items
            .into_iter()
            .map(|item| PublishItem { item: Some(item) })
            .collect();
        self.position = through;
        let batch = PublishBatch {
            after,
            through,
            ring: RING,
            items,
        };
        self.link.tx.send(batch).await.unwrap();
    }

    async fn reply(&mut self) -> PublishReplies {
        timeout(Duration::from_secs(30), self.link.rx.recv())
            .await
            .unwrap()
            .unwrap()
    }

    /// Waits until everything published has been handed on.
    async fn confirmed(&mut self) {
        while self.reply().await.confirmed < self.position {}
    }
}

fn session(user: u32, client_type: u32, epoch: u64) -> SessionInfo {
    SessionInfo {
        user,
        client_type,
        epoch,
        login_ms: epoch,
        ..SessionInfo::default()
    }
}

fn live(seq: u64, from: u32, origin: u64, recipients: &[u32]) -> Published {
    Published::Message(LiveMessage {
        seq,
        from,
        origin,
        to: 9,
        msg_id: 1,
        time: 1,
        msg_type: 1,
        data: Bytes::from_static(b"hello"),
        recipients: recipients.to_vec(),
        trace: 0,
    })
}

#[tokio::test(start_paused = true)]
async fn an_engine_ends_with_its_links_when_told_to_stop() {
    let route = Route::start();
    let mut msg = route.msg("m1").await;
    route.stop.cancel();
    route.task.await.unwrap();
    msg.closed().await;
    assert!(!route.readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_server_is_ready_once_the_writer_has_had_a_link() {
    let route = Route::start();
    route.readiness.set(WRITER_LINK, false);
    let mut msg = route.msg("m1").await;
    assert_eq!(msg.ring, Some(0));
    let writer = route.writer(5).await;
    msg.batch().await;
    assert_eq!((msg.ring, msg.position), (Some(RING), Some(5)));
    assert!(route.readiness.is_ready());
    drop(writer);
    msg.batch().await;
    assert_eq!(msg.ring, Some(0));
    assert!(route.readiness.is_ready() && !route.readiness.conditions()[WRITER_LINK]);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_does_not_say_who_it_is_ends() {
    let route = Route::start();
    let mut nameless = route.msg_link(4).await;
    nameless.hello("", 1).await;
    nameless.closed().await;
    let mut silent = route.msg_link(4).await;
    silent.down(1, 1).await;
    silent.closed().await;
    let mut twice = route.msg("m1").await;
    twice.hello("m1", 1).await;
    twice.closed().await;
    assert_eq!(route.metrics.refused(crate::metrics::Refusal::Hello), 2);
    assert_eq!(route.metrics.refused(crate::metrics::Refusal::Server), 1);
}

#[tokio::test(start_paused = true)]
async fn the_dump_shows_servers_and_sessions() {
    let route = Route::start();
    let _writer = route.writer(7).await;
    let mut msg = route.msg("m1").await;
    msg.log_in(session(1, WINDOWS, 1)).await;
    msg.log_in(session(1, ANDROID, 2)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let dump = route.dump.lock().unwrap().clone();
    assert_eq!((dump.position, dump.ring, dump.users), (7, RING, 1));
    assert_eq!((dump.pc_sessions, dump.mobile_sessions), (1, 1));
    assert_eq!(dump.writer.as_deref(), Some("db-proxy"));
    let [server] = dump.servers.as_slice() else {
        panic!("one server")
    };
    assert_eq!((server.name.as_str(), server.attached), ("m1", true));
}
