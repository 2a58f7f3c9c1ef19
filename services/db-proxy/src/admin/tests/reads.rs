//! What the HTTP API reads, and people changed field by field.

use im_proto_rpc::v1::{
    CreateDepartmentRequest, CreateGroupRequest, DirectoryRow, FindUsersRequest, GetGroupRequest,
    GetUserRequest, ListGroupMembersRequest, ListGroupsRequest, UpdateUserRequest,
};
use tonic::Code;

use super::{Rig, code, import, row};

#[allow(
    clippy::unnecessary_wraps,
    reason = "fields that may be missing are written with it"
)]
fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

async fn company(rig: &Rig) {
    let of = |name: &str, department: &str, status: &str| DirectoryRow {
        department: text(department),
        status: text(status),
        ..row(0, name)
    };
    let rows = vec![
        of("ada", "C/R", "active"),
        of("adam", "C/S", "active"),
        of("adele", "C/R", "left"),
        of("bob", "C/R", "active"),
        of("安娜", "C/R", "active"),
    ];
    let rows = (1..)
        .zip(rows)
        .map(|(line, row)| DirectoryRow { line, ..row });
    let (_, report) = import(rig, rows.collect()).await;
    assert!(report.applied, "{report:?}");
}

/// All pages of a search, by pages of so many.
async fn found(rig: &Rig, limit: u32, request: &FindUsersRequest) -> Vec<String> {
    let mut names = Vec::new();
    let mut cursor = String::new();
    loop {
        let request = FindUsersRequest {
            limit,
            cursor,
            ..request.clone()
        };
        let page = rig.admin.find_people(request).await.unwrap();
        names.extend(page.users.into_iter().map(|user| user.name));
        cursor = page.next;
        if cursor.is_empty() {
            return names;
        }
    }
}

