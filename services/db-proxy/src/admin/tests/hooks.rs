//! Subscriptions and followers.

use im_order::{CommitSeq, Partition};
use im_proto_rpc::v1::{
    CreateSubscriptionRequest, DeliverAgainRequest, DeliveryRecord, DeliveryState,
    GetSubscriptionRequest, ListDeliveriesRequest, RemoveSubscriptionRequest,
    RewindFollowerRequest, RotateSubscriptionSecretRequest, SubscriptionRecord,
};
use im_store::{DeliveryRow, Holding, SubscribedLog, SubscriptionStep};
use tonic::Code;

use super::{Rig, code};

fn wanted(url: &str) -> CreateSubscriptionRequest {
    CreateSubscriptionRequest {
        url: url.to_owned(),
        label: "for the wiki".to_owned(),
        groups: vec![9, 7, 9],
        ..CreateSubscriptionRequest::default()
    }
}

impl Rig {
    async fn subscribe(&self) -> SubscriptionRecord {
        let made = self.admin.make_subscription(wanted("https://a.example/"));
        made.await.unwrap().subscription.unwrap()
    }

    /// Stores a delivery of a subscription.
    async fn delivery(&self, subscription: u32, state: im_store::DeliveryState) -> u64 {
        let store = &self.admin.store;
        let held = store.hold_follower("subscriptions", Partition::ONLY, CommitSeq::default());
        let holding = Holding {
            name: "subscriptions",
            epoch: held.await.unwrap().epoch,
            partition: Partition::ONLY,
        };
        let row = DeliveryRow {
            id: 0,
            subscription,
            log: SubscribedLog::Messages,
            state,
            after: CommitSeq::default(),
            through: CommitSeq::default(),
            events: 1,
            tries: 1,
            first: im_core::time::UnixSeconds::now(),
            last: im_core::time::UnixSeconds::now(),
            status: 500,
            answer: "no".to_owned(),
        };
        let step = SubscriptionStep {
            subscription,
            log: SubscribedLog::Messages,
            epoch: 1,
            position: None,
            deliveries: vec![row],
            keep: 10,
        };
        let added = store.step_subscription(holding, &step).await.unwrap();
        added.unwrap()[0]
    }
}

