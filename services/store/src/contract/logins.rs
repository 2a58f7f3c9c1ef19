//! What the store remembers of logins: verified ones and failures.

use crate::{
    EVERY_ADDRESS, FailureQuery, LoginFailures, NewFailure, Remembered, Store, VerifiedLogin,
};
use im_core::time::UnixSeconds;

use super::accounts::{import, person};
use crate::contract::log::{at, user};

async fn ann(store: &dyn Store) {
    let mut ann = person("ann");
    ann.hash = Some("hash of ann".into());
    import(store, vec![ann], 100).await;
}

fn login(hash: &str, seconds: u32) -> VerifiedLogin {
    VerifiedLogin {
        user: user(1),
        hash: hash.into(),
        new_hash: None,
        remembered: Some(Remembered {
            mac: [7; 32],
            at: at(seconds),
        }),
    }
}

async fn remembered(store: &dyn Store) -> Option<u32> {
    let credentials = store.credentials("ann").await.unwrap().unwrap();
    credentials.remembered.map(|remembered| {
        assert_eq!(remembered.mac, [7; 32]);
        remembered.at.get()
    })
}

pub async fn remembers_a_verified_login_of_the_hash_that_was_verified(store: &dyn Store) {
    ann(store).await;
    assert_eq!(remembered(store).await, None);
    store
        .store_logins(&[login("another hash", 5)])
        .await
        .unwrap();
    assert_eq!(
        remembered(store).await,
        None,
        "the hash has changed meanwhile"
    );
    store
        .store_logins(&[login("hash of ann", 5)])
        .await
        .unwrap();
    assert_eq!(remembered(store).await, Some(5));
    store
        .store_logins(&[login("hash of ann", 9)])
        .await
        .unwrap();
    assert_eq!(remembered(store).await, Some(9));
    assert_eq!(
        store.users_since(at(0), 10).await.unwrap().users[0].stamp,
        at(100),
        "the directory has not changed"
    );
}

pub async fn a_new_hash_or_status_drops_what_is_remembered(store: &dyn Store) {
    ann(store).await;
    let again = async |hash: &str| {
        store.store_logins(&[login(hash, 5)]).await.unwrap();
        assert_eq!(remembered(store).await, Some(5), "{hash}");
    };
    again("hash of ann").await;
    store.set_hash(user(1), "set").await.unwrap();
    assert_eq!(remembered(store).await, None);

    again("set").await;
    let new = VerifiedLogin {
        new_hash: Some("replaced".into()),
        remembered: None,
        ..login("set", 0)
    };
    assert_eq!(store.store_logins(&[new]).await.unwrap(), [true]);
    assert_eq!(remembered(store).await, None);

    again("replaced").await;
    store.set_status(user(1), 3, at(200)).await.unwrap();
    assert_eq!(remembered(store).await, None);
    store.store_logins(&[login("replaced", 5)]).await.unwrap();
    assert_eq!(remembered(store).await, None, "only of active people");
    store.set_status(user(1), 0, at(201)).await.unwrap();

    again("replaced").await;
    let mut row = person("ann");
    row.nick = Some("Ann".into());
    import(store, vec![row.clone()], 300).await;
    assert_eq!(
        remembered(store).await,
        Some(5),
        "a new nick changes nothing"
    );
    row.hash = Some("imported".into());
    import(store, vec![row.clone()], 301).await;
    assert_eq!(remembered(store).await, None);

    again("imported").await;
    row.status = Some(3);
    import(store, vec![row], 302).await;
    assert_eq!(remembered(store).await, None);
}

pub async fn a_new_hash_is_stored_with_what_is_remembered_of_it(store: &dyn Store) {
    ann(store).await;
    let new = |hash: &str, new: &str, at| VerifiedLogin {
        new_hash: Some(new.into()),
        ..login(hash, at)
    };
    let logins = [
        new("another hash", "lost", 5),
        new("hash of ann", "new", 6),
        new("hash of ann", "late", 7),
        VerifiedLogin {
            user: user(9),
            ..login("new", 8)
        },
    ];
    let stored = store.store_logins(&logins).await.unwrap();
    assert_eq!(stored, [false, true, false, false]);
    let found = store.credentials("ann").await.unwrap().unwrap();
    assert_eq!(found.hash, "new");
    assert_eq!(remembered(store).await, Some(6));

    store.set_status(user(1), 3, at(200)).await.unwrap();
    let stored = store.store_logins(&[new("new", "newer", 9)]).await.unwrap();
    assert_eq!(stored, [true]);
    let found = store.credentials("ann").await.unwrap().unwrap();
    assert_eq!(found.hash, "newer");
    assert_eq!(remembered(store).await, None, "only of active people");
}

