//! Discovery items made, changed and removed.

use im_proto_rpc::v1::admin_server::Admin as _;
use im_proto_rpc::v1::discovery_items_server::DiscoveryItems as _;
use im_proto_rpc::v1::{
    CreateDiscoveryItemRequest, DiscoveryItemRecord, GetDiscoveryItemRequest, ListAuditRequest,
    ListDiscoveryItemsRequest, RemoveDiscoveryItemRequest, UpdateDiscoveryItemRequest,
};
use tonic::Request;

use super::super::caller::tests::asked;
use super::*;

fn by_ann<T>(message: T) -> Request<T> {
    asked(message, &[("im-actor-bin", b"ann")])
}

fn wiki() -> CreateDiscoveryItemRequest {
    CreateDiscoveryItemRequest {
        name: "Wiki".to_owned(),
        url: "https://wiki.example.com/".to_owned(),
        priority: 3,
        dry_run: false,
    }
}

async fn listed(rig: &Rig) -> Vec<DiscoveryItemRecord> {
    let list = ListDiscoveryItemsRequest {};
    let list = rig.admin.list_discovery_items(Request::new(list)).await;
    list.unwrap().into_inner().items
}

#[tokio::test]
async fn an_item_is_made_changed_and_removed_and_each_leaves_its_row() {
    let rig = Rig::new().await;
    let dry = CreateDiscoveryItemRequest {
        dry_run: true,
        ..wiki()
    };
    rig.admin.create_discovery_item(by_ann(dry)).await.unwrap();
    assert_eq!(listed(&rig).await, []);
    let made = rig.admin.create_discovery_item(by_ann(wiki())).await;
    let made = made.unwrap().into_inner();
    assert_eq!(listed(&rig).await, std::slice::from_ref(&made));
    let patch = |dry_run| UpdateDiscoveryItemRequest {
        id: made.id,
        priority: Some(9),
        dry_run,
        ..UpdateDiscoveryItemRequest::default()
    };
    let judged = rig.admin.update_discovery_item(by_ann(patch(true))).await;
    assert_eq!(judged.unwrap().into_inner(), made);
    let changed = rig.admin.update_discovery_item(by_ann(patch(false))).await;
    let changed = changed.unwrap().into_inner();
    assert_eq!((changed.name.as_str(), changed.priority), ("Wiki", 9));
    let bad = UpdateDiscoveryItemRequest {
        url: Some("javascript:alert(1)".to_owned()),
        ..patch(false)
    };
    let bad = rig.admin.update_discovery_item(by_ann(bad)).await;
    assert_eq!(bad.unwrap_err().code(), Code::InvalidArgument);
    let get = GetDiscoveryItemRequest { id: made.id };
    let shown = rig.admin.get_discovery_item(Request::new(get)).await;
    assert_eq!(shown.unwrap().into_inner(), changed);
    let remove = RemoveDiscoveryItemRequest {
        id: made.id,
        dry_run: false,
    };
    rig.admin
        .remove_discovery_item(by_ann(remove))
        .await
        .unwrap();
    let gone = rig.admin.get_discovery_item(Request::new(get)).await;
    assert_eq!(gone.unwrap_err().code(), Code::NotFound);
    let rows = rig
        .admin
        .list_audit(Request::new(ListAuditRequest::default()));
    let rows = rows.await.unwrap().into_inner().rows;
    let target = format!("discovery item {}", made.id);
    let actions: Vec<_> = { rows.iter() }
        .map(|row| (row.action.as_str(), row.target.as_str()))
        .collect();
    let expected = [
        ("RemoveDiscoveryItem", target.as_str()),
        ("UpdateDiscoveryItem", &target),
        ("CreateDiscoveryItem", &target),
    ];
    assert_eq!(actions, expected);
}

#[tokio::test]
async fn there_are_as_many_items_as_there_may_be_and_a_key_makes_one() {
    let mut config = small_config();
    config.administration.discovery_items = 1;
    let rig = Rig::with(config).await;
    let words: [(&'static str, &[u8]); 2] =
        [("im-actor-bin", b"ann"), ("im-idempotency-key-bin", b"k")];
    let mut made = Vec::new();
    for _ in 0..2 {
        let one = rig.admin.create_discovery_item(asked(wiki(), &words)).await;
        made.push(one.unwrap().into_inner());
    }
    assert_eq!(made[0], made[1]);
    assert_ne!(made[0].id, 0);
    let full = rig.admin.create_discovery_item(by_ann(wiki())).await;
    assert_eq!(full.unwrap_err().code(), Code::ResourceExhausted);
}
