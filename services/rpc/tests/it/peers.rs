//! Keeping links to whoever is listed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use im_config::LinkConfig;
use im_discovery::{Endpoint, StaticList};
use im_proto_rpc::v1::{DbCalls, DbResults};
use im_rpc::metrics::DialResult;
use im_rpc::peers::Watch;
use im_rpc::{Connect, Dial, DialError, Link, LinkMetrics, PeerEvent, Peers, link};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::world::{Far, Near, config, soon};

const KIND: im_role::Link = im_role::links::DB_PROXY_ATTACH;

/// Servers by address; what is not in here cannot be reached.
#[derive(Clone, Default)]
struct Network(Arc<Mutex<HashMap<String, Answer>>>);

#[derive(Clone)]
enum Answer {
    Accept(mpsc::UnboundedSender<Far>),
    Refuse,
}

impl Network {
    fn start(&self, address: &str) -> mpsc::UnboundedReceiver<Far> {
        let (links, accepted) = mpsc::unbounded_channel();
        self.0
            .lock()
            .unwrap()
            .insert(address.to_owned(), Answer::Accept(links));
        accepted
    }
}

impl Connect<DbCalls, DbResults> for Network {
    fn dialer(&self, endpoint: &Endpoint) -> Arc<dyn Dial<DbCalls, DbResults>> {
        Arc::new(NetworkDialer {
            network: self.clone(),
            endpoint: endpoint.clone(),
        })
    }
}

struct NetworkDialer {
    network: Network,
    endpoint: Endpoint,
}

#[async_trait]
impl Dial<DbCalls, DbResults> for NetworkDialer {
    fn peer(&self) -> &str {
        &self.endpoint.name
    }

    async fn dial(&self) -> Result<Near, DialError> {
        let peer = self.endpoint.name.clone();
        let answer = self
            .network
            .0
            .lock()
            .unwrap()
            .get(&self.endpoint.address)
            .cloned();
        match answer {
            Some(Answer::Accept(links)) => {
                let (near, far) = link::pair("test", &peer, 4);
                links.send(far).unwrap();
                Ok(near)
            }
            Some(Answer::Refuse) => Err(DialError::Refused { peer }),
            None => Err(DialError::Unreachable {
                peer,
                source: "no such server".into(),
            }),
        }
    }
}

struct World {
    network: Network,
    list: Arc<StaticList>,
    events: mpsc::Receiver<PeerEvent<DbCalls, DbResults>>,
    metrics: LinkMetrics,
    tasks: TaskTracker,
    stop: CancellationToken,
}

fn endpoint(name: &str, address: &str) -> Endpoint {
    Endpoint {
        name: name.to_owned(),
        address: address.to_owned(),
    }
}

fn world(endpoints: Vec<Endpoint>) -> World {
    let (network, list) = (Network::default(), Arc::new(StaticList::new(endpoints)));
    let (metrics, tasks) = (LinkMetrics::default(), TaskTracker::new());
    let stop = CancellationToken::new();
    let peers = Peers::new(Arc::clone(&list) as _, Arc::new(network.clone()));
    let events = peers.watch(Watch {
        link: KIND,
        config: &config(),
        metrics: &metrics,
        tasks: &tasks,
        stop: stop.clone(),
    });
    World {
        network,
        list,
        events,
        metrics,
        tasks,
        stop,
    }
}

impl World {
    async fn up(&mut self) -> Link<DbCalls, DbResults> {
        match soon(self.events.recv()).await {
            Some(PeerEvent::Up(link)) => link,
            other => panic!("expected Up, got {other:?}"),
        }
    }

    async fn down(&mut self) -> String {
        match soon(self.events.recv()).await {
            Some(PeerEvent::Down { peer }) => peer,
            other => panic!("expected Down, got {other:?}"),
        }
    }

