use std::time::Duration;

use im_config::units::Span;
use im_proto_rpc::v1::publish_item::Item;
use im_rpc::{Link, Ring, link};
use im_store::GroupMember;

use super::*;
use crate::members::Members;
use crate::publication::Recipients;

type RouteEnd = Link<v1::PublishReplies, v1::PublishBatch>;

struct Rig {
    publisher: Publisher,
    events: mpsc::Sender<PeerEvent<v1::PublishBatch, v1::PublishReplies>>,
    stop: CancellationToken,
}

fn user(id: u32) -> UserId {
    UserId::from_wire(id).unwrap()
}

impl Rig {
    fn new(config: &PublishConfig) -> Self {
        let publisher = Publisher::new(config, Metrics::default());
        let (events, peers) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let (following, stopping) = (publisher.clone(), stop.clone());
        tokio::spawn(async move { following.follow(peers, &TaskTracker::new(), stopping).await });
        Self {
            publisher,
            events,
            stop,
        }
    }

    async fn route(&self, name: &str) -> RouteEnd {
        let (near, far) = link::pair("db-proxy", name, 8);
        self.events.send(PeerEvent::Up(near)).await.unwrap();
        far
    }

    fn send(&self, seq: u64, from: u32, to: u32) {
        let message = v1::LiveMessage {
            seq,
            from,
            to,
            ..Default::default()
        };
        let recipients = Recipients::Pair(user(from), user(to));
        self.publisher.committed(
            vec![Outgoing {
                message,
                recipients,
            }],
            CommitSeq::from_wire(seq),
        );
    }
}

/// The next batch, unconfirmed.
async fn next(route: &mut RouteEnd) -> v1::PublishBatch {
    let received = tokio::time::timeout(Duration::from_secs(60), route.rx.recv());
    received
        .await
        .expect("a batch comes")
        .expect("the link lives")
}

async fn confirm(route: &RouteEnd, position: u64) {
    let replies = v1::PublishReplies {
        confirmed: position,
        lists: Vec::new(),
    };
    route.tx.send(replies).await.unwrap();
}

fn shape(batch: &v1::PublishBatch) -> (u64, u64, usize) {
    (batch.after, batch.through, batch.items.len())
}

