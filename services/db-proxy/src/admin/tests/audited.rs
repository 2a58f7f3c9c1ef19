//! Every change leaves its row in the audit log, and under an idempotency key its answer.

mod keys;

use im_proto_rpc::v1::admin_server::Admin as _;
use im_proto_rpc::v1::{
    AddUserRequest, AuditRecord, ChangeGroupMembersRequest, ClearLockRequest,
    CreateDepartmentRequest, CreateGroupRequest, KickSessionRequest, ListAuditRequest,
    MoveDepartmentRequest, MoveUserRequest, RemoveDepartmentRequest, RemoveGroupRequest,
    RemoveUserRequest, RenameDepartmentRequest, RenameGroupRequest, RenameUserRequest,
    ReportRefusalRequest, SetGroupOwnerRequest, SetPasswordRequest, SetUserStatusRequest,
    UpdateUserRequest, VerifyAuditRequest,
};
use tonic::{Code, Request, Status};

use super::super::caller::tests::asked;
use super::{Rig, row};

/// Somebody with a token asks for something.
fn by_token<T>(message: T) -> Request<T> {
    let words: [(&'static str, &[u8]); 4] = [
        ("im-actor-bin", b"ann"),
        ("im-credential-bin", b"token 7"),
        ("im-address-bin", b"192.0.2.9"),
        ("im-request-bin", b"r-1"),
    ];
    asked(message, &words)
}

fn under_key<T>(message: T, key: &str) -> Request<T> {
    let mut request = by_token(message);
    let key = tonic::metadata::MetadataValue::from_bytes(key.as_bytes());
    request
        .metadata_mut()
        .insert_bin("im-idempotency-key-bin", key);
    request
}

fn add(name: &str) -> AddUserRequest {
    AddUserRequest {
        user: Some(row(0, name)),
        dry_run: false,
    }
}

/// The rows, oldest first.
async fn rows(rig: &Rig) -> Vec<AuditRecord> {
    let list = rig
        .admin
        .list_audit(Request::new(ListAuditRequest::default()));
    let mut rows = list.await.unwrap().into_inner().rows;
    rows.reverse();
    rows
}

async fn is_good(rig: &Rig) -> bool {
    let verdict = rig
        .admin
        .verify_audit(Request::new(VerifyAuditRequest::default()));
    let verdict = verdict.await.unwrap().into_inner();
    !verdict.more && verdict.bad == 0
}

fn reason(status: &Status) -> Option<&str> {
    status.metadata().get("im-reason")?.to_str().ok()
}

/// The parts of a row that differ from call to call.
fn told(row: &AuditRecord) -> (&str, &str, &str, &str) {
    (&row.action, &row.target, &row.before, &row.after)
}

#[tokio::test]
async fn every_call_that_changes_something_leaves_rows_in_a_chain() {
    let rig = Rig::new().await;
    let admin = &rig.admin;
    let mut expected: Vec<(&str, &str, &str, &str)> = Vec::new();
    macro_rules! change {
        ($call:ident, $request:expr, [$($row:expr),*]) => {
            let done = admin.$call(by_token($request)).await;
            assert!(done.is_ok(), "{} {done:?}", stringify!($call));
            expected.extend([$($row),*]);
        };
    }
    let text = |text: &str| text.to_owned();
    change!(
        create_department,
        CreateDepartmentRequest {
            path: text("C/R"),
            dry_run: false
        },
        [("CreateDepartment", "department 2", "", r#"{"path":"C/R"}"#)]
    );
    change!(
        add_user,
        add("eve"),
        [(
            "AddUser",
            "user eve",
            "",
            r#"{"nick":"eve","sex":"unknown","status":"active"}"#
        )]
    );
    let update = UpdateUserRequest {
        name: text("eve"),
        phone: Some(text("1")),
        ..UpdateUserRequest::default()
    };
    change!(
        update_user,
        update,
        [(
            "UpdateUser",
            "user eve",
            r#"{"phone":""}"#,
            r#"{"phone":"1"}"#
        )]
    );
    let rename = RenameUserRequest {
        name: text("eve"),
        new_name: text("eva"),
        dry_run: false,
    };
    change!(
        rename_user,
        rename,
        [(
            "RenameUser",
            "user eve",
            r#"{"name":"eve"}"#,
            r#"{"name":"eva"}"#
        )]
    );
    let moved = MoveUserRequest {
        name: text("eva"),
        department: text("C/R"),
        dry_run: false,
    };
    change!(
        move_user,
        moved,
        [(
            "MoveUser",
            "user eva",
            r#"{"department":""}"#,
            r#"{"department":"C/R"}"#
        )]
    );
    let password = SetPasswordRequest {
        name: text("eva"),
        password: text("secret"),
        dry_run: false,
    };
    change!(
        set_password,
        password,
        [("SetPassword", "user eva", "", r#"{"password":"set"}"#)]
    );
    let status = SetUserStatusRequest {
        name: text("eva"),
        status: text("trial"),
        dry_run: false,
    };
    change!(
        set_user_status,
        status,
        [(
            "SetUserStatus",
            "user eva",
            r#"{"status":"active"}"#,
            r#"{"status":"trial"}"#
        )]
    );
    let group = CreateGroupRequest {
        name: text("Team"),
        owner: text("user1"),
        members: vec![text("user2")],
        ..CreateGroupRequest::default()
    };
    change!(
        create_group,
        group,
        [(
            "CreateGroup",
            "group 1",
            "",
            r#"{"avatar":"","fixed":false,"members":[1,2],"name":"Team","owner":"user1"}"#
        )]
    );
    let members = ChangeGroupMembersRequest {
        group: 1,
        add: vec![text("eva")],
        remove_ids: vec![1],
        ..ChangeGroupMembersRequest::default()
    };
    let eva = admin.person("eva").await.unwrap().id;
    let added = format!(r#"{{"added":[{eva}]}}"#);
    change!(
        change_group_members,
        members,
        [
            ("ChangeGroupMembers", "group 1", "", added.as_str()),
            ("ChangeGroupMembers", "group 1", "", r#"{"removed":[1]}"#)
        ]
    );
    let rename = RenameGroupRequest {
        group: 1,
        name: text("Crew"),
        dry_run: false,
    };
    change!(
        rename_group,
        rename,
        [(
            "RenameGroup",
            "group 1",
            r#"{"name":"Team"}"#,
            r#"{"name":"Crew"}"#
        )]
    );
    let owner = SetGroupOwnerRequest {
        group: 1,
        owner: text("user2"),
        dry_run: false,
    };
    change!(
        set_group_owner,
        owner,
        [(
            "SetGroupOwner",
            "group 1",
            r#"{"owner":"user1"}"#,
            r#"{"owner":"user2"}"#
        )]
    );
    change!(
        clear_lock,
        ClearLockRequest {
            name: text("nobody"),
            dry_run: false
        },
        [(
            "ClearLock",
            "name nobody",
            r#"{"locks":0}"#,
            r#"{"locks":0}"#
        )]
    );
    change!(
        remove_user,
        RemoveUserRequest {
            name: text("eva"),
            dry_run: false
        },
        [
            ("RemoveUser", "group 1", "", r#"{"removed":["eva"]}"#),
            (
                "RemoveUser",
                "user eva",
                r#"{"name":"eva","status":"trial"}"#,
                "gone"
            )
        ]
    );
    change!(
        remove_group,
        RemoveGroupRequest {
            group: 1,
            dry_run: false
        },
        [(
            "RemoveGroup",
            "group 1",
            r#"{"members":[2],"name":"Crew"}"#,
            r#"{"removed":"all"}"#
        )]
    );
    let rename = RenameDepartmentRequest {
        id: 2,
        name: text("S"),
        ..RenameDepartmentRequest::default()
    };
    change!(
        rename_department,
        rename,
        [(
            "RenameDepartment",
            "department 2",
            r#"{"path":"C/R"}"#,
            r#"{"path":"C/S"}"#
        )]
    );
    let moved = MoveDepartmentRequest {
        path: text("C/S"),
        ..MoveDepartmentRequest::default()
    };
    change!(
        move_department,
        moved,
        [(
            "MoveDepartment",
            "department 2",
            r#"{"path":"C/S"}"#,
            r#"{"path":"S"}"#
        )]
    );
    let remove = RemoveDepartmentRequest {
        id: 2,
        ..RemoveDepartmentRequest::default()
    };
    change!(
        remove_department,
        remove,
        [(
            "RemoveDepartment",
            "department 2",
            r#"{"path":"S","people":0}"#,
            r#"{"people_into":"","removed":true}"#
        )]
    );

    let gone = format!(r#"{{"name":"eva#{eva}","status":"left"}}"#);
    for row in &mut expected {
        if row.3 == "gone" {
            row.3 = &gone;
        }
    }
    let rows = rows(&rig).await;
    assert_eq!(rows.iter().map(told).collect::<Vec<_>>(), expected);
    for (number, row) in (1..).zip(&rows) {
        assert_eq!((row.number, row.outcome.as_str()), (number, "done"));
        assert_eq!(
            (&*row.actor, &*row.credential, &*row.address, &*row.request),
            ("ann", "token 7", "192.0.2.9", "r-1")
        );
    }
    assert!(is_good(&rig).await);
    let filter = ListAuditRequest {
        target: "user eva".to_owned(),
        action: "MoveUser".to_owned(),
        ..ListAuditRequest::default()
    };
    let found = admin
        .list_audit(Request::new(filter))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((found.rows.len(), found.next.as_str()), (1, ""));
}

#[tokio::test]
async fn a_kick_is_in_the_log_before_it_is_sent() {
    let mut rig = Rig::new().await;
    let admin = rig.admin.clone();
    let kick = KickSessionRequest {
        user: "user2".to_owned(),
        epoch: 255,
        ..KickSessionRequest::default()
    };
    let kick = admin.kick_session(by_token(kick));
    let ((), done) = tokio::join!(rig.answer_sessions(Vec::new()), kick);
    done.unwrap();
    let rows = rows(&rig).await;
    let row = rows.first().unwrap();
    let after = r#"{"ended_sessions":"00000000000000ff","online":0}"#;
    assert_eq!(told(row), ("KickSession", "user user2", "", after));
}

#[tokio::test]
async fn what_changes_nothing_leaves_no_row() {
    let rig = Rig::new().await;
    let mut dry = add("eve");
    dry.dry_run = true;
    rig.admin.add_user(by_token(dry)).await.unwrap();
    let taken = rig
        .admin
        .add_user(by_token(add("user1")))
        .await
        .unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
    let nobody = RenameGroupRequest {
        group: 9,
        name: "x".to_owned(),
        dry_run: false,
    };
    let nobody = rig.admin.rename_group(by_token(nobody)).await.unwrap_err();
    assert_eq!(nobody.code(), Code::NotFound);
    assert_eq!(rows(&rig).await, []);
}

#[tokio::test]
async fn refusals_that_others_report_are_rows_within_a_bound() {
    let mut config = im_answers::testing::small_config();
    config.administration.audit_refusals_per_minute = 2;
    let rig = Rig::with(config).await;
    let report = ReportRefusalRequest {
        action: "POST /api/v1/users".to_owned(),
        target: "user eve".to_owned(),
        reason: "token expired".to_owned(),
    };
    for written in [true, true, false] {
        let reply = rig
            .admin
            .report_refusal(by_token(report.clone()))
            .await
            .unwrap();
        assert_eq!(reply.into_inner().written, written);
    }
    let rows = rows(&rig).await;
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!(
            (row.outcome.as_str(), row.action.as_str()),
            ("refused", "POST /api/v1/users")
        );
        assert_eq!(row.after, r#"{"reason":"token expired"}"#);
    }
    assert!(is_good(&rig).await);
}
