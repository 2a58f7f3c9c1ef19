use crate::{DirectoryImport, ImportOutcome, ImportedUser, Store};
use tokio::time::{Duration, Instant};

use super::accounts::{import, person};
use crate::contract::log::{at, user};

fn in_department(name: &str, path: &[&str]) -> ImportedUser {
    let department = Some(path.iter().map(|part| (*part).to_owned()).collect());
    ImportedUser {
        department,
        ..person(name)
    }
}

fn full() -> ImportedUser {
    ImportedUser {
        id: Some(7),
        name: "ann".into(),
        hash: Some("hash".into()),
        nick: Some("Ann".into()),
        sex: Some(2),
        department: Some(vec!["Company".into(), "Research".into()]),
        phone: Some("1".into()),
        email: Some("a@b".into()),
        domain: Some("an".into()),
        avatar: Some("http://a".into()),
        status: Some(0),
        signature: Some("hello".into()),
    }
}

pub async fn imports_people_and_departments(store: &dyn Store) {
    let users = vec![
        full(),
        in_department("bob", &["Company"]),
        in_department("cy", &["Company", "Research"]),
        in_department("di", &[]),
    ];
    let outcome = store
        .import(&DirectoryImport { users, now: at(50) })
        .await
        .unwrap();
    let wanted = ImportOutcome {
        changes: outcome.changes.clone(),
        added: 4,
        departments_added: 2,
        ..ImportOutcome::default()
    };
    assert_eq!(outcome, wanted);

    let departments = store.departments_since(at(0)).await.unwrap();
    let seen: Vec<_> = departments
        .iter()
        .map(|d| (d.id, d.parent, d.name.as_str(), d.status, d.stamp.get()))
        .collect();
    assert_eq!(seen, [(1, 0, "Company", 0, 50), (2, 1, "Research", 0, 50)]);

    let ann = store.profile_by_name("ann").await.unwrap().unwrap();
    let texts = [
        &ann.nick,
        &ann.phone,
        &ann.email,
        &ann.domain,
        &ann.avatar,
        &ann.signature,
    ];
    assert_eq!(texts, ["Ann", "1", "a@b", "an", "http://a", "hello"]);
    assert_eq!(
        (ann.id, ann.sex, ann.department, ann.status),
        (user(7), 2, 2, 0)
    );
    let bob = store.profile_by_name("bob").await.unwrap().unwrap();
    assert_eq!(
        (bob.id, bob.nick.as_str(), bob.department),
        (user(8), "bob", 1)
    );
    assert_eq!(
        store
            .profile_by_name("cy")
            .await
            .unwrap()
            .unwrap()
            .department,
        2
    );
    assert_eq!(
        store
            .profile_by_name("di")
            .await
            .unwrap()
            .unwrap()
            .department,
        0
    );
}

pub async fn an_equal_import_changes_nothing(store: &dyn Store) {
    let users = vec![full(), in_department("bob", &["Company"])];
    import(store, users.clone(), 50).await;
    let outcome = store
        .import(&DirectoryImport { users, now: at(90) })
        .await
        .unwrap();
    assert_eq!(
        outcome,
        ImportOutcome {
            unchanged: 2,
            ..ImportOutcome::default()
        }
    );
    assert_eq!(store.users_since(at(50), 10).await.unwrap().users, []);
    assert_eq!(store.departments_since(at(50)).await.unwrap(), []);
}

pub async fn an_import_leaves_out_fields_alone(store: &dyn Store) {
    import(store, vec![full()], 50).await;
    let users = vec![
        ImportedUser {
            phone: Some("2".into()),
            ..person("ann")
        },
        person("bob"),
    ];
    let outcome = store
        .import(&DirectoryImport { users, now: at(90) })
        .await
        .unwrap();
    assert_eq!(
        outcome,
        ImportOutcome {
            changes: outcome.changes.clone(),
            added: 1,
            updated: 1,
            ..ImportOutcome::default()
        }
    );
    let ann = store.profile_by_name("ann").await.unwrap().unwrap();
    assert_eq!(
        (ann.phone.as_str(), ann.nick.as_str(), ann.department),
        ("2", "Ann", 2)
    );
    assert_eq!(
        store.credentials("ann").await.unwrap().unwrap().hash,
        "hash"
    );
}

pub async fn conflicts_apply_nothing(store: &dyn Store) {
    import(store, vec![full()], 50).await;
    let users = vec![
        in_department("new", &["Elsewhere"]),
        ImportedUser {
            id: Some(8),
            ..person("ann")
        },
        ImportedUser {
            id: Some(7),
            ..person("bob")
        },
        ImportedUser {
            id: Some(9),
            ..person("cy")
        },
        ImportedUser {
            id: Some(9),
            ..person("di")
        },
    ];
    let outcome = store
        .import(&DirectoryImport { users, now: at(90) })
        .await
        .unwrap();
    let conflicts: Vec<_> = outcome
        .conflicts
        .iter()
        .map(|(i, why)| (*i, why.as_str()))
        .collect();
    assert_eq!(
        conflicts,
        [
            (1, "the id is 7, not 8"),
            (2, "the id 7 belongs to ann"),
            (4, "the id 9 belongs to cy"),
        ]
    );
    assert_eq!(outcome.added, 0);
    assert_eq!(store.users_since(at(50), 10).await.unwrap().users, []);
    assert_eq!(store.departments_since(at(50)).await.unwrap(), []);
}

