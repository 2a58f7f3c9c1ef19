use crate::{Credentials, DirectoryImport, ImportedUser, Store, StoreError};

use crate::contract::log::{at, user};

pub fn person(name: &str) -> ImportedUser {
    ImportedUser {
        name: name.into(),
        ..ImportedUser::default()
    }
}

pub async fn import(store: &dyn Store, users: Vec<ImportedUser>, now: u32) {
    let outcome = store
        .import(&DirectoryImport {
            users,
            now: at(now),
        })
        .await
        .unwrap();
    assert_eq!(outcome.conflicts, []);
}

async fn two_people(store: &dyn Store) {
    let mut ann = person("ann");
    ann.hash = Some("hash of ann".into());
    let mut bob = person("Bob_%");
    bob.nick = Some("Robert \\ Roe".into());
    bob.status = Some(3);
    import(store, vec![ann, bob], 100).await;
}

pub async fn finds_credentials_by_exact_name(store: &dyn Store) {
    two_people(store).await;
    let found = store.credentials("ann").await.unwrap().unwrap();
    let wanted = Credentials {
        user: user(1),
        hash: "hash of ann".into(),
        status: 0,
        remembered: None,
    };
    assert!(found == wanted);
    assert_eq!(store.credentials("Bob_%").await.unwrap().unwrap().status, 3);
    for other in ["Ann", "an", "ann ", "", "' OR 1 = 1 --"] {
        assert!(store.credentials(other).await.unwrap().is_none(), "{other}");
    }
}

pub async fn sets_a_hash(store: &dyn Store) {
    two_people(store).await;
    store.set_hash(user(1), "set").await.unwrap();
    assert_eq!(store.credentials("ann").await.unwrap().unwrap().hash, "set");
    assert_eq!(
        store.users_since(at(0), 10).await.unwrap().users[0].stamp,
        at(100),
        "hashes have no stamp"
    );
}

pub async fn reads_profiles_by_id_and_name(store: &dyn Store) {
    two_people(store).await;
    let profiles = store
        .profiles(&[user(2), user(9), user(1), user(2)])
        .await
        .unwrap();
    let names: Vec<&str> = profiles.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["ann", "Bob_%"]);
    assert_eq!(store.profiles(&[]).await.unwrap(), []);
    let bob = store.profile_by_name("Bob_%").await.unwrap().unwrap();
    assert_eq!(
        (bob.id, bob.nick.as_str(), bob.status),
        (user(2), "Robert \\ Roe", 3)
    );
    assert_eq!(store.profile_by_name("bob_%").await.unwrap(), None);
}

pub async fn finds_profiles_by_part_of_name_or_nick(store: &dyn Store) {
    two_people(store).await;
    let find = async |matching: &str, after, limit| -> Vec<u32> {
        let found = store.find_profiles(matching, after, limit).await.unwrap();
        found.iter().map(|profile| profile.id.get()).collect()
    };
    assert_eq!(find("nn", 0, 10).await, [1]);
    assert_eq!(find("Roe", 0, 10).await, [2]);
    assert_eq!(find("", 0, 10).await, [1, 2]);
    assert_eq!(find("", 0, 1).await, [1]);
    assert_eq!(find("", 1, 10).await, [2]);
    assert_eq!(find("_%", 0, 10).await, [2], "no wildcards");
    assert_eq!(find("\\", 0, 10).await, [2]);
    assert_eq!(find("a%n", 0, 10).await, [0; 0]);
}

pub async fn changes_of_profiles_are_stamped(store: &dyn Store) {
    two_people(store).await;
    store
        .set_signature(user(1), "at sea", at(50))
        .await
        .unwrap();
    store
        .set_avatar(user(2), "http://a/b.png", at(50))
        .await
        .unwrap();
    let page = store.users_since(at(100), 10).await.unwrap();
    let seen: Vec<(u32, u32)> = page
        .users
        .iter()
        .map(|e| (e.profile.id.get(), e.stamp.get()))
        .collect();
    assert_eq!(
        seen,
        [(1, 101), (2, 102)],
        "stamps grow although the clock went back"
    );
    assert_eq!(page.users[0].profile.signature, "at sea");
    assert_eq!(page.users[1].profile.avatar, "http://a/b.png");
    store.set_status(user(1), 4, at(500)).await.unwrap();
    let page = store.users_since(at(102), 10).await.unwrap();
    assert_eq!(
        (page.users[0].stamp, page.users[0].profile.status),
        (at(500), 4)
    );
}

pub async fn changes_of_nobody_are_not_found(store: &dyn Store) {
    two_people(store).await;
    let nobody = user(77);
    for result in [
        store.set_hash(nobody, "x").await,
        store.set_status(nobody, 0, at(200)).await,
        store.set_signature(nobody, "x", at(200)).await,
        store.set_avatar(nobody, "x", at(200)).await,
    ] {
        assert!(
            matches!(result, Err(StoreError::NotFound { what: "user" })),
            "{result:?}"
        );
    }
    store.set_signature(user(1), "x", at(0)).await.unwrap();
    assert_eq!(
        store.users_since(at(100), 9).await.unwrap().users[0].stamp,
        at(101),
        "no stamp was used up"
    );
}

pub async fn keeps_the_push_shield(store: &dyn Store) {
    two_people(store).await;
    assert_eq!(store.push_shield(user(1)).await.unwrap(), Some(0));
    assert!(store.set_push_shield(user(1), 1).await.unwrap());
    assert_eq!(store.push_shield(user(1)).await.unwrap(), Some(1));
    assert_eq!(store.push_shield(user(2)).await.unwrap(), Some(0));
    assert_eq!(store.push_shield(user(3)).await.unwrap(), None);
    assert!(!store.set_push_shield(user(3), 1).await.unwrap());
    import(
        store,
        vec![ImportedUser {
            sex: Some(1),
            ..person("ann")
        }],
        200,
    )
    .await;
    assert_eq!(
        store.push_shield(user(1)).await.unwrap(),
        Some(1),
        "an import leaves it alone"
    );
}
