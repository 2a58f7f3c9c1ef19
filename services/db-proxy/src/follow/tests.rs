use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use im_config::DbProxyConfig;
use im_config::units::ByteSize;
use im_core::{ClientType, GroupId, UserId};
use im_proto_rpc::v1::follow_call::Call;
use im_proto_rpc::v1::follow_item::Item;
use im_rpc::link;
use im_store::testing::TempStore;
use im_store::{DeviceStore as _, GroupStore as _, GroupType, PushTarget};
use im_writer::testing::{Sink, people};
use im_writer::{Core, CreateGroup, Metrics, SendBatch, SendRules};

use super::*;
use crate::test_push::TestMetrics;

mod changed;
mod hooks;

type End = Link<v1::FollowCalls, v1::FollowItems>;

struct Rig {
    follow: Follow,
    core: Core,
    temp: TempStore,
    stop: CancellationToken,
}

fn user(id: u32) -> UserId {
    UserId::from_wire(id).unwrap()
}

async fn rig(change: impl FnOnce(&mut DbProxyConfig)) -> Rig {
    let mut config = DbProxyConfig::default();
    change(&mut config);
    let temp = people().await;
    let store = Arc::new(temp.store.clone());
    let core = Core::start(Arc::new(config), store, Metrics::default());
    let stop = CancellationToken::new();
    let tests = TestNotices::new(&core.context.config.follow, TestMetrics::default());
    let follow = Follow::new(
        core.context.clone(),
        tests,
        Comings::new(1 << 20),
        FollowMetrics::default(),
        TaskTracker::new(),
        stop.clone(),
    );
    Rig {
        follow,
        core,
        temp,
        stop,
    }
}

impl Rig {
    fn link(&self) -> End {
        let (near, far) = link::pair("push", "db-proxy", 64);
        self.follow.accept(far);
        near
    }

    /// A link that holds the name.
    async fn holder(&self) -> (End, v1::FollowHeld) {
        let mut end = self.link();
        let held = hold(&mut end, 1).await;
        (end, held)
    }

    /// Stores a message; returns once it can be read.
    async fn say(&self, from: u32, to: u32, msg_type: u32, text: &str) {
        let rules = SendRules::from(&self.core.context.config.writer);
        let send = v1::Send {
            from,
            origin: 1,
            to,
            msg_type,
            data: Bytes::copy_from_slice(text.as_bytes()),
            ..v1::Send::default()
        };
        let incoming = rules.admit(1, send).expect("it keeps the rules");
        let sink = Arc::new(Sink::default());
        let batch = SendBatch::new(vec![incoming], Arc::clone(&sink));
        assert!(self.core.context.writer.send(batch).await.is_ok());
        let (_, done) = sink.take(1).await.remove(0);
        assert_eq!(done.outcome(), v1::send_done::Outcome::Stored);
        let end = im_order::CommitSeq::from_wire(done.seq);
        let mut positions = self.core.context.publisher.positions();
        let published = positions.wait_for(|at| at.is_some_and(|at| at >= end));
        tokio::time::timeout(LIMIT, published)
            .await
            .unwrap()
            .unwrap();
    }
}

const LIMIT: Duration = Duration::from_secs(30);

async fn say(end: &End, tag: u64, call: Call) {
    let calls = vec![v1::FollowCall {
        tag,
        call: Some(call),
    }];
    end.tx.send(v1::FollowCalls { calls }).await.unwrap();
}

async fn hear(end: &mut End) -> (u64, Item) {
    let heard = tokio::time::timeout(LIMIT, end.rx.recv()).await;
    let mut items = heard.unwrap().expect("the link lives").items;
    assert_eq!(items.len(), 1, "one call was open");
    let item = items.remove(0);
    (item.tag, item.item.unwrap())
}

async fn ask(end: &mut End, call: Call) -> Item {
    say(end, 9, call).await;
    let (tag, item) = hear(end).await;
    assert_eq!(tag, 9);
    item
}

async fn hold(end: &mut End, tag: u64) -> v1::FollowHeld {
    let name = "push".to_owned();
    say(
        end,
        tag,
        Call::Hold(v1::FollowHold {
            name,
            ..Default::default()
        }),
    )
    .await;
    match hear(end).await.1 {
        Item::Held(held) => held,
        other => panic!("{other:?}"),
    }
}

