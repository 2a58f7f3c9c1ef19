//! Lists of departments and locks by page.

use im_core::time::UnixSeconds;
use im_proto_rpc::v1::{ClearLockRequest, ListDepartmentsRequest, ListLocksRequest};
use im_store::NewFailure;

use super::*;

#[tokio::test]
async fn departments_come_by_path_and_page_and_say_when_there_is_more() {
    let rig = Rig::new().await;
    // By id they would come in another order.
    let people = ["Z", "A/B", "M", "A/A"].map(|path| DirectoryRow {
        department: Some(path.to_owned()),
        ..row(2, &format!("of {path}"))
    });
    import(&rig, people.to_vec()).await;
    let mut request = ListDepartmentsRequest {
        limit: 2,
        cursor: String::new(),
    };
    for (expected, more) in [
        (&["A", "A/A"][..], true),
        (&["A/B", "M"], true),
        (&["Z"], false),
    ] {
        let list = rig.admin.list_tree(request.clone()).await.unwrap();
        let found = list.departments.iter().map(|one| one.path.as_str());
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert_eq!(!list.next.is_empty(), more);
        if more {
            request.cursor = list.next;
        }
    }
    // Removed since: the list goes on behind where it was.
    let behind_m = request.clone();
    let gone = im_proto_rpc::v1::RemoveDepartmentRequest {
        path: "M".to_owned(),
        into: "Z".to_owned(),
        ..im_proto_rpc::v1::RemoveDepartmentRequest::default()
    };
    rig.admin.remove_a_department(gone).await.unwrap();
    let list = rig.admin.list_tree(behind_m).await.unwrap();
    assert_eq!(list.departments.len(), 1);
    assert_eq!(
        (
            list.departments[0].path.as_str(),
            list.departments[0].people
        ),
        ("Z", 2)
    );
    // A cursor belongs to one list.
    let locks = ListLocksRequest {
        cursor: request.cursor,
        ..ListLocksRequest::default()
    };
    assert_eq!(code(rig.admin.locks(locks).await), Code::InvalidArgument);
}

/// Twelve failures at one address, more than are let pass there and fewer than in a network.
async fn lock(rig: &Rig, name: &str, at: u32) {
    for _ in 0..12 {
        let failure = NewFailure {
            name,
            known: true,
            addresses: &["192.0.2.1", "192.0.2.0/24", "*"],
            now: UnixSeconds::from_wire(at),
            since: UnixSeconds::from_wire(at - 600),
            max_pairs: 100,
            kept_above: 10,
        };
        rig.temp.store.add_login_failure(&failure).await.unwrap();
    }
}

#[tokio::test]
async fn locks_come_newest_first_by_page_and_say_when_there_is_more() {
    let rig = Rig::new().await;
    let now = UnixSeconds::now().get();
    // Two in the same second.
    for (name, ago) in [
        ("ann", 60),
        ("ben", 50),
        ("cy", 50),
        ("dee", 40),
        ("eve", 30),
    ] {
        lock(&rig, name, now - ago).await;
    }
    let mut request = ListLocksRequest {
        limit: 2,
        ..ListLocksRequest::default()
    };
    let mut pages = Vec::new();
    loop {
        let list = rig.admin.locks(request.clone()).await.unwrap();
        let names: Vec<_> = list.locks.into_iter().map(|lock| lock.name).collect();
        pages.push(names);
        if list.next.is_empty() {
            break;
        }
        request.cursor = list.next;
    }
    assert_eq!(pages, [vec!["eve", "dee"], vec!["cy", "ben"], vec!["ann"]]);
    // One that fails again while somebody turns the pages moves to the front, and hides nobody.
    request.cursor.clear();
    let first = rig.admin.locks(request.clone()).await.unwrap();
    lock(&rig, "ben", now).await;
    request.cursor = first.next;
    let second = rig.admin.locks(request.clone()).await.unwrap();
    let names: Vec<_> = second.locks.iter().map(|lock| lock.name.as_str()).collect();
    assert_eq!(names, ["cy", "ann"]);

    // A cursor is good for that question only.
    request.name = "ann".to_owned();
    assert_eq!(
        code(rig.admin.locks(request.clone()).await),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn locks_of_one_name_are_found_and_lifted_among_many() {
    let rig = Rig::new().await;
    let now = UnixSeconds::now().get();
    for n in 0..30 {
        lock(&rig, &format!("p{n}"), now - 100 + n).await;
    }
    let of = |name: &str| ListLocksRequest {
        name: name.to_owned(),
        limit: 1,
        ..ListLocksRequest::default()
    };
    let list = rig.admin.locks(of(" p7 ")).await.unwrap();
    assert_eq!((list.locks.len(), list.next.as_str()), (1, ""));
    assert_eq!(
        (list.locks[0].address.as_str(), list.locks[0].failures),
        ("192.0.2.1", 12)
    );
    assert_eq!(rig.admin.locks(of("p99")).await.unwrap().locks, []);
    for (dry_run, forgotten) in [(true, 1), (false, 3)] {
        let name = "p7".to_owned();
        let lifted = rig.admin.unlock(ClearLockRequest { name, dry_run }).await;
        assert_eq!(lifted.unwrap().forgotten, forgotten);
    }
    assert_eq!(rig.admin.locks(of("p7")).await.unwrap().locks, []);
    assert_eq!(rig.admin.locks(of("p8")).await.unwrap().locks.len(), 1);
    let nobody = ClearLockRequest::default();
    assert_eq!(code(rig.admin.unlock(nobody).await), Code::InvalidArgument);
}

/// Paths of departments of a kilobyte each: a page ends before the 4 MiB of a gRPC message, and nobody is
/// left out.
#[tokio::test]
async fn people_with_long_rows_come_in_pages_that_any_client_reads() {
    let rig = Rig::new().await;
    let path = ["d"; 16].map(|name| name.repeat(64)).join("/");
    let people = (0..4_000).map(|n| DirectoryRow {
        department: Some(path.clone()),
        ..row(2, &format!("person {n}"))
    });
    import(&rig, people.collect()).await;
    let mut request = ListUsersRequest {
        limit: 10_000,
        ..ListUsersRequest::default()
    };
    let mut seen = std::collections::BTreeSet::new();
    let mut pages = 0;
    loop {
        let list = rig.admin.list_people(request.clone()).await.unwrap();
        assert!(prost::Message::encoded_len(&list) < 4 << 20);
        let names = list.users.into_iter().map(|user| user.name);
        seen.extend(names.filter(|name| name.starts_with("person ")));
        pages += 1;
        if list.next.is_empty() {
            break;
        }
        request.cursor = list.next;
    }
    assert_eq!((seen.len(), pages), (4_000, 2));
}
