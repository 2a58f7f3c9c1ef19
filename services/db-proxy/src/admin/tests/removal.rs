//! What an administrator can undo: people, groups and departments renamed and taken out.

use im_proto_rpc::v1::{
    ListDepartmentsRequest, RemoveDepartmentRequest, RemoveGroupRequest, RemoveUserRequest,
    RenameDepartmentRequest, RenameGroupRequest, RenameUserRequest,
};

use super::*;

fn rename(name: &str, new_name: &str) -> RenameUserRequest {
    RenameUserRequest {
        name: name.to_owned(),
        new_name: new_name.to_owned(),
        dry_run: false,
    }
}

fn remove(name: &str, dry_run: bool) -> RemoveUserRequest {
    RemoveUserRequest {
        name: name.to_owned(),
        dry_run,
    }
}

async fn with_password(rig: &Rig, name: &str) {
    let set = SetPasswordRequest {
        name: name.to_owned(),
        password: "x".to_owned(),
        dry_run: false,
    };
    rig.admin.change_password(set).await.unwrap();
}

fn group_of_three() -> CreateGroupRequest {
    CreateGroupRequest {
        name: "Team".to_owned(),
        owner: "user1".to_owned(),
        members: vec!["user2".to_owned(), "user3".to_owned()],
        fixed: true,
        ..CreateGroupRequest::default()
    }
}

#[tokio::test]
async fn a_renamed_person_logs_in_with_the_new_name_only() {
    let rig = Rig::new().await;
    with_password(&rig, "user2").await;
    assert_eq!(login(&rig, "user2", "x").await, 0);
    let renamed = rig.admin.rename_person(rename("user2", " ben ")).await;
    let renamed = renamed.unwrap();
    assert_eq!((renamed.id, renamed.name.as_str()), (2, "ben"));
    assert_eq!(login(&rig, "ben", "x").await, 0);
    assert_eq!(login(&rig, "user2", "x").await, 1);
    // One's own name in another case is free, that of somebody else is not.
    rig.admin.rename_person(rename("ben", "Ben")).await.unwrap();
    for taken in ["user1", "USER1"] {
        let refused = rig.admin.rename_person(rename("Ben", taken)).await;
        assert_eq!(code(refused), Code::AlreadyExists);
    }
    let refused = rig.admin.rename_person(rename("Ben", "a\u{202e}")).await;
    assert_eq!(code(refused), Code::InvalidArgument);
}

#[tokio::test]
async fn a_removed_person_is_out_of_groups_and_logins_and_frees_the_name() {
    let mut rig = Rig::new().await;
    with_password(&rig, "user2").await;
    let group = rig.admin.make_group(group_of_three()).await.unwrap();
    let told = rig
        .admin
        .remove_person(remove("user2", true))
        .await
        .unwrap();
    assert_eq!(told.groups, [group.id]);
    assert_eq!(login(&rig, "user2", "x").await, 0, "a dry run does nothing");

    rig.admin
        .remove_person(remove("user2", false))
        .await
        .unwrap();
    let (_, notify): (_, ImGroupChangeMemberNotify) =
        rig.event(Command::GroupChangeMemberNotify).await;
    assert_eq!((notify.change_type, notify.chg_user_id_list), (2, vec![2]));
    assert_eq!(rig.kicked().await.user, 2);
    assert_eq!(login(&rig, "user2", "x").await, 1);
    let profile = rig.admin.person("user2#2").await.unwrap();
    assert_eq!((profile.id.get(), profile.status), (2, 3));
    assert!(!profile.nick.is_empty(), "what they wrote keeps its author");
    let again = rig
        .admin
        .add_person(request(row(0, "user2")))
        .await
        .unwrap();
    assert_ne!(again.id, 2);
}

#[tokio::test]
async fn lists_say_when_there_is_more() {
    let rig = Rig::new().await;
    let mut people = ListUsersRequest {
        limit: 4,
        matching: "user".to_owned(),
        cursor: String::new(),
    };
    for (ids, more) in [
        (&[1, 2, 3, 4][..], true),
        (&[5, 6, 7, 8], true),
        (&[9], false),
    ] {
        let list = rig.admin.list_people(people.clone()).await.unwrap();
        let found: Vec<u32> = list.users.iter().map(|user| user.id).collect();
        assert_eq!((found.as_slice(), !list.next.is_empty()), (ids, more));
        if more {
            people.cursor = list.next;
        }
    }
    // A cursor belongs to one list.
    people.matching = "use".to_owned();
    assert_eq!(
        code(rig.admin.list_people(people.clone()).await),
        Code::InvalidArgument
    );
    for _ in 0..3 {
        rig.admin.make_group(group_of_three()).await.unwrap();
    }
    let mut groups = ListGroupsRequest {
        limit: 2,
        cursor: people.cursor,
        ..ListGroupsRequest::default()
    };
    assert_eq!(
        code(rig.admin.groups(groups.clone()).await),
        Code::InvalidArgument
    );
    groups.cursor.clear();
    for (count, more) in [(2, true), (1, false)] {
        let list = rig.admin.groups(groups.clone()).await.unwrap();
        assert_eq!((list.groups.len(), !list.next.is_empty()), (count, more));
        groups.cursor = list.next;
    }
}

