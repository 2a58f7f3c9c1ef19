//! Logins that were verified before a restart.

use futures::StreamExt as _;
use tokio::time::Instant as Clock;

use im_store::{Remembered, VerifiedLogin};

use super::*;

fn keys() -> RememberKeys {
    RememberKeys::new("the key of the tests, long enough for one").unwrap()
}

/// Somebody has logged in, and the process was started again.
async fn remembered(config: AccountsConfig, keys: &RememberKeys) -> Rig {
    let rig = Rig::new(config.clone()).await;
    rig.ann().await;
    let rig = rig.restarted_with(config.clone(), keys.clone());
    assert_eq!(rig.code("ann", "secret").await, 0);
    rig.accounts.renewals.flush().await;
    rig.restarted_with(config, keys.clone())
}

async fn at(rig: &Rig) -> Option<UnixSeconds> {
    let credentials = rig.temp.store.credentials("ann").await.unwrap().unwrap();
    credentials.remembered.map(|remembered| remembered.at)
}

#[tokio::test]
async fn a_verified_login_costs_no_hash_after_a_restart() {
    let keys = keys();
    let rig = remembered(config(), &keys).await;
    assert_eq!(rig.code("ann", "secret").await, 0);
    assert_eq!(rig.hashes(), 0);
    assert_eq!(rig.code("ann", "wrong").await, 1);
    assert_eq!(rig.hashes(), 1, "a wrong one takes as long as ever");
}

#[tokio::test]
async fn nobody_waits_for_a_hash_who_is_remembered() {
    let keys = keys();
    let config = AccountsConfig {
        max_hashes: 1,
        ..config()
    };
    let rig = remembered(config, &keys).await;
    let _held = rig.accounts.admission.job().await.unwrap();
    let login = tokio::time::timeout(
        std::time::Duration::from_secs(20),
        rig.code("ann", "secret"),
    );
    assert_eq!(login.await.expect("without a hash"), 0);
}

#[tokio::test]
async fn a_new_password_or_status_or_a_lost_key_forgets_it() {
    let first = keys();
    let rig = remembered(config(), &first).await;
    let user = rig
        .temp
        .store
        .credentials("ann")
        .await
        .unwrap()
        .unwrap()
        .user;
    rig.accounts
        .set_password(&rig.temp.store, user, "new")
        .await
        .unwrap();
    let hashes = rig.hashes();
    assert_eq!(rig.code("ann", "secret").await, 1);
    assert_eq!(rig.code("ann", "new").await, 0);
    assert_eq!(rig.hashes() - hashes, 2);

    let rig = remembered(config(), &first).await;
    rig.accounts
        .set_status(&rig.temp.store, user, 3)
        .await
        .unwrap();
    assert_eq!(rig.code("ann", "secret").await, 1);
    rig.accounts
        .set_status(&rig.temp.store, user, 0)
        .await
        .unwrap();
    let hashes = rig.hashes();
    assert_eq!(rig.code("ann", "secret").await, 0);
    assert_eq!(rig.hashes() - hashes, 1);

    let rig = remembered(config(), &first).await;
    let other = RememberKeys::new("another key, which is long enough as well").unwrap();
    let rig = rig.restarted_with(config(), other);
    assert_eq!(rig.code("ann", "secret").await, 0);
    assert_eq!(rig.hashes(), 1);
}

#[tokio::test]
async fn it_is_renewed_once_a_day_and_ends_with_its_time() {
    let keys = keys();
    let rig = remembered(config(), &keys).await;
    let user = rig
        .temp
        .store
        .credentials("ann")
        .await
        .unwrap()
        .unwrap()
        .user;
    let now = UnixSeconds::now();
    let day = 24 * 3_600;
    // When it was written, whether it costs a hash now, whether it is written again.
    for (written, hashes, renewed) in [
        (now.saturating_sub(day - 60), 0, false),
        (now.saturating_sub(day + 60), 0, true),
        (now.saturating_sub(29 * day), 0, true),
        (now.saturating_sub(31 * day), 1, true),
        // By a clock that was ahead.
        (now.saturating_add(day), 1, true),
    ] {
        let hash = rig.stored_hash("ann").await;
        let mac = keys.mac(user, &hash, &digest("secret")).unwrap();
        let login = VerifiedLogin {
            user,
            hash,
            new_hash: None,
            remembered: Some(Remembered { mac, at: written }),
        };
        rig.temp.store.store_logins(&[login]).await.unwrap();
        let accounts = accounts(&rig.temp, config(), keys.clone());
        let done = accounts.login(call("ann", "secret")).await;
        assert_eq!(done.result_code, 0);
        assert_eq!(accounts.metrics.hashes(), hashes, "{written:?}");
        accounts.renewals.flush().await;
        assert_eq!(at(&rig).await != Some(written), renewed, "{written:?}");
        if renewed {
            assert!(
                at(&rig)
                    .await
                    .is_some_and(|at| at >= now && at.seconds_since(now) < 60)
            );
        }
    }
}

#[tokio::test]
async fn whoever_stays_online_stays_remembered() {
    let keys = keys();
    let rig = remembered(config(), &keys).await;
    let user = rig
        .temp
        .store
        .credentials("ann")
        .await
        .unwrap()
        .unwrap()
        .user;
    let written = at(&rig).await.unwrap();
    let day = 24 * 3_600;
    rig.accounts
        .renewals
        .renew(&[user], written.saturating_add(day))
        .await;
    assert_eq!(at(&rig).await, Some(written), "a day has not passed");
    rig.accounts
        .renewals
        .renew(&[user], written.saturating_add(day + 1))
        .await;
    assert_eq!(at(&rig).await, Some(written.saturating_add(day + 1)));
}