fn config() -> PublishConfig {
    // Nothing is said for lack of news unless a test waits for it.
    PublishConfig {
        position_interval: Span::seconds(30),
        ..PublishConfig::default()
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_before_the_end_of_the_log_is_known() {
    let rig = Rig::new(&config());
    let mut route = rig.route("r").await;
    let early = tokio::time::timeout(Duration::from_secs(90), route.rx.recv()).await;
    assert!(early.is_err());
    rig.publisher.restart_at(CommitSeq::from_wire(41));
    assert_eq!(shape(&next(&mut route).await), (41, 41, 0));
    assert_eq!(rig.publisher.position(), Some(CommitSeq::from_wire(41)));
}

#[tokio::test(start_paused = true)]
async fn batches_gather_while_two_are_in_flight() {
    let rig = Rig::new(&config());
    let mut route = rig.route("r").await;
    rig.publisher.restart_at(CommitSeq::START);
    assert_eq!(shape(&next(&mut route).await), (0, 0, 0));
    rig.send(1, 1, 2);
    assert_eq!(shape(&next(&mut route).await), (0, 1, 1));
    for seq in 2..=9 {
        rig.send(seq, 1, 2);
    }
    let more = tokio::time::timeout(Duration::from_secs(1), route.rx.recv()).await;
    assert!(more.is_err(), "two are not confirmed: {more:?}");
    confirm(&route, 0).await;
    assert_eq!(shape(&next(&mut route).await), (1, 9, 8));
    confirm(&route, 9).await;
    rig.send(10, 1, 2);
    assert_eq!(shape(&next(&mut route).await), (9, 10, 1));
}

#[tokio::test(start_paused = true)]
async fn a_silent_log_is_announced_again_and_again() {
    let config = PublishConfig {
        position_interval: Span::millis(500),
        ..PublishConfig::default()
    };
    let rig = Rig::new(&config);
    let mut route = rig.route("r").await;
    rig.publisher.restart_at(CommitSeq::from_wire(3));
    for _ in 0..5 {
        let before = tokio::time::Instant::now();
        assert_eq!(shape(&next(&mut route).await), (3, 3, 0));
        assert!(before.elapsed() <= Duration::from_secs(1));
        confirm(&route, 3).await;
    }
}

#[tokio::test(start_paused = true)]
async fn messages_and_events_go_to_the_shards_of_their_users() {
    let rig = Rig::new(&config());
    rig.publisher.restart_at(CommitSeq::START);
    let names = ["a", "b", "c"];
    let ring = Ring::new(names);
    let mut routes = Vec::new();
    for name in names {
        routes.push(rig.route(name).await);
    }
    for route in &mut routes {
        // Each hears of the ring that it is in; earlier rings may have been announced before.
        while next(route).await.ring != ring.digest() {}
        confirm(route, 0).await;
    }
    let members: Vec<GroupMember> = (1..=60)
        .map(|id| GroupMember {
            user: user(id),
            joined_id: 0,
            shielded: false,
        })
        .collect();
    let members = Arc::new(Members::new(members));
    let message = v1::LiveMessage {
        seq: 1,
        from: 1,
        to: 5,
        ..Default::default()
    };
    let to_all = Outgoing {
        message,
        recipients: Recipients::Group(members),
    };
    rig.publisher
        .committed(vec![to_all], CommitSeq::from_wire(1));
    let event = v1::Event {
        users: (1..=60).collect(),
        ..Default::default()
    };
    let everywhere = v1::Event {
        broadcast: true,
        ..Default::default()
    };
    let kick = v1::Kick {
        user: 7,
        ..Default::default()
    };
    rig.publisher.publish(vec![
        Publication::Event(event),
        Publication::Event(everywhere),
        Publication::Kick(kick),
    ]);
    for (index, route) in routes.iter_mut().enumerate() {
        let own: Vec<u32> = (1..=60)
            .filter(|id| ring.index_of(user(*id)) == Some(index))
            .collect();
        let kicked = usize::from(ring.index_of(user(7)) == Some(index));
        let mut items = Vec::new();
        while items.len() < 3 + kicked {
            items.extend(
                next(route)
                    .await
                    .items
                    .into_iter()
                    .filter_map(|item| item.item),
            );
        }
        let Some(Item::Message(message)) = items.first() else {
            panic!("{items:?}")
        };
        assert_eq!(message.recipients, own);
        let Some(Item::Event(event)) = items.get(1) else {
            panic!("{items:?}")
        };
        assert_eq!(event.users, own);
        assert!(matches!(items.get(2), Some(Item::Event(event)) if event.broadcast));
        assert_eq!(items.len(), 3 + kicked);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pair_in_two_shards_is_told_to_both() {
    let rig = Rig::new(&config());
    rig.publisher.restart_at(CommitSeq::START);
    let ring = Ring::new(["a", "b"]);
    let far = (2..100)
        .find(|id| ring.index_of(user(*id)) != ring.index_of(user(1)))
        .unwrap();
    let mut routes = [rig.route("a").await, rig.route("b").await];
    for route in &mut routes {
        while next(route).await.ring != ring.digest() {}
        confirm(route, 0).await;
    }
    rig.send(1, 1, far);
    let mut recipients = Vec::new();
    for route in &mut routes {
        let batch = next(route).await;
        assert_eq!(shape(&batch), (0, 1, 1));
        let Some(Item::Message(message)) = &batch.items[0].item else {
            panic!()
        };
        recipients.extend(message.recipients.clone());
    }
    recipients.sort_unstable();
    assert_eq!(recipients, [1, far]);
}

#[tokio::test(start_paused = true)]
async fn a_route_server_that_does_not_confirm_holds_up_nobody_and_sees_a_gap() {
    let config = PublishConfig {
        queue_items: 4,
        ..config()
    };
    let rig = Rig::new(&config);
    rig.publisher.restart_at(CommitSeq::START);
    let mut route = rig.route("r").await;
    assert_eq!(shape(&next(&mut route).await), (0, 0, 0));
    for seq in 1..=100 {
        rig.send(seq, 1, 2);
    }
    assert_eq!(rig.publisher.position(), Some(CommitSeq::from_wire(100)));
    let batch = next(&mut route).await;
    confirm(&route, batch.through).await;
    let mut position = batch.through;
    let mut gaps = 0;
    while position < 100 {
        let batch = next(&mut route).await;
        gaps += usize::from(batch.after > position);
        let seqs = batch.items.iter().map(|item| match &item.item {
            Some(Item::Message(message)) => message.seq,
            other => panic!("{other:?}"),
        });
        for seq in seqs {
            assert!(seq > batch.after && seq <= batch.through);
        }
        position = batch.through;
        confirm(&route, position).await;
    }
    assert_eq!(gaps, 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_ring_is_told_at_once_to_everybody() {
    let rig = Rig::new(&config());
    rig.publisher.restart_at(CommitSeq::from_wire(5));
    let mut a = rig.route("a").await;
    let alone = next(&mut a).await;
    assert_eq!(alone.ring, Ring::new(["a"]).digest());
    confirm(&a, 5).await;
    let before = tokio::time::Instant::now();
    let b = rig.route("b").await;
    assert_eq!(next(&mut a).await.ring, Ring::new(["a", "b"]).digest());
    confirm(&a, 5).await;
    drop(b);
    assert_eq!(next(&mut a).await.ring, Ring::new(["a"]).digest());
    assert_eq!(
        before.elapsed(),
        Duration::ZERO,
        "without waiting for the next announcement"
    );
}

#[tokio::test(start_paused = true)]
async fn sessions_are_gathered_from_every_shard_or_from_that_of_one_user() {
    let rig = Rig::new(&config());
    assert_eq!(
        rig.publisher.list_sessions(None).await,
        Err(ListError::NoRoute)
    );
    rig.publisher.restart_at(CommitSeq::START);
    assert_eq!(
        rig.publisher.list_sessions(None).await,
        Err(ListError::NoRoute)
    );
    let ring = Ring::new(["a", "b"]);
    let routes = [rig.route("a").await, rig.route("b").await];
    for (index, mut route) in routes.into_iter().enumerate() {
        tokio::spawn(async move {
            while let Some(batch) = route.rx.recv().await {
                let mut replies = v1::PublishReplies {
                    confirmed: batch.through,
                    lists: Vec::new(),
                };
                for item in batch.items {
                    let Some(Item::ListSessions(asked)) = item.item else {
                        panic!()
                    };
                    let user = u32::try_from(index).unwrap() + 100;
                    let session = v1::SessionInfo {
                        user,
                        ..Default::default()
                    };
                    replies.lists.push(v1::SessionList {
                        tag: asked.tag,
                        sessions: vec![session],
                    });
                }
                if route.tx.send(replies).await.is_err() {
                    return;
                }
            }
        });
    }
    let count = async || rig.publisher.list_sessions(None).await.map(|all| all.len());
    while count().await != Ok(2) {
        tokio::task::yield_now().await;
    }
    let of_one = rig.publisher.list_sessions(Some(user(9))).await.unwrap();
    assert_eq!(of_one.len(), 1);
    assert_eq!(
        of_one[0].user as usize,
        ring.index_of(user(9)).unwrap() + 100
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_not_answered_ends_in_time() {
    let rig = Rig::new(&config());
    rig.publisher.restart_at(CommitSeq::START);
    let mut route = rig.route("a").await;
    next(&mut route).await;
    assert_eq!(
        rig.publisher.list_sessions(None).await,
        Err(ListError::Incomplete)
    );
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_handed_over_at_the_end() {
    let rig = Rig::new(&config());
    rig.publisher.restart_at(CommitSeq::START);
    let mut route = rig.route("a").await;
    next(&mut route).await;
    rig.send(1, 1, 2);
    next(&mut route).await;
    rig.send(2, 1, 2);
    rig.stop.cancel();
    assert_eq!(shape(&next(&mut route).await), (1, 2, 1));
    assert!(route.rx.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn of_the_changes_of_one_person_everybody_hears_the_last_one() {
    let rig = Rig::new(&config());
    let mut route = rig.route("a").await;
    rig.publisher.restart_at(CommitSeq::START);
    next(&mut route).await;
    let event = |command, text: &'static [u8]| v1::Event {
        broadcast: true,
        command,
        body: bytes::Bytes::from_static(text),
        ..Default::default()
    };
    for text in [b"one".as_slice(), b"two", b"three"] {
        rig.publisher.gather(user(1), event(7, text));
    }
    rig.publisher.gather(user(1), event(8, b"other"));
    rig.publisher.gather(user(2), event(7, b"theirs"));
    let batch = next(&mut route).await;
    let mut bodies: Vec<_> = batch
        .items
        .into_iter()
        .map(|item| match item.item {
            Some(Item::Event(event)) => event.body,
            other => panic!("{other:?}"),
        })
        .collect();
    bodies.sort();
    assert_eq!(bodies, ["other", "theirs", "three"]);
    assert!(rig.publisher.gathered().is_empty());
}

#[tokio::test]
async fn so_many_changes_that_memory_would_grow_go_at_once() {
    let config = PublishConfig {
        gathered: 2,
        gather: im_config::units::Span::seconds(60),
        ..config()
    };
    let rig = Rig::new(&config);
    rig.publisher.gather(user(1), v1::Event::default());
    assert_eq!(rig.publisher.gathered().len(), 1);
    assert_eq!(rig.publisher.0.metrics.times_told_early(), 0);
    rig.publisher.gather(user(2), v1::Event::default());
    assert!(rig.publisher.gathered().is_empty());
    assert_eq!(rig.publisher.0.metrics.times_told_early(), 1);
}
