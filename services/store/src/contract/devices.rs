use crate::{PushTarget, Store};
use im_core::{ClientType, UserId};

use super::accounts::{import, person};
use crate::contract::log::user;

fn target(owner: u32, client_type: ClientType, token: &str, session: u64) -> PushTarget {
    PushTarget {
        user: user(owner),
        client_type,
        token: token.into(),
        session,
    }
}

fn ios(owner: u32, token: &str, session: u64) -> PushTarget {
    target(owner, ClientType::Ios, token, session)
}

async fn tokens(store: &dyn Store, users: &[UserId]) -> Vec<String> {
    let told = store.push_targets(users).await.unwrap();
    told.into_iter().map(|told| told.target.token).collect()
}

pub async fn a_person_has_several_devices_up_to_a_bound(store: &dyn Store) {
    for (n, token) in ["a", "b", "c", "a", "d"].into_iter().enumerate() {
        let session = u64::MAX - n as u64;
        store
            .set_push_target(&ios(1, token, session), 3)
            .await
            .unwrap();
    }
    let told = store.push_targets(&[user(2), user(1)]).await.unwrap();
    let told: Vec<PushTarget> = told.into_iter().map(|told| told.target).collect();
    let expected = [
        ios(1, "c", u64::MAX - 2),
        ios(1, "a", u64::MAX - 3),
        ios(1, "d", u64::MAX - 4),
    ];
    assert_eq!(told, expected, "the one that was stored first has gone");
}

pub async fn a_token_has_one_owner(store: &dyn Store) {
    for (owner, token) in [(1, "phone"), (2, "tablet"), (2, "phone")] {
        store
            .set_push_target(&ios(owner, token, 7), 8)
            .await
            .unwrap();
    }
    assert_eq!(tokens(store, &[user(1)]).await, [""; 0]);
    assert_eq!(tokens(store, &[user(2)]).await, ["tablet", "phone"]);
}

pub async fn a_session_takes_its_devices_along(store: &dyn Store) {
    for target in [
        ios(1, "a", 1),
        ios(1, "b", 2),
        target(1, ClientType::Android, "c", 3),
        ios(2, "d", 1),
    ] {
        store.set_push_target(&target, 8).await.unwrap();
    }
    let all = [user(1), user(2)];
    let clear = |client_type, session| store.clear_push_targets(user(1), client_type, session);
    clear(ClientType::Ios, 1).await.unwrap();
    assert_eq!(tokens(store, &all).await, ["b", "c", "d"]);
    clear(ClientType::Ios, 9).await.unwrap();
    assert_eq!(
        tokens(store, &all).await,
        ["c", "d"],
        "a session of which nothing is known takes all of its kind"
    );
    clear(ClientType::Ios, 9).await.unwrap();
    assert_eq!(tokens(store, &all).await, ["c", "d"]);
}

pub async fn a_device_that_was_registered_anew_is_not_dropped(store: &dyn Store) {
    store.set_push_target(&ios(1, "a", 1), 8).await.unwrap();
    store.set_push_target(&ios(1, "a", 2), 8).await.unwrap();
    assert!(!store.drop_push_target("a", 1).await.unwrap());
    assert_eq!(tokens(store, &[user(1)]).await, ["a"]);
    assert!(store.drop_push_target("a", 2).await.unwrap());
    assert_eq!(tokens(store, &[user(1)]).await, [""; 0]);
}

pub async fn targets_tell_whether_the_night_is_shielded(store: &dyn Store) {
    import(store, vec![person("ann")], 100).await;
    store.set_push_target(&ios(1, "a", 1), 8).await.unwrap();
    let shielded = || async { store.push_targets(&[user(1)]).await.unwrap()[0].night_shield };
    assert!(!shielded().await);
    assert!(store.set_push_shield(user(1), 1).await.unwrap());
    assert!(shielded().await);
}
