use crate::{
    DeliveryRow, DeliveryState, Holding, NewSubscription, Store, StoreError, SubscribedLog,
    SubscriptionRow, SubscriptionStep,
};
use im_core::time::UnixSeconds;
use im_order::{CommitSeq, Partition};

const NAME: &str = "subscriptions";

fn at(seq: u64) -> CommitSeq {
    CommitSeq::from_wire(seq)
}

fn new(url: &str) -> NewSubscription {
    NewSubscription {
        url: url.into(),
        label: "a test".into(),
        kinds: vec!["message.stored".into()],
        groups: vec![7, 8],
        senders: Vec::new(),
        bot: None,
        secret: "first".into(),
        created: UnixSeconds::from_wire(5),
        made_by: "ann".into(),
    }
}

async fn subscribe(store: &dyn Store, url: &str, start: u64) -> u32 {
    let new = new(url);
    let made = store.create_subscription(&new, Partition::ONLY, at(start), 3);
    made.await.unwrap()
}

async fn all(store: &dyn Store) -> Vec<SubscriptionRow> {
    store.subscriptions(Partition::ONLY).await.unwrap()
}

async fn hold(store: &dyn Store) -> u64 {
    let held = store.hold_follower(NAME, Partition::ONLY, at(0)).await;
    held.unwrap().epoch
}

fn row(subscription: u32, id: u64, state: DeliveryState) -> DeliveryRow {
    DeliveryRow {
        id,
        subscription,
        log: SubscribedLog::Messages,
        state,
        after: at(3),
        through: at(9),
        events: 4,
        tries: 2,
        first: UnixSeconds::from_wire(10),
        last: UnixSeconds::from_wire(20),
        status: 503,
        answer: "busy".into(),
    }
}

fn step(subscription: u32, position: Option<u64>, deliveries: &[DeliveryRow]) -> SubscriptionStep {
    SubscriptionStep {
        subscription,
        log: SubscribedLog::Messages,
        epoch: 1,
        position: position.map(at),
        deliveries: deliveries.to_vec(),
        keep: 2,
    }
}

async fn stored(store: &dyn Store, held: u64, step: &SubscriptionStep) -> Option<Vec<u64>> {
    let holding = Holding {
        name: NAME,
        epoch: held,
        partition: Partition::ONLY,
    };
    store.step_subscription(holding, step).await.unwrap()
}

async fn listed(store: &dyn Store, subscription: u32, state: Option<DeliveryState>) -> Vec<u64> {
    let rows = store.deliveries(subscription, state, u64::MAX, 100).await;
    rows.unwrap().into_iter().map(|row| row.id).collect()
}

pub async fn a_subscription_begins_where_it_is_told_and_is_listed_until_it_is_removed(
    store: &dyn Store,
) {
    let id = subscribe(store, "https://a.example/x", 7).await;
    let other = subscribe(store, "https://b.example/", 9).await;
    let rows = all(store).await;
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (
            rows[0].id,
            rows[0].messages.epoch,
            rows[0].messages.position
        ),
        (id, 1, at(7))
    );
    assert_eq!(rows[0].subscription, new("https://a.example/x"));
    assert_eq!(rows[0].former, None);
    let held = hold(store).await;
    let open = row(id, 0, DeliveryState::Open);
    assert!(
        stored(store, held, &step(id, None, &[open]))
            .await
            .is_some()
    );
    store.remove_subscription(id).await.unwrap();
    let gone = store.remove_subscription(id).await.unwrap_err();
    assert!(matches!(gone, StoreError::NotFound { .. }), "{gone}");
    assert_eq!(listed(store, id, None).await, [0; 0]);
    assert_eq!(all(store).await[0].id, other);
    let name = SubscribedLog::Messages.follower(id);
    let epoch = store.follower_epoch(&name, Partition::ONLY).await.unwrap();
    assert_eq!(epoch, None, "its position has gone");
    assert!(
        subscribe(store, "https://c.example/", 1).await > other,
        "no id comes again"
    );
}

pub async fn there_are_so_many_subscriptions_at_most(store: &dyn Store) {
    for n in 0..3 {
        subscribe(store, &format!("https://{n}.example/"), 0).await;
    }
    let fourth = new("https://x.example/");
    let fourth = store.create_subscription(&fourth, Partition::ONLY, at(0), 3);
    let full = fourth.await.unwrap_err();
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    assert_eq!(all(store).await.len(), 3);
}

