//! Incoming hooks made, written through and removed.

use bytes::Bytes;
use im_proto_rpc::v1::admin_server::Admin as _;
use im_proto_rpc::v1::incoming_hooks_server::IncomingHooks as _;
use im_proto_rpc::v1::{
    CheckIncomingHookRequest, CreateIncomingHookRequest, CreatedIncomingHook, ListAuditRequest,
    ListIncomingHooksRequest, MessageRecord, PostIncomingHookRequest, RemoveIncomingHookRequest,
};
use tonic::{Request, Response, Status};

use super::super::caller::tests::asked;
use super::*;

fn to_user(receiver: &str) -> CreateIncomingHookRequest {
    CreateIncomingHookRequest {
        sender: "user1".to_owned(),
        receiver: receiver.to_owned(),
        label: "builds".to_owned(),
        ..CreateIncomingHookRequest::default()
    }
}

fn by_ann<T>(message: T) -> Request<T> {
    asked(message, &[("im-actor-bin", b"ann")])
}

async fn make(
    rig: &Rig,
    request: CreateIncomingHookRequest,
) -> Result<CreatedIncomingHook, Status> {
    let made = rig.admin.create_incoming_hook(by_ann(request)).await;
    made.map(Response::into_inner)
}

async fn post(rig: &Rig, id: u32, secret: &str, key: &str) -> Result<MessageRecord, Status> {
    let request = PostIncomingHookRequest {
        id,
        secret: secret.to_owned(),
        body: Bytes::from_static(b"build 42 is green"),
    };
    let words: [(&'static str, &[u8]); 2] = [
        ("im-actor-bin", b"incoming hook"),
        ("im-idempotency-key-bin", key.as_bytes()),
    ];
    let posted = rig.admin.post_incoming_hook(asked(request, &words)).await;
    posted.map(Response::into_inner)
}

#[tokio::test]
async fn whoever_has_the_secret_writes_to_the_hooks_conversation() {
    let rig = Rig::new().await;
    let made = make(&rig, to_user("user2")).await.unwrap();
    let (id, secret) = (made.hook.unwrap().id, made.secret);
    let check = |secret: &str| CheckIncomingHookRequest {
        id,
        secret: secret.to_owned(),
    };
    let checked = rig.admin.check_incoming_hook(Request::new(check(&secret)));
    assert_eq!(checked.await.unwrap().into_inner().label, "builds");
    let first = post(&rig, id, &secret, "a").await.unwrap();
    let again = post(&rig, id, &secret, "a").await.unwrap();
    assert_eq!(first, again, "under one key it is one message");
    let second = post(&rig, id, &secret, "b").await.unwrap();
    assert_eq!((first.id, second.id, second.sender), (1, 2, 1));
    let key = second.conversation.unwrap();
    assert_eq!((key.user, key.other, key.group), (1, 2, 0));

    let group = CreateGroupRequest {
        name: "All".to_owned(),
        members: vec!["user1".to_owned(), "user3".to_owned()],
        ..CreateGroupRequest::default()
    };
    let group = rig.admin.make_group(group).await.unwrap().id;
    let to_group = CreateIncomingHookRequest {
        receiver: String::new(),
        group,
        ..to_user("")
    };
    let made = make(&rig, to_group).await.unwrap();
    let posted = post(&rig, made.hook.unwrap().id, &made.secret, "c").await;
    assert_eq!(posted.unwrap().conversation.unwrap().group, group);
}

#[tokio::test]
async fn a_wrong_secret_and_an_unknown_hook_are_answered_alike() {
    let rig = Rig::new().await;
    let made = make(&rig, to_user("user2")).await.unwrap();
    let id = made.hook.unwrap().id;
    let mut said = Vec::new();
    for (id, secret) in [(id, "wrong"), (id, ""), (99, made.secret.as_str())] {
        let check = CheckIncomingHookRequest {
            id,
            secret: secret.to_owned(),
        };
        let checked = rig.admin.check_incoming_hook(Request::new(check)).await;
        let posted = post(&rig, id, secret, "k").await;
        for refused in [
            checked.map(drop).unwrap_err(),
            posted.map(drop).unwrap_err(),
        ] {
            said.push((refused.code(), refused.message().to_owned()));
        }
    }
    assert_eq!(said[0].0, Code::NotFound);
    assert!(said.iter().all(|it| *it == said[0]), "{said:?}");
}

#[tokio::test]
async fn hooks_that_cannot_be_are_refused_and_removed_ones_take_nothing() {
    let mut config = small_config();
    config.administration.incoming_hooks = 2;
    let rig = Rig::with(config).await;
    let refused = async |request| make(&rig, request).await.unwrap_err().code();
    assert_eq!(refused(to_user("user1")).await, Code::InvalidArgument);
    assert_eq!(refused(to_user("")).await, Code::InvalidArgument);
    assert_eq!(refused(to_user("nobody")).await, Code::NotFound);
    let both = CreateIncomingHookRequest {
        group: 1,
        ..to_user("user2")
    };
    assert_eq!(refused(both).await, Code::InvalidArgument);
    let to_group = |group| CreateIncomingHookRequest {
        group,
        ..to_user("")
    };
    assert_eq!(refused(to_group(99)).await, Code::NotFound);
    let group = CreateGroupRequest {
        name: "Others".to_owned(),
        members: vec!["user3".to_owned()],
        ..CreateGroupRequest::default()
    };
    let group = rig.admin.make_group(group).await.unwrap().id;
    assert_eq!(refused(to_group(group)).await, Code::FailedPrecondition);
    let judged = CreateIncomingHookRequest {
        dry_run: true,
        ..to_user("user2")
    };
    assert_eq!(make(&rig, judged).await.unwrap().secret, "");

    let made = make(&rig, to_user("user2")).await.unwrap();
    make(&rig, to_user("user3")).await.unwrap();
    assert_eq!(refused(to_user("user4")).await, Code::ResourceExhausted);
    let list = Request::new(ListIncomingHooksRequest::default());
    let list = rig.admin.list_incoming_hooks(list).await.unwrap();
    assert_eq!(list.into_inner().hooks.len(), 2);
    let id = made.hook.unwrap().id;
    let remove = || by_ann(RemoveIncomingHookRequest { id, dry_run: false });
    rig.admin.remove_incoming_hook(remove()).await.unwrap();
    let gone = rig.admin.remove_incoming_hook(remove()).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    let posted = post(&rig, id, &made.secret, "k").await.unwrap_err();
    assert_eq!(posted.code(), Code::NotFound);
    let rows = Request::new(ListAuditRequest::default());
    let rows = rig.admin.list_audit(rows).await.unwrap().into_inner().rows;
    let secrets = rows.iter().any(|row| row.after.contains(&made.secret));
    assert!(!secrets, "no row has a secret");
}