#[tokio::test]
async fn groups_are_renamed_and_removed() {
    let mut rig = Rig::new().await;
    let group = rig.admin.make_group(group_of_three()).await.unwrap();
    let renamed = rig
        .admin
        .rename_a_group(RenameGroupRequest {
            group: group.id,
            name: "Crew".to_owned(),
            dry_run: false,
        })
        .await
        .unwrap();
    assert_eq!((renamed.name.as_str(), renamed.version), ("Crew", 2));
    for (group, name, expected) in [
        (99, "x", Code::NotFound),
        (group.id, "", Code::InvalidArgument),
        (group.id, "\u{1b}[2J", Code::InvalidArgument),
    ] {
        let name = name.to_owned();
        let refused = rig.admin.rename_a_group(RenameGroupRequest {
            group,
            name,
            dry_run: false,
        });
        assert_eq!(code(refused.await), expected);
    }
    let remove = |dry_run| RemoveGroupRequest {
        group: group.id,
        dry_run,
    };
    let told = rig.admin.remove_a_group(remove(true)).await.unwrap();
    assert_eq!(told.members.len(), 3);
    rig.no_event().await;
    rig.admin.remove_a_group(remove(false)).await.unwrap();
    let (_, notify): (_, ImGroupChangeMemberNotify) =
        rig.event(Command::GroupChangeMemberNotify).await;
    assert_eq!(notify.chg_user_id_list, [1, 2, 3]);
    let list = rig.admin.groups(ListGroupsRequest::default()).await;
    assert_eq!(list.unwrap().groups, []);
}

#[tokio::test]
async fn too_many_members_are_told_with_the_bound_and_its_key() {
    let mut config = small_config();
    config.writer.max_group_members = 2;
    let rig = Rig::with(config).await;
    let refused = rig.admin.make_group(group_of_three()).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a group has at most 2 members (db_proxy.writer.max_group_members), these are 3"
    );
}

#[tokio::test]
async fn a_misspelt_department_is_renamed_and_one_too_many_removed() {
    let rig = Rig::new().await;
    let people = [("ann", "Company/Salse"), ("ben", "Company/Lab")];
    let people = people.map(|(name, path)| DirectoryRow {
        department: Some(path.to_owned()),
        ..row(2, name)
    });
    import(&rig, people.to_vec()).await;
    let rename = |path: &str, name: &str| RenameDepartmentRequest {
        path: path.to_owned(),
        name: name.to_owned(),
        ..RenameDepartmentRequest::default()
    };
    let renamed = rig
        .admin
        .rename_a_department(rename("Company/Salse", "Sales"))
        .await
        .unwrap();
    assert_eq!(
        (renamed.path.as_str(), renamed.people),
        ("Company/Sales", 1)
    );
    for (path, name, expected) in [
        ("Company/Salse", "x", Code::NotFound),
        ("Company/Sales", "Lab", Code::AlreadyExists),
        ("Company/Sales", "a/b", Code::InvalidArgument),
    ] {
        let refused = rig.admin.rename_a_department(rename(path, name)).await;
        assert_eq!(code(refused), expected, "{path} {name}");
    }
    let remove = |path: &str, into: &str| RemoveDepartmentRequest {
        path: path.to_owned(),
        into: into.to_owned(),
        ..RemoveDepartmentRequest::default()
    };
    for (path, into) in [("Company", ""), ("Company/Lab", "")] {
        let refused = rig.admin.remove_a_department(remove(path, into)).await;
        assert_eq!(code(refused), Code::FailedPrecondition, "{path}");
    }
    let moved = remove("Company/Lab", "Company/Sales");
    rig.admin.remove_a_department(moved).await.unwrap();
    let list = rig.admin.list_tree(ListDepartmentsRequest::default()).await;
    let list = list.unwrap().departments;
    let list: Vec<_> = list
        .iter()
        .map(|one| (one.path.as_str(), one.people))
        .collect();
    assert_eq!(list, [("Company", 0), ("Company/Sales", 2)]);
}

#[tokio::test]
async fn why_a_login_was_refused_is_told_to_administrators_only() {
    let rig = Rig::new().await;
    with_password(&rig, "user2").await;
    let trial = SetUserStatusRequest {
        name: "user2".to_owned(),
        status: "trial".to_owned(),
        dry_run: false,
    };
    assert_eq!(login(&rig, "user2", "wrong").await, 1);
    rig.admin.change_status(trial).await.unwrap();
    assert_eq!(login(&rig, "user2 ", "x").await, 1);
    assert_eq!(login(&rig, "user3", "x").await, 1);
    assert_eq!(login(&rig, "nobody", "x").await, 1);
    let reasons = |name: &str| {
        let refusals = rig.admin.refusals(name).refusals.into_iter();
        let mut reasons: Vec<_> = refusals.map(|refusal| refusal.reason).collect();
        reasons.sort();
        reasons
    };
    assert_eq!(reasons("user2"), ["not active", "wrong password"]);
    assert_eq!(reasons("user3"), ["no password set"]);
    assert_eq!(reasons("nobody"), ["unknown name"]);
    assert_eq!(reasons("user1"), Vec::<String>::new());
}