#[tokio::test]
async fn a_subscription_is_made_with_a_secret_that_is_told_once() {
    let rig = Rig::new().await;
    let rehearsed = CreateSubscriptionRequest {
        dry_run: true,
        ..wanted("https://a.example/")
    };
    let rehearsed = rig.admin.make_subscription(rehearsed).await.unwrap();
    assert_eq!(rehearsed.secret, "");
    let list = rig.admin.all_subscriptions().await.unwrap();
    assert_eq!(list.subscriptions, []);
    let made = rig.admin.make_subscription(wanted("https://a.example/"));
    let made = made.await.unwrap();
    assert!(made.secret.starts_with("whsec_"));
    let made = made.subscription.unwrap();
    assert_eq!((made.groups.as_slice(), made.position), (&[7, 9][..], 0));
    assert_eq!(made.kinds, ["message.stored"]);
    let list = rig.admin.all_subscriptions().await.unwrap();
    assert_eq!(list.subscriptions, std::slice::from_ref(&made));
    let id = made.id;
    let one = rig.admin.one_subscription(GetSubscriptionRequest { id });
    assert_eq!(one.await.unwrap(), made);

    let rotate = |overlap, dry_run| RotateSubscriptionSecretRequest {
        id,
        overlap,
        dry_run,
    };
    let rehearsed = rig.admin.rotate_secret(rotate(60, true)).await.unwrap();
    assert_eq!(rehearsed.secret, "");
    let rotated = rig.admin.rotate_secret(rotate(7 * 86_400, false)).await;
    let rotated = rotated.unwrap();
    assert!(rotated.secret.starts_with("whsec_"));
    assert!(rotated.subscription.unwrap().former_until > 0);
    let too_long = rig.admin.rotate_secret(rotate(7 * 86_400 + 1, false)).await;
    assert_eq!(code(too_long), Code::InvalidArgument);

    let remove = |dry_run| RemoveSubscriptionRequest { id, dry_run };
    rig.admin.end_subscription(remove(true)).await.unwrap();
    rig.admin.end_subscription(remove(false)).await.unwrap();
    let gone = rig.admin.end_subscription(remove(false)).await;
    assert_eq!(code(gone), Code::NotFound);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_so_are_too_many() {
    let config = im_config::DbProxyConfig {
        administration: im_config::AdministrationConfig {
            subscriptions: 1,
            ..im_config::AdministrationConfig::default()
        },
        ..im_answers::testing::small_config()
    };
    let rig = Rig::with(config).await;
    for wrong in [
        wanted("ftp://a.example/"),
        CreateSubscriptionRequest {
            kinds: vec!["nothing".to_owned()],
            ..wanted("https://a.example/")
        },
        CreateSubscriptionRequest {
            position: Some(1),
            ..wanted("https://a.example/")
        },
        CreateSubscriptionRequest {
            bot: 1,
            ..wanted("https://a.example/")
        },
        CreateSubscriptionRequest {
            label: "x".repeat(129),
            ..wanted("https://a.example/")
        },
    ] {
        let refused = rig.admin.make_subscription(wrong.clone()).await;
        assert_eq!(code(refused), Code::InvalidArgument, "{wrong:?}");
    }
    rig.subscribe().await;
    let second = rig.admin.make_subscription(wanted("https://b.example/"));
    assert_eq!(code(second.await), Code::ResourceExhausted);
}

#[tokio::test]
async fn deliveries_are_listed_by_page_and_state_and_made_again_once_they_have_ended() {
    let rig = Rig::new().await;
    let subscription = rig.subscribe().await.id;
    let dead = rig
        .delivery(subscription, im_store::DeliveryState::Dead)
        .await;
    let open = rig
        .delivery(subscription, im_store::DeliveryState::Open)
        .await;
    let list = async |state: DeliveryState, limit: u32, cursor: &str| {
        let request = ListDeliveriesRequest {
            subscription,
            state: state.into(),
            limit,
            cursor: cursor.to_owned(),
        };
        rig.admin.list_deliveries_of(request).await.unwrap()
    };
    let ids = |rows: &[DeliveryRecord]| rows.iter().map(|row| row.id).collect::<Vec<_>>();
    let first = list(DeliveryState::Any, 1, "").await;
    assert_eq!(ids(&first.deliveries), [open]);
    let second = list(DeliveryState::Any, 1, &first.next).await;
    assert_eq!(
        (ids(&second.deliveries), second.next.as_str()),
        (vec![dead], "")
    );
    let of_dead = list(DeliveryState::Dead, 0, "").await;
    assert_eq!(ids(&of_dead.deliveries), [dead]);

    let again = |delivery, dry_run| DeliverAgainRequest {
        subscription,
        delivery,
        dry_run,
    };
    let rehearsed = rig
        .admin
        .deliver_once_more(again(dead, true))
        .await
        .unwrap();
    assert_eq!(rehearsed.state(), DeliveryState::Again);
    assert_eq!(list(DeliveryState::Again, 0, "").await.deliveries, []);
    rig.admin
        .deliver_once_more(again(dead, false))
        .await
        .unwrap();
    let waiting = list(DeliveryState::Again, 0, "").await;
    assert_eq!(ids(&waiting.deliveries), [dead]);
    let under_way = rig.admin.deliver_once_more(again(open, false)).await;
    assert_eq!(code(under_way), Code::FailedPrecondition);
    let nobody = rig.admin.deliver_once_more(again(99, false)).await;
    assert_eq!(code(nobody), Code::NotFound);
}

#[tokio::test]
async fn a_follower_is_set_to_a_place_within_the_log() {
    let rig = Rig::new().await;
    let name = format!("subscription-{}", rig.subscribe().await.id);
    let rewind = |name: &str, position| RewindFollowerRequest {
        name: name.to_owned(),
        position,
        dry_run: false,
    };
    let followers = rig.admin.all_followers().await.unwrap().followers;
    let names: Vec<&str> = followers.iter().map(|it| it.name.as_str()).collect();
    let changes = format!("{name}-changes");
    assert_eq!(names, [name.as_str(), changes.as_str()]);
    // The log of messages is empty, that of changes has those who were imported.
    let end = followers[1].end;
    let rewound = rig.admin.rewind(rewind(&changes, end)).await.unwrap();
    assert_eq!((rewound.position, end > 0), (end, true));
    let beyond = rig.admin.rewind(rewind(&changes, end + 1)).await;
    assert_eq!(code(beyond), Code::InvalidArgument);
    let rewound = rig.admin.rewind(rewind(&name, 0)).await.unwrap();
    assert_eq!((rewound.position, rewound.end), (0, 0));
    let beyond = rig.admin.rewind(rewind(&name, 1)).await;
    assert_eq!(code(beyond), Code::InvalidArgument);
    let nobody = rig.admin.rewind(rewind("nobody", 0)).await;
    assert_eq!(code(nobody), Code::NotFound);
}
