//! Dry runs: judged as the change would be, and nothing is changed.

use im_proto_rpc::v1::admin_server::Admin;
use im_proto_rpc::v1::{
    ClearLockRequest, ListDepartmentsRequest, ListLocksRequest, MoveDepartmentRequest,
    MoveUserRequest, RemoveDepartmentRequest, RenameDepartmentRequest, RenameGroupRequest,
    RenameUserRequest, SetGroupOwnerRequest,
};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response};

use super::*;

/// A call as it comes over the wire.
fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let actor = MetadataValue::from_bytes("安娜 of operations".as_bytes());
    request.metadata_mut().insert_bin("im-actor-bin", actor);
    request
}

/// What there is to change: Ann in Company/Lab, a group of three.
async fn world() -> (Rig, u32) {
    let rig = Rig::new().await;
    let ann = DirectoryRow {
        department: Some("Company/Lab".to_owned()),
        ..row(2, "ann")
    };
    import(&rig, vec![ann]).await;
    let group = CreateGroupRequest {
        name: "Team".to_owned(),
        owner: "user1".to_owned(),
        members: vec!["user2".to_owned(), "ann".to_owned()],
        ..CreateGroupRequest::default()
    };
    let made = rig.admin.make_group(group).await.unwrap();
    (rig, made.id)
}

/// Everything that a list shows.
async fn everything(rig: &Rig) -> String {
    let users = rig.admin.list_users(call(ListUsersRequest::default()));
    let groups = rig.admin.list_groups(call(ListGroupsRequest::default()));
    let departments = rig
        .admin
        .list_departments(call(ListDepartmentsRequest::default()));
    let (users, groups, departments) = tokio::join!(users, groups, departments);
    format!(
        "{:?}\n{:?}\n{:?}",
        users.unwrap().into_inner(),
        groups.unwrap().into_inner(),
        departments.unwrap().into_inner()
    )
}

fn outcome<T>(result: Result<Response<T>, Status>) -> Code {
    result.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test]
async fn a_dry_run_judges_every_kind_of_change_and_changes_nothing() {
    let (mut rig, group) = world().await;
    let before = everything(&rig).await;
    let text = str::to_owned;
    let dry_run = true;
    let rename = |name: &str, new_name: &str| RenameUserRequest {
        name: text(name),
        new_name: text(new_name),
        dry_run,
    };
    let add = |name: &str| AddUserRequest {
        user: Some(row(0, name)),
        dry_run,
    };
    let shift = |department: &str| MoveUserRequest {
        name: text("ann"),
        department: text(department),
        dry_run,
    };
    let password = |name: &str| SetPasswordRequest {
        name: text(name),
        password: text("new"),
        dry_run,
    };
    let status = |status: &str| SetUserStatusRequest {
        name: text("ann"),
        status: text(status),
        dry_run,
    };
    let create = |owner: &str| CreateGroupRequest {
        name: text("More"),
        owner: text(owner),
        dry_run,
        ..CreateGroupRequest::default()
    };
    let members = |group, add: &str| ChangeGroupMembersRequest {
        group,
        add: vec![text(add)],
        remove: vec![text("ann")],
        dry_run,
        ..ChangeGroupMembersRequest::default()
    };
    let rename_group = |group| RenameGroupRequest {
        group,
        name: text("Crew"),
        dry_run,
    };
    let rename_department = |path: &str, name: &str| RenameDepartmentRequest {
        path: text(path),
        name: text(name),
        dry_run,
        ..RenameDepartmentRequest::default()
    };
    let remove_department = |path: &str, into: &str| RemoveDepartmentRequest {
        path: text(path),
        into: text(into),
        dry_run,
        ..RemoveDepartmentRequest::default()
    };
    let move_department = |path: &str, into: &str| MoveDepartmentRequest {
        path: text(path),
        into: text(into),
        dry_run,
        ..MoveDepartmentRequest::default()
    };
    let give = |owner: &str| SetGroupOwnerRequest {
        group,
        owner: text(owner),
        dry_run,
    };
    let admin = &rig.admin;
    let judged = [
        (
            outcome(admin.set_group_owner(call(give("ann"))).await),
            Code::Ok,
        ),
        (
            outcome(admin.set_group_owner(call(give("user3"))).await),
            Code::FailedPrecondition,
        ),
        (
            outcome(
                admin
                    .move_department(call(move_department("Company/Lab", "")))
                    .await,
            ),
            Code::Ok,
        ),
        (
            outcome(
                admin
                    .move_department(call(move_department("Company", "Company/Lab")))
                    .await,
            ),
            Code::FailedPrecondition,
        ),
        (outcome(admin.add_user(call(add("new"))).await), Code::Ok),
        (
            outcome(admin.add_user(call(add("ann"))).await),
            Code::AlreadyExists,
        ),
        (
            outcome(admin.rename_user(call(rename("ann", "anna"))).await),
            Code::Ok,
        ),
        (
            outcome(admin.rename_user(call(rename("ann", "user1"))).await),
            Code::AlreadyExists,
        ),
        (
            outcome(admin.move_user(call(shift("Company"))).await),
            Code::Ok,
        ),
        (
            outcome(admin.move_user(call(shift("Companie"))).await),
            Code::NotFound,
        ),
        (
            outcome(admin.set_password(call(password("ann"))).await),
            Code::Ok,
        ),
        (
            outcome(admin.set_password(call(password("nobody"))).await),
            Code::NotFound,
        ),
        (
            outcome(admin.set_user_status(call(status("left"))).await),
            Code::Ok,
        ),
        (
            outcome(admin.set_user_status(call(status("fired"))).await),
            Code::InvalidArgument,
        ),
        (
            outcome(admin.create_group(call(create("ann"))).await),
            Code::Ok,
        ),
        (
            outcome(admin.create_group(call(create("nobody"))).await),
            Code::NotFound,
        ),
        (
            outcome(
                admin
                    .change_group_members(call(members(group, "user3")))
                    .await,
            ),
            Code::Ok,
        ),
        (
            outcome(admin.change_group_members(call(members(99, "user3"))).await),
            Code::NotFound,
        ),
        (
            outcome(admin.rename_group(call(rename_group(group))).await),
            Code::Ok,
        ),
        (
            outcome(admin.rename_group(call(rename_group(99))).await),
            Code::NotFound,
        ),
        (
            outcome(
                admin
                    .rename_department(call(rename_department("Company/Lab", "Labs")))
                    .await,
            ),
            Code::Ok,
        ),
        (
            outcome(
                admin
                    .rename_department(call(rename_department("Company/Lab", "a/b")))
                    .await,
            ),
            Code::InvalidArgument,
        ),
        (
            outcome(
                admin
                    .remove_department(call(remove_department("Company/Lab", "Company")))
                    .await,
            ),
            Code::Ok,
        ),
        (
            outcome(
                admin
                    .remove_department(call(remove_department("Company", "")))
                    .await,
            ),
            Code::FailedPrecondition,
        ),
    ];
    for (number, (found, expected)) in judged.into_iter().enumerate() {
        assert_eq!(found, expected, "{number}");
    }
    assert_eq!(everything(&rig).await, before);
    rig.no_event().await;
}