fn read(after: u64, wait_ms: u32) -> Call {
    Call::Read(v1::FollowRead {
        after,
        wait_ms,
        body_bytes: 4,
        ..v1::FollowRead::default()
    })
}

async fn page(end: &mut End, after: u64, wait_ms: u32) -> v1::LogPage {
    match ask(end, read(after, wait_ms)).await {
        Item::Page(page) => page,
        other => panic!("{other:?}"),
    }
}

fn retry(key: &'static str, due: u64) -> v1::FollowRetry {
    v1::FollowRetry {
        key: Bytes::from_static(key.as_bytes()),
        due,
        tries: 1,
        body: Bytes::from_static(b"again"),
        lane: 0,
    }
}

fn step(position: u64, put: Vec<v1::FollowRetry>) -> Call {
    Call::Step(v1::FollowStep {
        position,
        put,
        remove: Vec::new(),
    })
}

fn is_refused(item: &Item) -> bool {
    matches!(item, Item::Refused(_))
}

#[tokio::test]
async fn a_new_follower_reads_what_comes_after_it_and_goes_on_where_it_was() {
    let rig = rig(|_| {}).await;
    rig.say(1, 2, 1, "old").await;
    let (mut first, held) = rig.holder().await;
    assert_eq!((held.epoch, held.position, held.retries), (1, 1, 0));
    say(&first, 5, read(1, 10_000)).await;
    rig.say(1, 2, 1, "new").await;
    let (tag, Item::Page(waited)) = hear(&mut first).await else {
        panic!("a page")
    };
    assert_eq!((tag, waited.through, waited.more), (5, 2, false));
    let message = &waited.messages[0];
    assert_eq!(
        (&message.data[..], &message.recipients[..]),
        (&b"new"[..], &[1, 2][..])
    );
    rig.say(1, 2, 1, "longer").await;
    let left_out = page(&mut first, 2, 0).await;
    assert!(left_out.messages[0].data.is_empty(), "its body is too long");

    let stepped = ask(&mut first, step(3, vec![retry("a", 7)])).await;
    assert_eq!(stepped, Item::Stepped(v1::FollowStepped { retries: 1 }));
    drop(first);
    let (mut second, held) = rig.holder().await;
    assert_eq!((held.epoch, held.position, held.retries), (2, 3, 1));
    let due = |until| {
        Call::Due(v1::FollowDue {
            until,
            rows: 9,
            lane: 0,
        })
    };
    let none = v1::FollowRetries::default();
    assert_eq!(ask(&mut second, due(6)).await, Item::Retries(none));
    let retries = vec![retry("a", 7)];
    let all = v1::FollowRetries { retries };
    assert_eq!(ask(&mut second, due(7)).await, Item::Retries(all));
}

/// A follower put something off under a clock that was a year ahead, and ended before it was put right.
#[tokio::test]
async fn what_was_put_off_under_a_clock_that_was_ahead_is_tried_in_time() {
    let rig = rig(|_| {}).await;
    let now = im_core::time::unix_millis();
    let year = 365 * 24 * 3_600_000;
    let (mut first, _) = rig.holder().await;
    let put = vec![retry("soon", now + 1_000), retry("late", now + year)];
    ask(&mut first, step(0, put)).await;
    drop(first);
    let mut second = rig.link();
    let call = v1::FollowHold {
        name: "push".to_owned(),
        longest_wait_ms: 60_000,
    };
    say(&second, 1, Call::Hold(call)).await;
    assert!(matches!(hear(&mut second).await.1, Item::Held(it) if it.retries == 2));
    let due = v1::FollowDue {
        until: im_core::time::unix_millis() + 60_000,
        rows: 9,
        lane: 0,
    };
    let Item::Retries(due) = ask(&mut second, Call::Due(due)).await else {
        panic!("retries")
    };
    let due: Vec<_> = due.retries.into_iter().map(|it| (it.key, it.due)).collect();
    assert_eq!(due[0], (Bytes::from_static(b"soon"), now + 1_000));
    assert_eq!(due[1].0, Bytes::from_static(b"late"));
    assert!((now + 60_000..=now + 60_000 + 30_000).contains(&due[1].1));
}