#[tokio::test]
async fn people_are_found_by_prefix_department_and_status_in_pages_of_any_size() {
    let rig = Rig::new().await;
    company(&rig).await;
    let all = FindUsersRequest::default();
    let cases: [(FindUsersRequest, &[&str]); 7] = [
        (
            FindUsersRequest {
                prefix: "ad".to_owned(),
                ..all.clone()
            },
            &["ada", "adam", "adele"],
        ),
        (
            FindUsersRequest {
                prefix: "安".to_owned(),
                ..all.clone()
            },
            &["安娜"],
        ),
        (
            FindUsersRequest {
                prefix: "Ad".to_owned(),
                ..all.clone()
            },
            &[],
        ),
        (
            FindUsersRequest {
                department: "C/R".to_owned(),
                ..all.clone()
            },
            &["ada", "adele", "bob", "安娜"],
        ),
        (
            FindUsersRequest {
                status: "left".to_owned(),
                ..all.clone()
            },
            &["adele"],
        ),
        (
            FindUsersRequest {
                department: "C/R".to_owned(),
                status: "active".to_owned(),
                ..all.clone()
            },
            &["ada", "bob", "安娜"],
        ),
        (
            FindUsersRequest {
                prefix: "a".to_owned(),
                department: "C/R".to_owned(),
                ..all.clone()
            },
            &["ada", "adele"],
        ),
    ];
    for (request, names) in &cases {
        for limit in [1, 2, 0] {
            assert_eq!(found(&rig, limit, request).await, *names, "{request:?}");
        }
    }
    let by_id = FindUsersRequest {
        department_id: 2,
        ..all.clone()
    };
    assert_eq!(
        found(&rig, 0, &by_id).await,
        ["ada", "adele", "bob", "安娜"]
    );
    let everybody = found(&rig, 3, &all).await;
    assert!(
        everybody.is_sorted() && everybody.len() > 5,
        "{everybody:?}"
    );

    let nowhere = FindUsersRequest {
        department: "X".to_owned(),
        ..all.clone()
    };
    assert_eq!(code(rig.admin.find_people(nowhere).await), Code::NotFound);
    let odd = FindUsersRequest {
        status: "fired".to_owned(),
        ..all.clone()
    };
    assert_eq!(
        code(rig.admin.find_people(odd).await),
        Code::InvalidArgument
    );
    let page = rig.admin.find_people(FindUsersRequest {
        limit: 1,
        ..all.clone()
    });
    let foreign = FindUsersRequest {
        cursor: page.await.unwrap().next,
        prefix: "a".to_owned(),
        ..all
    };
    assert_eq!(
        code(rig.admin.find_people(foreign).await),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn a_person_is_changed_field_by_field_and_told_to_clients() {
    let mut rig = Rig::new().await;
    company(&rig).await;
    let get = |name: &str, id| GetUserRequest {
        name: name.to_owned(),
        id,
        any_account: false,
    };
    let ada = rig.admin.get_person(get("ada", 0)).await.unwrap();
    assert_eq!(rig.admin.get_person(get("", ada.id)).await.unwrap(), ada);
    assert_eq!(
        code(rig.admin.get_person(get("", 9_999)).await),
        Code::NotFound
    );

    let stamp = rig.context.store.directory_stamp().await.unwrap();
    let update = UpdateUserRequest {
        id: ada.id,
        nick: text("Ada"),
        sex: Some(2),
        phone: text("1"),
        email: text("a@example.org"),
        avatar: text("http://x/a.png"),
        signature: text("hello"),
        department: text("C/S"),
        ..UpdateUserRequest::default()
    };
    let rehearsal = UpdateUserRequest {
        dry_run: true,
        ..update.clone()
    };
    assert_eq!(rig.admin.update_person(rehearsal).await.unwrap(), ada);
    let changed = rig.admin.update_person(update).await.unwrap();
    assert_eq!(rig.admin.get_person(get("ada", 0)).await.unwrap(), changed);
    assert_eq!(
        (
            &*changed.nick,
            changed.sex,
            &*changed.phone,
            &*changed.department
        ),
        ("Ada", 2, "1", "C/S")
    );
    let told = rig.context.store.users_since(stamp, 10).await.unwrap();
    assert_eq!(told.users.len(), 1, "clients that ask are told");

    let empty = UpdateUserRequest {
        name: "ada".to_owned(),
        phone: text(""),
        department: text(""),
        ..UpdateUserRequest::default()
    };
    let emptied = rig.admin.update_person(empty).await.unwrap();
    assert_eq!(
        (&*emptied.phone, &*emptied.department, &*emptied.email),
        ("", "", "a@example.org")
    );

    type Spoil = fn(&mut UpdateUserRequest);
    let cases: [(Spoil, Code); 6] = [
        (|it| it.nick = text(" "), Code::InvalidArgument),
        (|it| it.status = text(""), Code::InvalidArgument),
        (|it| it.status = text("fired"), Code::InvalidArgument),
        (|it| it.phone = Some("1".repeat(300)), Code::InvalidArgument),
        (|it| it.department = text("X"), Code::NotFound),
        (|it| it.name = "nobody".to_owned(), Code::NotFound),
    ];
    for (place, (spoil, expected)) in cases.into_iter().enumerate() {
        let mut request = UpdateUserRequest {
            name: "ada".to_owned(),
            ..UpdateUserRequest::default()
        };
        spoil(&mut request);
        assert_eq!(
            code(rig.admin.update_person(request).await),
            expected,
            "{place}"
        );
    }
    assert_eq!(rig.admin.get_person(get("ada", 0)).await.unwrap(), emptied);

    let leaves = UpdateUserRequest {
        name: "ada".to_owned(),
        status: text("left"),
        ..UpdateUserRequest::default()
    };
    rig.admin.update_person(leaves).await.unwrap();
    assert_eq!(rig.kicked().await.user, ada.id);
}

#[tokio::test]
async fn groups_of_nobody_are_made_and_listed_with_and_without_members() {
    let rig = Rig::new().await;
    let group = |name: &str, ids: &[u32]| CreateGroupRequest {
        name: name.to_owned(),
        member_ids: ids.to_vec(),
        ..CreateGroupRequest::default()
    };
    let made = rig.admin.make_group(group("A", &[3, 1, 3])).await.unwrap();
    assert_eq!((&*made.owner, made.owner_id, made.member_count), ("", 0, 2));
    assert_eq!(made.members, ["user1", "user3"]);
    rig.admin.make_group(group("B", &[2])).await.unwrap();
    assert_eq!(
        code(rig.admin.make_group(group("C", &[])).await),
        Code::InvalidArgument
    );
    assert_eq!(
        code(rig.admin.make_group(group("C", &[1, 9_999])).await),
        Code::NotFound
    );
    assert_eq!(
        code(rig.admin.make_group(group("C", &[0])).await),
        Code::NotFound
    );

    let list = rig
        .admin
        .groups(ListGroupsRequest::default())
        .await
        .unwrap();
    let members: Vec<_> = list
        .groups
        .iter()
        .map(|group| group.members.join(" "))
        .collect();
    assert_eq!(members, ["user1 user3", "user2"]);
    let bare = ListGroupsRequest {
        without_members: true,
        ..ListGroupsRequest::default()
    };
    let list = rig.admin.groups(bare).await.unwrap();
    let counts: Vec<_> = list
        .groups
        .iter()
        .map(|group| (group.members.len(), group.member_count))
        .collect();
    assert_eq!(counts, [(0, 2), (0, 1)]);
    let one = rig
        .admin
        .get_group_record(GetGroupRequest { group: made.id })
        .await
        .unwrap();
    assert_eq!(one, list.groups[0]);
    let none = rig
        .admin
        .get_group_record(GetGroupRequest { group: 99 })
        .await;
    assert_eq!(code(none), Code::NotFound);
}

#[tokio::test]
async fn members_are_listed_by_page() {
    let rig = Rig::new().await;
    let group = CreateGroupRequest {
        name: "A".to_owned(),
        member_ids: vec![1, 2, 3],
        ..CreateGroupRequest::default()
    };
    let group = rig.admin.make_group(group).await.unwrap().id;
    let mut request = ListGroupMembersRequest {
        group,
        limit: 2,
        ..ListGroupMembersRequest::default()
    };
    let first = rig.admin.list_members(request.clone()).await.unwrap();
    let ids: Vec<_> = first
        .members
        .iter()
        .map(|member| (member.id, member.name.as_str()))
        .collect();
    assert_eq!(ids, [(1, "user1"), (2, "user2")]);
    request.cursor = first.next;
    let second = rig.admin.list_members(request.clone()).await.unwrap();
    assert_eq!((second.members.len(), second.next.as_str()), (1, ""));
    request.group = 99;
    assert_eq!(code(rig.admin.list_members(request).await), Code::NotFound);
}

#[tokio::test]
async fn departments_are_made_with_those_above_them_and_once() {
    let rig = Rig::new().await;
    let make = |path: &str, dry_run| CreateDepartmentRequest {
        path: path.to_owned(),
        dry_run,
    };
    assert_eq!(
        rig.admin
            .make_department(make("C/R", true))
            .await
            .unwrap()
            .id,
        0
    );
    let made = rig
        .admin
        .make_department(make("C / R", false))
        .await
        .unwrap();
    assert_eq!((&*made.path, made.people), ("C/R", 0));
    assert_eq!(
        code(rig.admin.make_department(make("C/R", false)).await),
        Code::AlreadyExists
    );
    assert_eq!(
        code(rig.admin.make_department(make("C", true)).await),
        Code::AlreadyExists
    );
    for bad in ["", "C//R", &"x".repeat(65), &"a/".repeat(17)] {
        let refused = rig.admin.make_department(make(bad, false)).await;
        assert_eq!(code(refused), Code::InvalidArgument, "{bad}");
    }
}