pub async fn the_former_secret_stays_beside_the_new_one(store: &dyn Store) {
    let id = subscribe(store, "https://a.example/", 0).await;
    let until = UnixSeconds::from_wire(99);
    store
        .set_subscription_secret(id, "second", until)
        .await
        .unwrap();
    let found = all(store).await.remove(0);
    assert_eq!(found.subscription.secret, "second");
    assert_eq!(found.former, Some(("first".to_owned(), until)));
    assert_eq!(
        (found.messages.epoch, found.changes.epoch),
        (2, 2),
        "whoever delivers begins anew"
    );
    let nobody = store.set_subscription_secret(99, "x", until).await;
    assert!(matches!(nobody, Err(StoreError::NotFound { .. })));
}

pub async fn a_step_moves_the_position_and_keeps_deliveries(store: &dyn Store) {
    let id = subscribe(store, "https://a.example/", 3).await;
    let held = hold(store).await;
    let open = row(id, 0, DeliveryState::Open);
    let added = stored(store, held, &step(id, None, std::slice::from_ref(&open))).await;
    let delivery = added.unwrap()[0];
    assert_eq!(
        all(store).await[0].messages.position,
        at(3),
        "it has not moved"
    );
    let to_make = store.deliveries_to_make().await.unwrap();
    let known = DeliveryRow {
        id: delivery,
        ..open.clone()
    };
    assert_eq!(to_make, std::slice::from_ref(&known));
    let done = DeliveryRow {
        state: DeliveryState::Delivered,
        status: 204,
        tries: 3,
        ..known
    };
    let next = DeliveryRow {
        after: at(9),
        through: at(12),
        ..open
    };
    let both = step(id, Some(9), &[done.clone(), next]);
    let added = stored(store, held, &both).await.unwrap();
    assert_eq!(all(store).await[0].messages.position, at(9));
    assert_eq!(listed(store, id, None).await, [added[0], delivery]);
    let delivered = store.deliveries(id, Some(DeliveryState::Delivered), u64::MAX, 9);
    assert_eq!(delivered.await.unwrap(), [done]);
    assert_eq!(store.deliveries(id, None, delivery, 9).await.unwrap(), []);
}

pub async fn a_step_under_an_old_epoch_stores_nothing(store: &dyn Store) {
    let id = subscribe(store, "https://a.example/", 0).await;
    let (older, newer) = (hold(store).await, hold(store).await);
    let open = [row(id, 0, DeliveryState::Open)];
    assert_eq!(stored(store, older, &step(id, Some(5), &open)).await, None);
    let rewound = SubscriptionStep {
        epoch: 2,
        ..step(id, Some(5), &open)
    };
    assert_eq!(stored(store, newer, &rewound).await, None);
    assert_eq!(stored(store, newer, &step(99, Some(5), &open)).await, None);
    assert_eq!(all(store).await[0].messages.position, at(0));
    assert_eq!(listed(store, id, None).await, [0; 0]);
}

pub async fn so_many_ended_deliveries_stay_and_none_that_waits_goes(store: &dyn Store) {
    use DeliveryState::{Again, Dead, Delivered, Open};
    let id = subscribe(store, "https://a.example/", 0).await;
    let other = subscribe(store, "https://b.example/", 0).await;
    let held = hold(store).await;
    let theirs = [row(other, 0, Delivered)];
    let theirs = stored(store, held, &step(other, None, &theirs))
        .await
        .unwrap();
    let add = async |state| {
        let added = stored(store, held, &step(id, None, &[row(id, 0, state)])).await;
        added.unwrap()[0]
    };
    let (open, again) = (add(Open).await, add(Again).await);
    let mut kept = Vec::new();
    for state in [Delivered, Dead] {
        add(state).await;
        kept.extend([add(state).await, add(state).await]);
    }
    kept.extend([open, again]);
    kept.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(listed(store, id, None).await, kept);
    assert_eq!(listed(store, other, None).await, theirs);
}