#[tokio::test]
async fn a_name_has_one_holder_and_the_next_one_waits_for_its_end() {
    let rig = rig(|_| {}).await;
    let (mut first, _) = rig.holder().await;
    let mut second = rig.link();
    let name = || {
        Call::Hold(v1::FollowHold {
            name: "push".into(),
            ..Default::default()
        })
    };
    say(&second, 1, name()).await;
    // Whoever waits for the name has nothing else.
    assert!(matches!(
        ask(&mut second, read(0, 0)).await,
        Item::Fenced(_)
    ));
    assert!(is_refused(&ask(&mut first, name()).await), "it holds one");
    assert!(matches!(
        ask(&mut first, step(0, vec![])).await,
        Item::Stepped(_)
    ));
    drop(first);
    let (tag, Item::Held(held)) = hear(&mut second).await else {
        panic!("the name")
    };
    assert_eq!((tag, held.epoch), (1, 2));
    assert!(matches!(
        ask(&mut second, step(0, vec![])).await,
        Item::Stepped(_)
    ));
}

#[tokio::test]
async fn the_older_of_two_holders_is_fenced() {
    let rig = rig(|_| {}).await;
    rig.say(1, 2, 1, "one").await;
    let (mut older, _) = rig.holder().await;
    // Another db-proxy on the same store has given the name away.
    let follow = Follow::new(
        rig.core.context.clone(),
        rig.follow.shared.tests.clone(),
        rig.follow.shared.comings.clone(),
        FollowMetrics::default(),
        TaskTracker::new(),
        rig.stop.clone(),
    );
    let (mut newer, far) = link::pair("push", "db-proxy", 64);
    follow.accept(far);
    let held = hold(&mut newer, 1).await;
    assert_eq!(held.epoch, 2);
    let late = ask(&mut older, step(1, vec![retry("late", 1)])).await;
    assert!(matches!(late, Item::Fenced(_)), "{late:?}");
    let stepped = ask(&mut newer, step(1, vec![])).await;
    let nothing_of_it = v1::FollowStepped { retries: 0 };
    assert_eq!(stepped, Item::Stepped(nothing_of_it));
}

#[tokio::test]
async fn what_is_beyond_a_bound_is_refused_and_counted() {
    let rig = rig(|config| {
        config.follow.max_step = 2;
        config.follow.max_retry = ByteSize::bytes(5);
        config.follow.max_asked = 2;
        config.follow.max_links = 2;
        config.follow.calls_per_link = 2;
    })
    .await;
    let (mut end, _) = rig.holder().await;
    let metrics = rig.follow.shared.metrics.clone();
    let two = vec![retry("a", 1), retry("b", 1)];
    let three = [two.clone(), vec![retry("c", 1)]].concat();
    let mut long = retry("a", 1);
    long.body = Bytes::from_static(b"longer");
    let people = |users: Vec<u32>| Call::Targets(v1::PushTargetsOf { users });
    for fits in [step(0, two), people(vec![1, 2])] {
        assert!(!is_refused(&ask(&mut end, fits).await));
    }
    assert_eq!(metrics.times_refused(), 0);
    let groups = vec![1, 2, 3];
    let facts = v1::PushFactsOf {
        groups,
        ..v1::PushFactsOf::default()
    };
    for (n, beyond) in (1..).zip([
        step(0, three),
        step(0, vec![long]),
        step(1, vec![]),
        people(vec![1, 2, 3]),
        Call::Facts(facts),
    ]) {
        assert!(is_refused(&ask(&mut end, beyond).await), "{n}");
        assert_eq!(metrics.times_refused(), n);
    }
    for tag in [1, 2, 3] {
        say(&end, tag, read(0, 60_000)).await;
    }
    let (tag, item) = hear(&mut end).await;
    assert!(tag == 3 && is_refused(&item), "a third call at a time");
    let _second = rig.link();
    let third = rig.link();
    let closed = tokio::time::timeout(LIMIT, third.closed.cancelled());
    closed.await.expect("the third link is closed");
}