pub async fn renews_what_is_remembered_and_old(store: &dyn Store) {
    ann(store).await;
    store
        .renew_remembered(&[user(1)], at(50), at(40))
        .await
        .unwrap();
    assert_eq!(remembered(store).await, None, "nothing is there to renew");
    store
        .store_logins(&[login("hash of ann", 30)])
        .await
        .unwrap();
    for (users, now, before, renewed) in [
        (vec![user(2)], 50, 40, 30),
        (vec![user(1)], 50, 30, 30),
        (vec![user(1), user(2)], 50, 31, 50),
        // The clock was ahead when it was written.
        (vec![user(1)], 45, 31, 45),
    ] {
        store
            .renew_remembered(&users, at(now), at(before))
            .await
            .unwrap();
        assert_eq!(remembered(store).await, Some(renewed), "{now} {before}");
    }
}

const PLACES: [&str; 3] = ["10.0.0.1", "10.0.0.0/24", EVERY_ADDRESS];
const NEIGHBOUR: [&str; 3] = ["10.0.0.2", "10.0.0.0/24", EVERY_ADDRESS];

fn failure<'a>(name: &'a str, addresses: &'a [&'a str], now: u32) -> NewFailure<'a> {
    NewFailure {
        name,
        known: true,
        addresses,
        now: at(now),
        since: at(0),
        max_pairs: 100,
        kept_above: 100,
    }
}

async fn fail(store: &dyn Store, name: &str, addresses: &[&str], now: u32) -> Vec<u32> {
    let failure = failure(name, addresses, now);
    store.add_login_failure(&failure).await.unwrap()
}

async fn counts(store: &dyn Store, name: &str, addresses: &[&str]) -> Vec<u32> {
    let counts = store
        .login_failures(name, addresses, at(0), at(1_000))
        .await;
    counts.unwrap()
}

pub async fn counts_failures_inside_the_window(store: &dyn Store) {
    for now in [10, 20, 30] {
        fail(store, "ann", &["::/64"], now).await;
    }
    let count = async |since: u32, now: u32| {
        let counts = store
            .login_failures("ann", &["::/64"], at(since), at(now))
            .await;
        counts.unwrap()
    };
    assert_eq!(count(0, 30).await, [3]);
    assert_eq!(count(20, 30).await, [2]);
    assert_eq!(count(31, 40).await, [0]);
    let failure = NewFailure {
        since: at(20),
        ..failure("ann", &["::/64"], 40)
    };
    assert_eq!(store.add_login_failure(&failure).await.unwrap(), [3]);
    assert_eq!(count(0, 40).await, [3], "older ones are dropped");
}

/// All names, from the beginning.
fn listed(above: u32, since: UnixSeconds, now: UnixSeconds, limit: u32) -> FailureQuery<'static> {
    FailureQuery {
        name: "",
        above,
        since,
        now,
        behind: None,
        limit,
    }
}

pub async fn failures_after_now_count_nowhere(store: &dyn Store) {
    // A clock that was ahead.
    for _ in 0..5 {
        fail(store, "ann", &["x"], 900).await;
    }
    fail(store, "bob", &["x"], 900).await;
    let counted = store
        .login_failures("ann", &["x"], at(0), at(500))
        .await
        .unwrap();
    assert_eq!(counted, [0]);
    let found = store
        .list_login_failures(&listed(0, at(0), at(500), 10))
        .await
        .unwrap();
    assert_eq!(found.failures, []);
    assert_eq!(fail(store, "ann", &["x"], 501).await, [1]);
    assert_eq!(counts(store, "bob", &["x"]).await, [0], "they do not stay");
}

pub async fn a_failure_counts_at_all_its_addresses(store: &dyn Store) {
    assert_eq!(fail(store, "ann", &PLACES, 10).await, [1, 1, 1]);
    assert_eq!(fail(store, "ann", &NEIGHBOUR, 11).await, [1, 2, 2]);
    assert_eq!(fail(store, "Ann", &PLACES, 12).await, [1, 1, 1]);
    let elsewhere = ["10.0.1.1", "10.0.1.0/24", EVERY_ADDRESS];
    assert_eq!(fail(store, "ann", &elsewhere, 13).await, [1, 1, 3]);
    assert_eq!(counts(store, "ann", &PLACES).await, [1, 2, 3]);
    assert_eq!(counts(store, "bob", &PLACES).await, [0, 0, 0]);
}

pub async fn cleared_failures_leave_the_networks_counts(store: &dyn Store) {
    for now in [10, 10, 11] {
        fail(store, "ann", &PLACES, now).await;
    }
    for now in [10, 12] {
        fail(store, "ann", &NEIGHBOUR, now).await;
    }
    store.clear_login_failures("ann", &PLACES).await.unwrap();
    assert_eq!(counts(store, "ann", &PLACES).await, [0, 2, 2]);
    assert_eq!(counts(store, "ann", &NEIGHBOUR).await, [2, 2, 2]);
    store.clear_login_failures("ann", &NEIGHBOUR).await.unwrap();
    assert_eq!(counts(store, "ann", &NEIGHBOUR).await, [0, 0, 0]);
    store.clear_login_failures("ann", &NEIGHBOUR).await.unwrap();
}