#[tokio::test]
async fn dry_runs_of_kicks_and_locks_count_and_leave_them() {
    let (mut rig, _) = world().await;
    let password = SetPasswordRequest {
        name: "ann".to_owned(),
        password: "right".to_owned(),
        dry_run: false,
    };
    rig.admin.change_password(password).await.unwrap();
    for _ in 0..40 {
        login(&rig, "ann", "wrong").await;
    }
    let unlock = |dry_run| ClearLockRequest {
        name: "ann".to_owned(),
        dry_run,
    };
    // Names that are locked count; what is forgotten are the places that they were typed at.
    let counted = rig.admin.unlock(unlock(true)).await.unwrap().forgotten;
    assert_eq!(counted, 1);
    assert_eq!(
        rig.admin
            .locks(ListLocksRequest::default())
            .await
            .unwrap()
            .locks[0]
            .name,
        "ann"
    );
    let forgotten = rig.admin.unlock(unlock(false)).await.unwrap().forgotten;
    assert!(forgotten >= counted, "{forgotten}");
    assert_eq!(
        rig.admin
            .locks(ListLocksRequest::default())
            .await
            .unwrap()
            .locks,
        []
    );
    rig.no_event().await;
}

#[tokio::test]
async fn a_person_is_moved_into_a_department_that_exists() {
    let (rig, _) = world().await;
    let shift = |department: &str| MoveUserRequest {
        name: "ann".to_owned(),
        department: department.to_owned(),
        dry_run: false,
    };
    for (department, shown) in [
        ("Company", "Company"),
        (" Company / Lab ", "Company/Lab"),
        ("", ""),
    ] {
        let moved = rig.admin.move_person(shift(department)).await.unwrap();
        assert_eq!(moved.department, shown);
    }
    // A path that was typed wrong makes no department.
    assert_eq!(
        code(rig.admin.move_person(shift("Company/Labs")).await),
        Code::NotFound
    );
    let list = rig.admin.list_tree(ListDepartmentsRequest::default()).await;
    assert_eq!(list.unwrap().departments.len(), 2);
}

#[tokio::test]
async fn a_change_that_names_nobody_who_wants_it_is_refused() {
    let (rig, _) = world().await;
    let before = everything(&rig).await;
    let rename = RenameUserRequest {
        name: "ann".to_owned(),
        new_name: "anna".to_owned(),
        dry_run: false,
    };
    let refused = rig.admin.rename_user(Request::new(rename)).await;
    assert_eq!(outcome(refused), Code::InvalidArgument);
    assert_eq!(everything(&rig).await, before);
}