#[tokio::test]
async fn push_hears_of_devices_names_counts_and_shields() {
    let rig = rig(|_| {}).await;
    let group = CreateGroup {
        name: "g".into(),
        avatar: String::new(),
        creator: Some(user(1)),
        group_type: GroupType::Normal,
        members: [1, 2, 3].map(user).into(),
        note: None,
    };
    let group = rig.core.context.writer.create_group(group).await.unwrap();
    let group = group.group.id.get();
    let id = GroupId::from_wire(group).unwrap();
    assert!(rig.temp.store.set_shield(id, user(3), true).await.unwrap());
    rig.say(1, 2, 1, "hi").await;
    rig.say(1, group, 0x11, "all").await;
    for (session, token) in [(7, "phone"), (8, "tablet")] {
        let target = PushTarget {
            user: user(2),
            client_type: ClientType::Ios,
            token: token.into(),
            session,
        };
        rig.temp.store.set_push_target(&target, 8).await.unwrap();
    }
    let (mut end, _) = rig.holder().await;
    let users = vec![1, 2, 3];
    let told = |session, token: &str| v1::PushTarget {
        user: 2,
        client_type: 0x11,
        token: token.into(),
        session,
        night_shield: false,
    };
    let targets = Call::Targets(v1::PushTargetsOf { users });
    let expected = v1::PushTargets {
        targets: vec![told(7, "phone"), told(8, "tablet")],
    };
    assert_eq!(
        ask(&mut end, targets.clone()).await,
        Item::Targets(expected)
    );
    let facts = Call::Facts(v1::PushFactsOf {
        unread: vec![2, 1],
        names: vec![1],
        groups: vec![group],
    });
    let unread = |user, count| v1::PushUnread { user, count };
    let expected = v1::PushFacts {
        unread: vec![unread(2, 2), unread(1, 0)],
        names: vec![v1::PushName {
            user: 1,
            nick: String::new(),
        }],
        shields: vec![v1::PushShield {
            group,
            users: vec![3],
        }],
    };
    let mut heard = ask(&mut end, facts).await;
    if let Item::Facts(facts) = &mut heard {
        for name in &mut facts.names {
            name.nick.clear();
        }
    }
    assert_eq!(heard, Item::Facts(expected));
    for (session, left) in [(6, 2), (7, 1)] {
        let gone = Call::Gone(v1::PushTargetGone {
            token: "phone".into(),
            session,
        });
        assert_eq!(ask(&mut end, gone).await, Item::Done(v1::FollowDone {}));
        let Item::Targets(targets) = ask(&mut end, targets.clone()).await else {
            panic!("targets")
        };
        assert_eq!(targets.targets.len(), left);
    }
}

#[tokio::test]
async fn whoever_holds_the_name_of_push_makes_test_notices_and_nobody_else() {
    let rig = rig(|_| {}).await;
    let wait = |wait_ms| Call::Tests(v1::PushTestsOf { wait_ms });
    let mut other = rig.link();
    assert!(matches!(ask(&mut other, wait(0)).await, Item::Fenced(_)));
    let name = "subscriptions".to_owned();
    say(
        &other,
        1,
        Call::Hold(v1::FollowHold {
            name,
            ..Default::default()
        }),
    )
    .await;
    assert!(matches!(hear(&mut other).await.1, Item::Held(_)));
    assert!(is_refused(&ask(&mut other, wait(0)).await));

    let (mut end, _) = rig.holder().await;
    let nothing = v1::PushTest::default();
    assert_eq!(ask(&mut end, wait(0)).await, Item::Test(nothing));
    say(&end, 5, wait(10_000)).await;
    let tests = rig.follow.shared.tests.clone();
    let target = v1::PushTarget {
        user: 2,
        ..v1::PushTarget::default()
    };
    let asked = tokio::spawn(async move { tests.ask(target).await });
    let (tag, Item::Test(test)) = hear(&mut end).await else {
        panic!("a test notice")
    };
    assert_eq!((tag, test.target.unwrap().user), (5, 2));
    let verdict = v1::PushVerdict {
        status: 410,
        reason: "\u{5b89}".repeat(200),
        ..v1::PushVerdict::default()
    };
    let tested = |verdict| {
        Call::Tested(v1::PushTested {
            id: test.id,
            verdict,
        })
    };
    assert!(is_refused(&ask(&mut end, tested(None)).await));
    let done = ask(&mut end, tested(Some(verdict))).await;
    assert_eq!(done, Item::Done(v1::FollowDone {}));
    let heard = asked.await.unwrap().unwrap();
    assert_eq!(
        (heard.status, heard.reason.len()),
        (410, 255),
        "cut at a character"
    );
}