pub async fn a_delivery_that_ended_is_made_again(store: &dyn Store) {
    use DeliveryState::{Again, Dead, Open};
    let id = subscribe(store, "https://a.example/", 0).await;
    let held = hold(store).await;
    let rows = [row(id, 0, Dead), row(id, 0, Dead), row(id, 0, Open)];
    let added = stored(store, held, &step(id, None, &rows)).await.unwrap();
    assert!(store.deliver_again(id, added[1]).await.unwrap());
    assert!(store.deliver_again(id, added[0]).await.unwrap());
    assert!(
        !store.deliver_again(id, added[2]).await.unwrap(),
        "it is open"
    );
    for (subscription, delivery) in [(id, 99), (id + 1, added[0])] {
        let nobody = store.deliver_again(subscription, delivery).await;
        assert!(matches!(nobody, Err(StoreError::NotFound { .. })));
    }
    let to_make = store.deliveries_to_make().await.unwrap();
    let to_make: Vec<_> = to_make.iter().map(|row| (row.id, row.state)).collect();
    assert_eq!(
        to_make,
        [(added[0], Again), (added[2], Open)],
        "one at a time"
    );
}

pub async fn a_follower_that_is_rewound_begins_an_epoch(store: &dyn Store) {
    let id = subscribe(store, "https://a.example/", 9).await;
    let held = hold(store).await;
    let open = [
        row(id, 0, DeliveryState::Open),
        row(id, 0, DeliveryState::Dead),
    ];
    let added = stored(store, held, &step(id, None, &open)).await.unwrap();
    let name = SubscribedLog::Messages.follower(id);
    let rewound = store.rewind_follower(&name, Partition::ONLY, at(4)).await;
    let rewound = rewound.unwrap();
    assert_eq!(
        (rewound.epoch, rewound.position, rewound.retries),
        (2, at(4), 0)
    );
    assert_eq!(stored(store, held, &step(id, Some(10), &[])).await, None);
    assert_eq!(listed(store, id, None).await, [added[1]], "nothing is open");
    let followers = store.followers(Partition::ONLY).await.unwrap();
    let names: Vec<&str> = followers.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, [name.as_str(), &format!("{name}-changes"), NAME]);
    assert_eq!(followers[0], rewound);
    let epoch = store.follower_epoch(&name, Partition::ONLY).await.unwrap();
    assert_eq!(epoch, Some(2));
    let nobody = store
        .rewind_follower("nobody", Partition::ONLY, at(0))
        .await;
    assert!(matches!(nobody, Err(StoreError::NotFound { .. })));
}

pub async fn a_subscription_has_a_place_of_its_own_in_each_log(store: &dyn Store) {
    super::accounts::import(store, vec![super::accounts::person("ann")], 10).await;
    let id = subscribe(store, "https://a.example/", 9).await;
    let end = store.change_log_end().await.unwrap();
    assert_eq!(all(store).await[0].changes.position, end, "from now on");
    let held = hold(store).await;
    let of_changes = |position: Option<u64>, state| SubscriptionStep {
        log: SubscribedLog::Changes,
        deliveries: vec![DeliveryRow {
            log: SubscribedLog::Changes,
            ..row(id, 0, state)
        }],
        ..step(id, position, &[])
    };
    let open = stored(store, held, &of_changes(Some(20), DeliveryState::Open)).await;
    let messages = [row(id, 0, DeliveryState::Open)];
    let other = stored(store, held, &step(id, Some(11), &messages)).await;
    let found = all(store).await.remove(0);
    assert_eq!(
        (found.messages.position, found.changes.position),
        (at(11), at(20))
    );
    let to_make = store.deliveries_to_make().await.unwrap();
    let logs: Vec<_> = to_make.iter().map(|row| row.log).collect();
    assert_eq!(logs, [SubscribedLog::Changes, SubscribedLog::Messages]);
    let name = SubscribedLog::Changes.follower(id);
    assert_eq!(SubscribedLog::of_follower(&name), SubscribedLog::Changes);
    let rewound = store.rewind_follower(&name, Partition::ONLY, at(4)).await;
    assert_eq!(rewound.unwrap().epoch, 2);
    assert_eq!(
        listed(store, id, None).await,
        other.unwrap(),
        "but {open:?}"
    );
    let stale = of_changes(Some(30), DeliveryState::Open);
    assert_eq!(stored(store, held, &stale).await, None);
    store.remove_subscription(id).await.unwrap();
    let epoch = store.follower_epoch(&name, Partition::ONLY).await.unwrap();
    assert_eq!(epoch, None);
}
