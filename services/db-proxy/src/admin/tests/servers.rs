//! Rows about what is done at servers, and names of people by their ids.

use im_proto_rpc::v1::admin_server::Admin as _;
use im_proto_rpc::v1::{
    FileOrder, ListAuditRequest, NameUsersRequest, OperateServerRequest, TraceOrder,
};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};

use super::super::caller::tests::asked;
use super::Rig;

fn operate(operation: &str, key: &str) -> Request<OperateServerRequest> {
    let message = OperateServerRequest {
        server: "msg1".to_owned(),
        operation: operation.to_owned(),
        sessions: 5,
        per_second: 2,
        dry_run: key.is_empty(),
        ..OperateServerRequest::default()
    };
    let mut request = asked(message, &[("im-actor-bin", b"ann")]);
    if !key.is_empty() {
        let key = MetadataValue::from_bytes(key.as_bytes());
        request
            .metadata_mut()
            .insert_bin("im-idempotency-key-bin", key);
    }
    request
}

#[tokio::test]
async fn what_is_done_at_a_server_is_one_row_under_its_key() {
    let rig = Rig::new().await;
    let admin = &rig.admin;
    for (operation, key) in [
        ("cordon", "a"),
        ("cordon", "a"),
        ("shed", "b"),
        ("shed", ""),
    ] {
        admin.operate_server(operate(operation, key)).await.unwrap();
    }
    let reused = admin.operate_server(operate("uncordon", "a")).await;
    assert_eq!(reused.unwrap_err().code(), Code::InvalidArgument);
    let unknown = admin.operate_server(operate("explode", "c")).await;
    assert_eq!(unknown.unwrap_err().code(), Code::InvalidArgument);
    let mut nameless = operate("cordon", "d");
    nameless.get_mut().server.clear();
    let refused = admin.operate_server(nameless).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    let list = admin.list_audit(Request::new(ListAuditRequest::default()));
    let rows = list.await.unwrap().into_inner().rows;
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.action.as_str(), row.target.as_str(), row.after.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (
                "OperateServer",
                "server msg1",
                r#"{"operation":"shed","per_second":2,"sessions":5}"#
            ),
            ("OperateServer", "server msg1", r#"{"operation":"cordon"}"#),
        ]
    );
}

#[tokio::test]
async fn names_are_those_of_whoever_there_is() {
    let rig = Rig::new().await;
    let named = async |ids: Vec<u32>| {
        let answer = rig
            .admin
            .name_users(Request::new(NameUsersRequest { ids }))
            .await?;
        let mut names: Vec<_> = answer.into_inner().names;
        names.sort_by_key(|name| name.id);
        let names = names.into_iter().map(|name| (name.id, name.name));
        Ok::<Vec<_>, tonic::Status>(names.collect())
    };
    let two = [(1, "user1".to_owned()), (2, "user2".to_owned())];
    assert_eq!(named(vec![2, 1, 2, 0, 999_999]).await.unwrap(), two);
    assert!(named(vec![1; 1_000]).await.is_ok());
    let refused = named(vec![1; 1_001]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_trace_is_a_row_with_what_it_follows() {
    let rig = Rig::new().await;
    let order = |id: &str| {
        let order = TraceOrder {
            id: id.to_owned(),
            user: "ann".to_owned(),
            one_in: 1,
            per_second: 100,
            seconds: 900,
            ..TraceOrder::default()
        };
        let mut request = operate("trace", "a");
        *request.get_mut() = OperateServerRequest {
            operation: "trace".to_owned(),
            trace: Some(order),
            ..OperateServerRequest::default()
        };
        request
    };
    let refused = rig.admin.operate_server(order("xyz")).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    rig.admin.operate_server(order("00ab12")).await.unwrap();
    let mut stop = operate("stop-trace", "b");
    *stop.get_mut() = OperateServerRequest {
        operation: "stop-trace".to_owned(),
        trace: Some(TraceOrder {
            id: "00ab12".to_owned(),
            ..TraceOrder::default()
        }),
        ..OperateServerRequest::default()
    };
    rig.admin.operate_server(stop).await.unwrap();
    let list = rig
        .admin
        .list_audit(Request::new(ListAuditRequest::default()));
    let rows = list.await.unwrap().into_inner().rows;
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.target.as_str(), row.after.as_str()))
        .collect();
    let after = r#"{"one_in":1,"operation":"trace","per_second":100,"seconds":900,"user":"ann"}"#;
    let stopped = r#"{"operation":"stop-trace"}"#;
    assert_eq!(
        told,
        [("trace 00ab12", stopped), ("trace 00ab12", after)],
        "the newest first"
    );
}

#[tokio::test]
async fn a_file_that_is_deleted_is_a_row_with_whose_it_was() {
    let rig = Rig::new().await;
    let order = |id: &str| {
        let mut request = operate("delete-file", "a");
        request.get_mut().file = Some(FileOrder {
            id: id.to_owned(),
            from: "ann".to_owned(),
            to: "ben".to_owned(),
            name: "a.txt".to_owned(),
            size: 7,
        });
        request
    };
    for wrong in ["xyz", "00112233445566778899aabbccddeef"] {
        let refused = rig.admin.operate_server(order(wrong)).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    }
    let id = "00112233445566778899aabbccddeeff";
    rig.admin.operate_server(order(id)).await.unwrap();
    let list = rig
        .admin
        .list_audit(Request::new(ListAuditRequest::default()));
    let rows = list.await.unwrap().into_inner().rows;
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.target.as_str(), row.after.as_str()))
        .collect();
    let after = r#"{"from":"ann","name":"a.txt","operation":"delete-file","server":"msg1","size":7,"to":"ben"}"#;
    assert_eq!(told, [("file 00112233445566778899aabbccddeeff", after)]);
}
