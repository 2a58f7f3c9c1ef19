//! Departments put under others, and groups given to others.

use im_proto_rpc::v1::{
    DepartmentList, ListDepartmentsRequest, MoveDepartmentRequest, RemoveDepartmentRequest,
    RemoveUserRequest, SetGroupOwnerRequest,
};
use im_store::{DirectoryStore as _, GroupStore as _};

use super::*;

async fn with_departments(paths: &[&str]) -> Rig {
    let rig = Rig::new().await;
    let people = (2..).zip(paths).map(|(line, path)| DirectoryRow {
        department: Some((*path).to_owned()),
        ..row(line, &format!("p{line}"))
    });
    let (_, report) = import(&rig, people.collect()).await;
    assert!(report.applied, "{:?}", report.errors);
    rig
}

fn put(path: &str, into: &str) -> MoveDepartmentRequest {
    MoveDepartmentRequest {
        path: path.to_owned(),
        into: into.to_owned(),
        ..MoveDepartmentRequest::default()
    }
}

async fn tree(rig: &Rig) -> Vec<(String, u32)> {
    let list = rig.admin.list_tree(ListDepartmentsRequest::default());
    let DepartmentList { departments, next } = list.await.unwrap();
    assert_eq!(next, "");
    let departments = departments.into_iter();
    departments.map(|one| (one.path, one.people)).collect()
}

fn paths(tree: &[(String, u32)]) -> Vec<(&str, u32)> {
    tree.iter()
        .map(|(path, people)| (path.as_str(), *people))
        .collect()
}

#[tokio::test]
async fn a_department_is_moved_with_its_people_and_all_below_it() {
    let rig = with_departments(&["Company/Lab/Optics", "Company/Research"]).await;
    let before = rig.temp.store.directory_stamp().await.unwrap();
    let moved = put("Company/Lab", " Company / Research ");
    let moved = rig.admin.move_a_department(moved).await.unwrap();
    assert_eq!(
        (moved.path.as_str(), moved.people),
        ("Company/Research/Lab", 0)
    );
    assert_eq!(
        paths(&tree(&rig).await),
        [
            ("Company", 0),
            ("Company/Research", 1),
            ("Company/Research/Lab", 0),
            ("Company/Research/Lab/Optics", 1)
        ]
    );
    // What clients read: only the department that was moved has changed.
    let told = rig.temp.store.departments_since(before).await.unwrap();
    assert_eq!((told.len(), told[0].id), (1, moved.id));
    let top = put("Company/Research/Lab", "");
    assert_eq!(rig.admin.move_a_department(top).await.unwrap().path, "Lab");
    assert_eq!(paths(&tree(&rig).await)[3], ("Lab/Optics", 1));
}

#[tokio::test]
async fn a_department_is_not_put_below_itself_beside_its_name_or_too_deep() {
    let deep = vec!["d"; 15].join("/");
    let rig = with_departments(&["A/B/C", "Other/B", &deep, "Away/B/Was"]).await;
    let remove = |path: &str| RemoveDepartmentRequest {
        path: path.to_owned(),
        into: "Other".to_owned(),
        ..RemoveDepartmentRequest::default()
    };
    let gone = rig.admin.remove_a_department(remove("Away/B/Was"));
    gone.await.unwrap();
    let gone = rig.admin.remove_a_department(remove("Away/B"));
    gone.await.unwrap();
    let before = tree(&rig).await;
    for (path, into, expected, why) in [
        (
            "A",
            "A",
            Code::FailedPrecondition,
            "\"A\" cannot lie below itself",
        ),
        (
            "A",
            "A/B/C",
            Code::FailedPrecondition,
            "\"A\" cannot be put under \"A/B/C\", which lies below it",
        ),
        (
            "A/B",
            "Other",
            Code::AlreadyExists,
            "a department \"B\" is, or was, under \"Other\"",
        ),
        (
            "A/B",
            "Away",
            Code::AlreadyExists,
            "a department \"B\" is, or was, under \"Away\"",
        ),
        (
            "A/X",
            "Other",
            Code::NotFound,
            "there is no department \"A/X\"",
        ),
        (
            "A/B",
            "Others",
            Code::NotFound,
            "there is no department \"Others\"",
        ),
        (
            "A/B",
            &deep,
            Code::FailedPrecondition,
            "departments lie at most 16 deep, these would 17",
        ),
    ] {
        for dry_run in [true, false] {
            let request = MoveDepartmentRequest {
                dry_run,
                ..put(path, into)
            };
            let refused = rig.admin.move_a_department(request).await.unwrap_err();
            assert!(refused.to_string().starts_with(why), "{refused}");
            assert_eq!(Status::from(refused).code(), expected, "{path} {into}");
        }
    }
    assert_eq!(tree(&rig).await, before);
    // One level less is not too deep, and where it lies already is no error.
    for (path, into) in [("A/B/C", deep.as_str()), ("Other/B", "Other")] {
        rig.admin.move_a_department(put(path, into)).await.unwrap();
    }
}

