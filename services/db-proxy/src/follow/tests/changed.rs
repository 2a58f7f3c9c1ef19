//! The log of changes, as whoever delivers to subscriptions reads it.

use im_core::time::UnixSeconds;
use im_order::{CommitSeq, Partition};
use im_store::{AccountStore as _, ChangeLogStore as _, NewSubscription, SubscriptionStore as _};

use super::hooks::{delivery, hook_step, hooks};
use super::*;

async fn subscription(rig: &Rig, kinds: &[&str]) -> u32 {
    let new = NewSubscription {
        url: "https://a.example/".into(),
        label: String::new(),
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        groups: Vec::new(),
        senders: Vec::new(),
        bot: None,
        secret: "now".into(),
        created: UnixSeconds::from_wire(1),
        made_by: "ann".into(),
    };
    let start = CommitSeq::from_wire(0);
    let made = rig
        .temp
        .store
        .create_subscription(&new, Partition::ONLY, start, 9);
    made.await.unwrap()
}

/// A change of user 1.
async fn change(rig: &Rig) -> u64 {
    let store = &rig.temp.store;
    let now = UnixSeconds::now();
    store.set_signature(user(1), "away", now).await.unwrap();
    store.change_log_end().await.unwrap().to_wire()
}

async fn changes(end: &mut End, after: u64, rows: u32) -> v1::ChangePage {
    match ask(end, Call::Changes(v1::ChangesAfter { after, rows })).await {
        Item::Changes(page) => page,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn changes_are_read_in_pages_behind_a_place() {
    let rig = rig(|_| {}).await;
    let begin = rig.temp.store.change_log_end().await.unwrap().to_wire();
    for _ in 0..3 {
        change(&rig).await;
    }
    let mut end = rig.deliverer().await;
    let first = changes(&mut end, begin, 2).await;
    let seqs: Vec<u64> = first.changes.iter().map(|change| change.seq).collect();
    assert_eq!(seqs, [begin + 1, begin + 2]);
    assert_eq!((first.through, first.more), (begin + 2, true));
    assert!(first.changes.iter().all(|it| (it.user, it.group) == (1, 0)));
    let rest = changes(&mut end, first.through, 2).await;
    assert_eq!(
        (rest.changes.len(), rest.through, rest.more),
        (1, begin + 3, false)
    );
    let none = changes(&mut end, rest.through, 0).await;
    assert_eq!((none.changes.len(), none.through), (0, begin + 3));
    let (mut push, _) = rig.holder().await;
    let asked = v1::ChangesAfter { after: 0, rows: 0 };
    assert!(is_refused(&ask(&mut push, Call::Changes(asked)).await));
}

#[tokio::test]
async fn a_subscription_is_listed_in_each_log_that_it_is_about_and_steps_there() {
    let rig = rig(|_| {}).await;
    rig.say(1, 2, 1, "one").await;
    let both = subscription(&rig, &["group.changed", "message.stored"]).await;
    subscription(&rig, &["directory.changed"]).await;
    let mut end = rig.deliverer().await;
    let changed = change(&rig).await;
    let list = hooks(&mut end).await;
    let messages = v1::SubscribedLog::Messages;
    let logs: Vec<_> = list
        .hooks
        .iter()
        .map(|hook| (hook.id, hook.log()))
        .collect();
    let changes = v1::SubscribedLog::Changes;
    assert_eq!(
        logs,
        [(both, messages), (both, changes), (both + 1, changes)]
    );
    assert_eq!((list.end, list.changes_end), (1, changed));
    let step = |position| v1::HookStep {
        log: changes.into(),
        position,
        ..hook_step(both, 1, vec![delivery()])
    };
    let beyond = ask(&mut end, Call::Hook(step(changed + 1))).await;
    assert!(is_refused(&beyond), "{beyond:?}");
    let Item::Hook(stepped) = ask(&mut end, Call::Hook(step(changed))).await else {
        panic!("a step")
    };
    assert_eq!(stepped.added.len(), 1);
    let hooks = hooks(&mut end).await.hooks;
    assert_eq!((hooks[0].position, hooks[1].position), (0, changed));
    assert_eq!(hooks[0].deliveries, []);
    let open = &hooks[1].deliveries[0];
    assert_eq!((open.id, open.log()), (stepped.added[0], changes));
}

async fn sessions(end: &mut End, after: u64, wait_ms: u32) -> v1::SessionsPage {
    let asked = v1::SessionsAfter { after, wait_ms };
    match ask(end, Call::Sessions(asked)).await {
        Item::Sessions(page) => page,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn sessions_are_asked_for_while_a_subscription_is_about_them_and_somebody_delivers() {
    let rig = rig(|_| {}).await;
    let comings = rig.follow.shared.comings.clone();
    let mut wanted = comings.wanted();
    let mut end = rig.deliverer().await;
    assert_eq!(hooks(&mut end).await.hooks.len(), 0);
    assert!(!*wanted.borrow_and_update(), "there is no subscription");
    let id = subscription(&rig, &["session.up"]).await;
    let event = v1::SessionEvent {
        up: true,
        session: Some(v1::SessionInfo::default()),
    };
    comings.add(vec![event.clone()], 0);
    let list = hooks(&mut end).await;
    assert!(*wanted.borrow_and_update());
    let told: Vec<_> = { list.hooks.iter() }
        .map(|it| (it.id, it.log(), it.position))
        .collect();
    let log = v1::SubscribedLog::Sessions;
    assert_eq!(told, [(id, log, 1)], "from now on, and in no other log");
    assert_eq!(list.sessions_end, 1);
    comings.add(vec![event], 2);
    let page = sessions(&mut end, 1, 60_000).await;
    assert_eq!((page.through, page.left_out), (4, 2));
    assert!(page.sessions.iter().all(|it| it.up && it.seq == 4));
    let step = v1::HookStep {
        log: log.into(),
        ..hook_step(id, 1, vec![delivery()])
    };
    let stored = ask(&mut end, Call::Hook(step)).await;
    assert!(is_refused(&stored), "nothing is stored of them");
    let (mut push, _) = rig.holder().await;
    let asked = v1::SessionsAfter::default();
    assert!(is_refused(&ask(&mut push, Call::Sessions(asked)).await));
    // With whoever delivers, the wish goes.
    drop(end);
    tokio::time::timeout(LIMIT, wanted.wait_for(|is| !is))
        .await
        .unwrap()
        .unwrap();
}