pub async fn failures_of_names_that_nobody_has_push_nobody_out(store: &dyn Store) {
    fail(store, "ann", &["x"], 1).await;
    for n in 0..50 {
        let name = format!("ghost{n}");
        let failure = NewFailure {
            known: false,
            max_pairs: 3,
            ..failure(&name, &["x"], 10 + n)
        };
        store.add_login_failure(&failure).await.unwrap();
    }
    assert_eq!(counts(store, "ann", &["x"]).await, [1]);
    let all = store
        .list_login_failures(&listed(0, at(0), at(1_000), 100))
        .await
        .unwrap();
    let names: Vec<&str> = all
        .failures
        .iter()
        .map(|found| found.name.as_str())
        .collect();
    assert_eq!(names, ["ghost49", "ghost48", "ghost47", "ann"]);
}

pub async fn locks_of_real_names_leave_by_age_only(store: &dyn Store) {
    let add = async |name: &str, addresses: &[&str], now, since| {
        let failure = NewFailure {
            since: at(since),
            max_pairs: 2,
            kept_above: 2,
            ..failure(name, addresses, now)
        };
        store.add_login_failure(&failure).await.unwrap();
    };
    for now in 1..=3 {
        add("ann", &["x"], now, 0).await;
    }
    add("bob", &["x", EVERY_ADDRESS], 4, 0).await;
    for (now, name) in [(5, "c"), (6, "d"), (7, "e")] {
        add(name, &["x"], now, 0).await;
    }
    assert_eq!(counts(store, "ann", &["x"]).await, [3], "a lock");
    assert_eq!(
        counts(store, "bob", &["x", EVERY_ADDRESS]).await,
        [0, 1],
        "what was pushed out at an address still counts for the name"
    );
    assert_eq!(counts(store, "c", &["x"]).await, [0]);
    assert_eq!(counts(store, "d", &["x"]).await, [1]);
    add("f", &["x"], 20, 10).await;
    assert_eq!(counts(store, "ann", &["x"]).await, [0], "its time is over");
}

pub async fn remembers_a_bounded_number_of_failures(store: &dyn Store) {
    for now in 1..=140 {
        fail(store, "ann", &["x"], now).await;
    }
    assert_eq!(counts(store, "ann", &["x"]).await, [128]);
    let newest = store
        .login_failures("ann", &["x"], at(13), at(140))
        .await
        .unwrap();
    assert_eq!(newest, [128], "the newest ones");
}

pub async fn lists_and_forgets_failures(store: &dyn Store) {
    for (now, name) in [
        (10, "ann"),
        (11, "bob"),
        (12, "bob"),
        (13, "ann"),
        (14, "eve"),
    ] {
        fail(store, name, &["x", EVERY_ADDRESS], now).await;
    }
    let found = store
        .list_login_failures(&listed(1, at(0), at(20), 100))
        .await
        .unwrap();
    let told = |found: &[LoginFailures]| {
        let told = found.iter().map(|one| {
            assert_eq!(one.count, 2);
            (one.name.clone(), one.address.clone(), one.newest)
        });
        told.collect::<Vec<_>>()
    };
    let wanted =
        |name: &str, address: &str, newest| (name.to_owned(), address.to_owned(), at(newest));
    assert_eq!(
        told(&found.failures),
        [
            wanted("ann", "*", 13),
            wanted("ann", "x", 13),
            wanted("bob", "*", 12),
            wanted("bob", "x", 12),
        ]
    );
    assert_eq!(found.next, None);
    let inside = store
        .list_login_failures(&listed(1, at(11), at(20), 100))
        .await
        .unwrap();
    let all_bob = inside.failures.iter().all(|found| found.name == "bob");
    assert!(all_bob, "{inside:?}");
    let of_ann = FailureQuery {
        name: "ann",
        ..listed(1, at(0), at(20), 100)
    };
    let of_ann = store.list_login_failures(&of_ann).await.unwrap();
    assert_eq!(told(&of_ann.failures), told(&found.failures[..2]));
    // One by one, two of the same second too.
    let mut query = listed(1, at(0), at(20), 1);
    let mut by_page = Vec::new();
    loop {
        let page = store.list_login_failures(&query).await.unwrap();
        by_page.extend(page.failures);
        query.behind = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(by_page, found.failures);
    assert!(by_page.is_sorted_by(|one, next| one.place > next.place));
    assert_eq!(store.forget_login_failures("ann").await.unwrap(), 2);
    assert_eq!(store.forget_login_failures("ann").await.unwrap(), 0);
    assert_eq!(counts(store, "bob", &["x"]).await, [2]);
}

pub async fn a_new_password_ends_a_lock(store: &dyn Store) {
    ann(store).await;
    fail(store, "ann", &PLACES, 10).await;
    store.set_hash(user(1), "new").await.unwrap();
    assert_eq!(counts(store, "ann", &PLACES).await, [0, 0, 0]);
    fail(store, "ann", &PLACES, 11).await;
    let mut row = person("ann");
    row.nick = Some("Ann".into());
    import(store, vec![row.clone()], 200).await;
    assert_eq!(counts(store, "ann", &PLACES).await, [1, 1, 1]);
    row.hash = Some("imported".into());
    import(store, vec![row], 201).await;
    assert_eq!(counts(store, "ann", &PLACES).await, [0, 0, 0]);
}