    /// Waits until a dial had this result.
    async fn dialed(&self, result: DialResult) {
        soon(async {
            while self.metrics.dials(KIND, result) == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_starts_late_is_reached_without_help() {
    let mut world = world(vec![endpoint("a", "a:1")]);
    world.dialed(DialResult::Unreachable).await;
    let mut accepted = world.network.start("a:1");
    assert_eq!(world.up().await.peer, "a");
    assert!(soon(accepted.recv()).await.is_some());
}

#[tokio::test]
async fn a_lost_link_is_told_and_dialed_again() {
    let mut world = world(vec![endpoint("a", "a:1")]);
    let mut accepted = world.network.start("a:1");
    for _ in 0..3 {
        let _link = world.up().await;
        drop(soon(accepted.recv()).await.unwrap());
        assert_eq!(world.down().await, "a");
    }
}

#[tokio::test]
async fn the_owner_may_close_a_link_himself() {
    let mut world = world(vec![endpoint("a", "a:1")]);
    let _accepted = world.network.start("a:1");
    drop(world.up().await);
    assert_eq!(world.down().await, "a");
    world.up().await;
}

#[tokio::test]
async fn peers_come_and_go_with_the_list() {
    let mut world = world(vec![endpoint("a", "a:1")]);
    let (mut at_a, _at_b) = (world.network.start("a:1"), world.network.start("b:1"));
    let a = world.up().await;
    let at_a = soon(at_a.recv()).await.unwrap();
    world
        .list
        .replace(vec![endpoint("a", "a:1"), endpoint("b", "b:1")]);
    let b = world.up().await;
    assert_eq!(b.peer, "b");
    world.list.replace(vec![endpoint("b", "b:1")]);
    assert_eq!(world.down().await, "a");
    soon(at_a.closed.cancelled()).await;
    assert!(a.closed.is_cancelled() && !b.closed.is_cancelled());
}

#[tokio::test]
async fn a_peer_that_moves_to_another_address_is_dialed_there() {
    let mut world = world(vec![endpoint("a", "a:1")]);
    let (_old, mut new) = (world.network.start("a:1"), world.network.start("a:2"));
    let _link = world.up().await;
    world.list.replace(vec![endpoint("a", "a:2")]);
    assert_eq!(world.down().await, "a");
    assert_eq!(world.up().await.peer, "a");
    assert!(soon(new.recv()).await.is_some());
}

#[tokio::test]
async fn a_refused_secret_is_counted_and_tried_again() {
    let mut world = world(vec![endpoint("a", "a:1")]);
    world
        .network
        .0
        .lock()
        .unwrap()
        .insert("a:1".to_owned(), Answer::Refuse);
    world.dialed(DialResult::Refused).await;
    let _accepted = world.network.start("a:1");
    world.up().await;
}

#[tokio::test]
async fn a_stop_ends_every_task_and_leaves_open_links_alone() {
    let mut world = world(vec![endpoint("a", "a:1"), endpoint("b", "b:1")]);
    let _accepted = world.network.start("a:1");
    let link = world.up().await;
    world.stop.cancel();
    world.tasks.close();
    soon(world.tasks.wait()).await;
    assert!(!link.closed.is_cancelled());
    assert!(soon(world.events.recv()).await.is_none());
}

#[tokio::test]
async fn a_role_of_this_process_is_a_peer_too() {
    let (links, mut accepted) = mpsc::unbounded_channel();
    let accept = Arc::new(move |link: Far| drop(links.send(link)));
    let config = LinkConfig::default();
    let tasks = TaskTracker::new();
    let mut events = Peers::local("db-proxy", accept, &config).watch(Watch {
        link: KIND,
        config: &config,
        metrics: &LinkMetrics::default(),
        tasks: &tasks,
        stop: CancellationToken::new(),
    });
    let event = soon(events.recv()).await;
    assert!(matches!(event, Some(PeerEvent::Up(link)) if link.peer == "db-proxy"));
    assert!(soon(accepted.recv()).await.is_some());
}
