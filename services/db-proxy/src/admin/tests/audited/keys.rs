//! Changes under idempotency keys.

use super::*;

#[tokio::test]
async fn the_same_request_under_a_key_is_one_change_with_one_answer() {
    let rig = Rig::new().await;
    let admin = &rig.admin;
    let group = || CreateGroupRequest {
        name: "Team".to_owned(),
        owner: "user1".to_owned(),
        member_ids: vec![2, 3],
        ..CreateGroupRequest::default()
    };
    let first = admin.create_group(under_key(group(), "k")).await.unwrap();
    assert!(first.metadata().get("im-replayed").is_none());
    let mut first = first.into_inner();
    assert_eq!((first.members.len(), first.member_count), (3, 3));
    for _ in 0..3 {
        let again = admin.create_group(under_key(group(), "k")).await.unwrap();
        assert_eq!(again.metadata().get("im-replayed").unwrap(), "1");
        first.members.clear();
        assert_eq!(*again.get_ref(), first);
    }
    let user = admin
        .add_user(under_key(add("eve"), "u"))
        .await
        .unwrap()
        .into_inner();
    let again = admin.add_user(under_key(add("eve"), "u")).await.unwrap();
    assert_eq!(again.into_inner(), user);
    assert_eq!(rows(&rig).await.len(), 2, "one row each");

    // Another body, or another call, under the same key.
    let other = CreateGroupRequest {
        name: "Other".to_owned(),
        ..group()
    };
    let refused = admin.create_group(under_key(other, "k")).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused)),
        (Code::InvalidArgument, Some("key-reused"))
    );
    let refused = admin
        .add_user(under_key(add("fay"), "k"))
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), Some("key-reused"));
    // Somebody else's key is another one.
    let mut other = under_key(group(), "k");
    let token = tonic::metadata::MetadataValue::from_bytes(b"token 8");
    other.metadata_mut().insert_bin("im-credential-bin", token);
    let made = admin.create_group(other).await.unwrap().into_inner();
    assert_ne!(made.id, first.id);
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let rig = Rig::new().await;
    let taken = rig
        .admin
        .add_user(under_key(add("user1"), "k"))
        .await
        .unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
    rig.admin
        .add_user(under_key(add("eve"), "k"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_key_in_hand_is_refused_and_free_again_when_nobody_waits() {
    let rig = Rig::new().await;
    let admin = rig.admin.clone();
    // Whoever changes names waits behind this.
    let busy = admin.changing.lock().await;
    let mut first = Box::pin(admin.add_user(under_key(add("eve"), "k")));
    while futures::poll!(&mut first).is_pending() && admin.in_hand.count() == 0 {
        tokio::task::yield_now().await;
    }
    let second = admin
        .add_user(under_key(add("eve"), "k"))
        .await
        .unwrap_err();
    assert_eq!(
        (second.code(), reason(&second)),
        (Code::Aborted, Some("key-in-flight"))
    );
    drop(first);
    drop(busy);
    admin.add_user(under_key(add("eve"), "k")).await.unwrap();
    assert_eq!(admin.in_hand.count(), 0);
}

#[tokio::test]
async fn so_many_keys_are_kept_and_no_more() {
    let mut config = im_answers::testing::small_config();
    config.administration.idempotency_keys = 2;
    let rig = Rig::with(config).await;
    for (key, is_done) in [("a", true), ("b", true), ("c", false)] {
        let done = rig.admin.add_user(under_key(add(key), key)).await;
        assert_eq!(done.is_ok(), is_done, "{key}");
        if let Err(status) = done {
            assert_eq!(status.code(), Code::ResourceExhausted);
            assert_eq!(reason(&status), Some("too-many-keys"));
        }
    }
    assert!(
        rig.admin.person("c").await.is_err(),
        "nothing of it is stored"
    );
    let group = CreateGroupRequest {
        name: "Team".to_owned(),
        owner: "user1".to_owned(),
        ..CreateGroupRequest::default()
    };
    let full = rig
        .admin
        .create_group(under_key(group.clone(), "d"))
        .await
        .unwrap_err();
    assert_eq!(reason(&full), Some("too-many-keys"));
    rig.admin.create_group(by_token(group)).await.unwrap();
}