#[tokio::test]
async fn two_departments_that_are_moved_under_each_other_at_once_are_no_circle() {
    let rig = with_departments(&["A", "B"]).await;
    let (one, other) = tokio::join!(
        rig.admin.move_a_department(put("A", "B")),
        rig.admin.move_a_department(put("B", "A"))
    );
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    assert_eq!(tree(&rig).await.len(), 2);
}

/// A group of user1 with user2 and user3.
async fn group(rig: &Rig) -> u32 {
    let group = CreateGroupRequest {
        name: "Team".to_owned(),
        owner: "user1".to_owned(),
        members: vec!["user2".to_owned(), "user3".to_owned()],
        fixed: true,
        ..CreateGroupRequest::default()
    };
    rig.admin.make_group(group).await.unwrap().id
}

fn give(group: u32, owner: &str, dry_run: bool) -> SetGroupOwnerRequest {
    SetGroupOwnerRequest {
        group,
        owner: owner.to_owned(),
        dry_run,
    }
}

#[tokio::test]
async fn a_group_of_somebody_who_was_removed_is_given_to_a_member() {
    let mut rig = Rig::new().await;
    let group = group(&rig).await;
    let leave = RemoveUserRequest {
        name: "user1".to_owned(),
        dry_run: false,
    };
    rig.admin.remove_person(leave).await.unwrap();
    let (_, _): (_, ImGroupChangeMemberNotify) = rig.event(Command::GroupChangeMemberNotify).await;
    rig.kicked().await;

    let told = rig.admin.give_a_group(give(group, "user2", true)).await;
    assert_eq!(told.unwrap().owner, "user1#1", "as it is");
    let given = rig.admin.give_a_group(give(group, "user2", false)).await;
    let given = given.unwrap();
    assert_eq!((given.owner.as_str(), given.version), ("user2", 3));
    assert_eq!(given.members, ["user2", "user3"]);
    let id = im_core::GroupId::from_wire(group).unwrap();
    let stored = rig.temp.store.groups(&[id]).await.unwrap().remove(0);
    assert_eq!(stored.creator, user(2));
    // No frame tells of it, and the same again is no change.
    rig.no_event().await;
    let again = rig.admin.give_a_group(give(group, "user2", false)).await;
    assert_eq!(again.unwrap().version, 3);
}

#[tokio::test]
async fn a_group_is_given_to_a_member_only() {
    let rig = Rig::new().await;
    let group = group(&rig).await;
    for (number, owner, expected, why) in [
        (
            99,
            "user2",
            Code::NotFound,
            "there is no group 99".to_owned(),
        ),
        (
            0,
            "user2",
            Code::InvalidArgument,
            "a group has a number".to_owned(),
        ),
        (
            group,
            "nobody",
            Code::NotFound,
            "there is no user \"nobody\"".to_owned(),
        ),
        (
            group,
            "user4",
            Code::FailedPrecondition,
            format!("\"user4\" is no member of group {group}: add them first"),
        ),
    ] {
        for dry_run in [true, false] {
            let refused = rig.admin.give_a_group(give(number, owner, dry_run)).await;
            let refused = refused.unwrap_err();
            assert_eq!(refused.to_string(), why);
            assert_eq!(Status::from(refused).code(), expected);
        }
    }
    let list = rig.admin.groups(ListGroupsRequest::default()).await;
    let list = list.unwrap().groups;
    assert_eq!((list[0].owner.as_str(), list[0].version), ("user1", 1));
}