#[tokio::test]
async fn it_can_be_turned_off() {
    let keys = keys();
    let config = AccountsConfig {
        remember_for: Span::ZERO,
        ..config()
    };
    let rig = remembered(config, &keys).await;
    assert_eq!(at(&rig).await, None);
    assert_eq!(rig.code("ann", "secret").await, 0);
    assert_eq!(rig.hashes(), 1);
}

#[tokio::test]
async fn who_guesses_at_a_remembered_name_gets_no_more_tries() {
    let keys = keys();
    let config = AccountsConfig {
        // Guesses are turned away by the queue, not judged by it.
        max_waiting_per_name: 1,
        ..config()
    };
    let rig = remembered(config, &keys).await;
    let guesses = (0..100).map(|n| {
        let accounts = &rig.accounts;
        async move {
            accounts
                .login(call("ann", &format!("guess{n}")))
                .await
                .result_code
        }
    });
    let begun = Clock::now();
    let codes = futures::future::join_all(guesses).await;
    let refused = codes.iter().filter(|code| **code == 6).count();
    let compared = 10 + openings(begun);
    assert!(refused + compared >= 100, "{codes:?}");
    let places = ["192.0.2.1"];
    let failures =
        rig.temp
            .store
            .login_failures("ann", &places, UnixSeconds::EPOCH, UnixSeconds::now());
    let counted = usize::try_from(failures.await.unwrap()[0]).unwrap();
    assert!(
        (11..=compared).contains(&counted),
        "each comparison was counted: {counted}"
    );
}

/// People with imported hashes of one password.
async fn imported(rig: &Rig, people: usize) {
    // md5hex(md5hex("123456") + "4321")
    let users = (1..=people).map(|n| ImportedUser {
        name: format!("u{n}"),
        hash: Some("$teamtalk$4321$ebd291c31af7a8496cfd0a94f89b757b".to_owned()),
        ..ImportedUser::default()
    });
    let import = DirectoryImport {
        users: users.collect(),
        now: UnixSeconds::now(),
    };
    rig.temp.store.import(&import).await.unwrap();
}

#[tokio::test]
async fn first_logins_wait_for_no_commit_and_share_those_that_follow() {
    const PEOPLE: usize = 300;
    let keys = keys();
    let rig = Rig::new(config())
        .await
        .restarted_with(config(), keys.clone());
    imported(&rig, PEOPLE).await;
    futures::stream::iter(1..=PEOPLE)
        .for_each_concurrent(64, |n| {
            let rig = &rig;
            async move { assert_eq!(rig.code(&format!("u{n}"), "123456").await, 0) }
        })
        .await;
    let commits = || rig.temp.store.change_counts().commits;
    assert_eq!(commits(), 0);
    rig.accounts.renewals.flush().await;
    assert_eq!(commits(), 2, "256 logins in each at most");

    let rig = rig.restarted_with(config(), keys);
    for n in 1..=PEOPLE {
        let name = format!("u{n}");
        assert!(rig.stored_hash(&name).await.starts_with("$argon2id$"));
        assert_eq!(rig.code(&name, "123456").await, 0);
    }
    assert_eq!(rig.hashes(), 0, "what is remembered fits the new hash");
}

#[tokio::test]
async fn six_thousand_remembered_people_return_at_once_without_a_hash() {
    const PEOPLE: usize = 6_000;
    let keys = keys();
    let rig = Rig::new(config()).await;
    let hash = hash::make(&digest("secret"), rig.accounts.pool.policy()).unwrap();
    let name = |n: usize| format!("u{n}");
    let users = (1..=PEOPLE).map(|n| ImportedUser {
        name: name(n),
        hash: Some(hash.clone()),
        ..ImportedUser::default()
    });
    let import = DirectoryImport {
        users: users.collect(),
        now: UnixSeconds::now(),
    };
    rig.temp.store.import(&import).await.unwrap();
    let logins: Vec<VerifiedLogin> = (1..=u32::try_from(PEOPLE).unwrap())
        .map(|id| {
            let user = UserId::from_wire(id).unwrap();
            let mac = keys.mac(user, &hash, &digest("secret")).unwrap();
            VerifiedLogin {
                user,
                hash: hash.clone(),
                new_hash: None,
                remembered: Some(Remembered {
                    mac,
                    at: UnixSeconds::now(),
                }),
            }
        })
        .collect();
    rig.temp.store.store_logins(&logins).await.unwrap();

    let rig = rig.restarted_with(config(), keys);
    // Somebody is busy hashing all the time.
    let _held = rig.accounts.admission.job().await.unwrap();
    let _other = rig.accounts.admission.job().await.unwrap();
    let begun = Clock::now();
    let everybody = (1..=PEOPLE).map(|n| {
        let rig = &rig;
        async move { rig.code(&name(n), "secret").await }
    });
    // As many at a time as read the store without waiting for long on any machine.
    let codes: Vec<_> = futures::stream::iter(everybody)
        .buffer_unordered(500)
        .collect()
        .await;
    assert!(codes.iter().all(|code| *code == 0));
    assert_eq!(rig.hashes(), 0);
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}