pub async fn new_ids_avoid_those_that_the_file_names(store: &dyn Store) {
    let users = vec![
        person("a"),
        ImportedUser {
            id: Some(2),
            ..person("b")
        },
        person("c"),
    ];
    import(store, users, 50).await;
    let ids: Vec<u32> = store
        .users_since(at(0), 9)
        .await
        .unwrap()
        .users
        .iter()
        .map(|e| e.profile.id.get())
        .collect();
    assert_eq!(ids, [2, 3, 4]);
}

pub async fn tells_whose_account_was_disabled(store: &dyn Store) {
    let with = |name: &str, status| ImportedUser {
        status: Some(status),
        ..person(name)
    };
    import(store, vec![with("a", 0), with("b", 1), with("c", 0)], 50).await;
    let users = vec![with("a", 3), with("b", 3), with("c", 0), with("d", 3)];
    let outcome = store
        .import(&DirectoryImport { users, now: at(60) })
        .await
        .unwrap();
    assert_eq!(outcome.disabled, [user(1)]);
}

pub async fn changed_since_is_strict_and_misses_nothing(store: &dyn Store) {
    import(store, vec![person("a"), person("b")], 100).await;
    // Within the same second, and with a clock that goes back.
    for (round, now) in [100, 100, 99, 102].map(at).into_iter().enumerate() {
        let seen = store.users_since(at(0), 10).await.unwrap();
        let newest = seen.users.iter().map(|e| e.stamp).max().unwrap();
        assert_eq!(store.users_since(newest, 10).await.unwrap().users, []);
        store
            .set_signature(user(1), &format!("{round}"), now)
            .await
            .unwrap();
        let page = store.users_since(newest, 10).await.unwrap();
        assert_eq!(page.users.len(), 1);
        assert!(page.users[0].stamp > newest);
        assert!(page.users[0].stamp >= now);
        assert!(!page.more);
    }
    import(store, vec![in_department("c", &["D"])], 0).await;
    let departments = store.departments_since(at(0)).await.unwrap();
    assert_eq!(
        store.departments_since(departments[0].stamp).await.unwrap(),
        []
    );
    assert_eq!(
        store
            .departments_since(departments[0].stamp.saturating_sub(1))
            .await
            .unwrap(),
        departments
    );
}

pub async fn pages_end_between_stamps(store: &dyn Store) {
    // Three stamps: 1,000, 1,000 and 500 people.
    let users = (0..2500).map(|n| person(&format!("user{n}"))).collect();
    import(store, users, 1000).await;
    for (limit, wanted) in [
        (10, vec![1000, 1000, 500]),
        (999, vec![1000, 1000, 500]),
        (1000, vec![1000, 1000, 500]),
        (1001, vec![1000, 1000, 500]),
        (1999, vec![1000, 1500]),
        (2000, vec![2000, 500]),
        (2499, vec![2000, 500]),
        (2500, vec![2500]),
        (u32::MAX, vec![2500]),
    ] {
        let (mut sizes, mut stamp, mut seen) = (vec![], at(0), 0);
        loop {
            let page = store.users_since(stamp, limit).await.unwrap();
            sizes.push(page.users.len());
            assert!(page.users.iter().all(|user| user.stamp > stamp));
            assert!(
                page.users
                    .is_sorted_by_key(|user| (user.stamp, user.profile.id))
            );
            seen += page.users.len();
            stamp = page.users.last().unwrap().stamp;
            if !page.more {
                break;
            }
        }
        assert_eq!(sizes, wanted, "limit {limit}");
        assert_eq!(seen, 2500);
    }
}

pub async fn the_first_page_leaves_out_people_who_left(store: &dyn Store) {
    import(store, vec![person("a"), person("b"), person("c")], 100).await;
    store.set_status(user(2), 3, at(200)).await.unwrap();
    let ids = async |stamp: u32| -> Vec<u32> {
        let page = store.users_since(at(stamp), 10).await.unwrap();
        assert!(!page.more);
        page.users
            .iter()
            .map(|entry| entry.profile.id.get())
            .collect()
    };
    assert_eq!(ids(0).await, [1, 3]);
    assert_eq!(ids(100).await, [2], "who knows him learns that he left");
    let page = store.users_since(at(0), 1).await.unwrap();
    assert_eq!((page.users.len(), page.more), (2, false));
}

pub async fn imports_fifty_thousand_people_quickly(store: &dyn Store) {
    /// What looks at everybody for each one takes longer on any machine.
    const SLOW_MACHINE: Duration = Duration::from_secs(60);
    let users: Vec<ImportedUser> = (0..50_000)
        .map(|n| {
            let mut user =
                in_department(&format!("user{n}"), &["Company", &format!("D{}", n % 50)]);
            user.hash = Some("h".repeat(97));
            user.email = Some(format!("user{n}@example.org"));
            user
        })
        .collect();
    for (added, unchanged) in [(50_000, 0), (0, 50_000)] {
        let began = Instant::now();
        let outcome = store
            .import(&DirectoryImport {
                users: users.clone(),
                now: at(5),
            })
            .await
            .unwrap();
        assert_eq!((outcome.added, outcome.unchanged), (added, unchanged));
        assert!(began.elapsed() < SLOW_MACHINE, "{:?}", began.elapsed());
    }
    let page = store.users_since(at(0), 100_000).await.unwrap();
    assert_eq!((page.users.len(), page.more), (50_000, false));
}
