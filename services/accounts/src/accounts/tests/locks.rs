//! Guessing: what is counted, what is slowed down, and who is not hindered.

use tokio::time::Instant as Clock;

use im_config::units::Span;
use im_store::{EVERY_ADDRESS, NewFailure};

use super::*;

async fn code_from(rig: &Rig, address: &str, name: &str, password: &str) -> u32 {
    let call = LoginCall {
        address: address.to_owned(),
        ..call(name, password)
    };
    rig.accounts.login(call).await.result_code
}

/// Failures of a name at 192.0.2.1, in its network and everywhere.
async fn failures(rig: &Rig, name: &str) -> Vec<u32> {
    let places = ["192.0.2.1", "192.0.2.0/24", EVERY_ADDRESS];
    let now = UnixSeconds::now();
    let store = &rig.temp.store;
    store
        .login_failures(name, &places, UnixSeconds::EPOCH, now)
        .await
        .unwrap()
}

#[tokio::test]
async fn after_eleven_failures_the_guesser_is_refused_and_the_right_password_is_only_late() {
    let rig = Rig::new(config()).await;
    rig.ann().await;
    for n in 1..=11 {
        assert_eq!(
            rig.code("ann", &format!("wrong{n}")).await,
            1,
            "attempt {n}"
        );
    }
    let done = rig.accounts.login(call("ann", "another")).await;
    assert_eq!(
        (done.result_code, done.result_string.as_str()),
        (6, "用户名/密码错误次数太多")
    );
    // Not recorded, so that the lock ends 30 minutes after the last failure.
    assert_eq!(failures(&rig, "ann").await, [11, 11, 11]);

    // Many guesses at the same time get no more than one that is checked.
    let (before, begun) = (rig.hashes(), Clock::now());
    let guesses = (0..50).map(|n| {
        let accounts = &rig.accounts;
        async move {
            accounts
                .login(call("ann", &format!("guess{n}")))
                .await
                .result_code
        }
    });
    let codes = futures::future::join_all(guesses).await;
    assert!(codes.iter().all(|code| *code == 6), "{codes:?}");
    let hashes = usize::try_from(rig.hashes() - before).unwrap();
    assert!(hashes <= openings(begun), "{hashes} hashes");

    // The same person from elsewhere, and others from here, are not concerned.
    assert_eq!(code_from(&rig, "198.51.100.1", "ann", "secret").await, 0);
    assert_eq!(rig.code("bob", "x").await, 1);

    // Behind the same address the right password waits for its turn, and gets it. A restart neither
    // helps nor harms.
    let rig = rig.restarted(config());
    assert_eq!(rig.code("ann", "wrong").await, 6);
    let begun = Clock::now();
    assert_eq!(rig.code("ann", "secret").await, 0);
    assert!(begun.elapsed().as_millis() >= 90, "{:?}", begun.elapsed());
    assert_eq!(failures(&rig, "ann").await, [0, 0, 0]);
    assert_eq!(rig.code("ann", "wrong").await, 1, "the lock has ended");
}

#[tokio::test]
async fn neighbours_count_together() {
    for (addresses, locked) in [
        (["192.0.2.1", "192.0.2.77", "192.0.2.200"], true),
        (
            ["2001:db8:1:2::1", "2001:db8:1:3::1", "2001:db8:1:4::1"],
            true,
        ),
        (["192.0.2.1", "192.0.3.1", "192.0.4.1"], false),
    ] {
        let rig = Rig::new(config()).await;
        rig.ann().await;
        for n in 0..20 {
            let address = addresses[n % 2];
            assert_eq!(
                code_from(&rig, address, "ann", &format!("{n}")).await,
                1,
                "{n}"
            );
        }
        assert_eq!(code_from(&rig, addresses[2], "ann", "x").await, 1);
        let code = code_from(&rig, addresses[2], "ann", "y").await;
        assert_eq!(code == 6, locked, "{addresses:?}");
    }
    // Addresses of one /64 are one address.
    let rig = Rig::new(config()).await;
    for n in 0..11 {
        let address = format!("2001:db8::{n}");
        assert_eq!(code_from(&rig, &address, "ann", "x").await, 1);
    }
    assert_eq!(code_from(&rig, "2001:db8::ffff", "ann", "x").await, 6);
}

#[tokio::test]
async fn a_name_that_is_guessed_from_everywhere_is_slowed_down_not_locked() {
    let config = AccountsConfig {
        lockout_name_failures: 30,
        ..config()
    };
    let rig = Rig::new(config).await;
    rig.ann().await;
    for n in 0..31 {
        let address = format!("10.{n}.0.1");
        assert_eq!(code_from(&rig, &address, "ann", &format!("{n}")).await, 1);
    }
    let begun = Clock::now();
    let guesses = (0..20).map(|n| {
        let rig = &rig;
        async move { code_from(rig, &format!("10.100.{n}.1"), "ann", &format!("x{n}")).await }
    });
    let codes = futures::future::join_all(guesses).await;
    let checked = codes.iter().filter(|code| **code == 1).count();
    let busy = codes.iter().filter(|code| **code == 7).count();
    assert!((1..=openings(begun)).contains(&checked), "{codes:?}");
    assert_eq!(checked + busy, 20, "{codes:?}");
    assert_eq!(code_from(&rig, "172.16.0.1", "ann", "secret").await, 0);
}

/// Whoever has logged in from a network before does not wait there for the lots of a botnet; guesses from
/// that network count as ever, and the others stay slowed down.
#[tokio::test]
async fn the_owner_of_a_guessed_name_does_not_wait_in_a_network_that_is_known() {
    let config = AccountsConfig {
        lockout_name_failures: 30,
        // Only what was read from the store and hashed counts here.
        verified_ttl: Span::ZERO,
        account_ttl: Span::ZERO,
        ..config()
    };
    let rig = Rig::new(config).await;
    rig.ann().await;
    assert_eq!(rig.code("ann", "secret").await, 0);
    for n in 0..31 {
        let address = format!("10.{n}.0.1");
        assert_eq!(code_from(&rig, &address, "ann", &format!("{n}")).await, 1);
    }
    let begun = Clock::now();
    let guesses = (0..20).map(|n| {
        let rig = &rig;
        async move { code_from(rig, &format!("10.100.{n}.1"), "ann", &format!("x{n}")).await }
    });
    let owner = async {
        let mut codes = Vec::new();
        for neighbour in 1..=10 {
            let address = format!("192.0.2.{neighbour}");
            codes.push(code_from(&rig, &address, "ann", "secret").await);
        }
        codes
    };
    let (guesses, owner) = futures::join!(futures::future::join_all(guesses), owner);
    assert_eq!(owner, [0; 10]);
    let busy = guesses.iter().filter(|code| **code == 7).count();
    assert!(
        20 - busy <= openings(begun),
        "the owner's logins open no gate: {guesses:?}"
    );
    // Twenty failures are what any network has, eleven any address.
    for n in 0..21 {
        let address = format!("192.0.2.{}", n % 2);
        assert_eq!(code_from(&rig, &address, "ann", &format!("{n}")).await, 1);
    }
    assert_eq!(code_from(&rig, "192.0.2.9", "ann", "x").await, 6);
}

#[tokio::test]
async fn attempts_at_the_same_time_get_no_more_tries_than_in_a_row() {
    let config = AccountsConfig {
        max_waiting_per_name: 100,
        ..config()
    };
    let rig = Rig::new(config).await;
    rig.ann().await;
    let attempts = (0..40).map(|n| {
        let accounts = &rig.accounts;
        async move {
            accounts
                .login(call("ann", &format!("wrong{n}")))
                .await
                .result_code
        }
    });
    let begun = Clock::now();
    let codes = futures::future::join_all(attempts).await;
    let checked = codes.iter().filter(|code| **code == 1).count();
    let refused = codes.iter().filter(|code| **code == 6).count();
    assert!((11..=10 + openings(begun)).contains(&checked), "{codes:?}");
    assert_eq!(checked + refused, 40, "{codes:?}");
}

#[tokio::test]
async fn the_same_wrong_password_at_the_same_time_is_one_question() {
    let rig = Rig::new(config()).await;
    rig.ann().await;
    let attempts = (0..8).map(|_| rig.code("ann", "wrong"));
    let codes = futures::future::join_all(attempts).await;
    assert_eq!(codes, [1; 8]);
    // Who comes after the answer to the first ones asks anew.
    let questions = rig.hashes();
    assert!((1..8).contains(&questions), "{questions}");
    assert_eq!(u64::from(failures(&rig, "ann").await[0]), questions);
}

#[tokio::test]
async fn failures_older_than_the_window_or_later_than_now_do_not_count() {
    let rig = Rig::new(config()).await;
    rig.ann().await;
    let now = UnixSeconds::now();
    for time in [now.saturating_sub(1_801), now.saturating_add(86_400)] {
        for _ in 0..11 {
            let failure = NewFailure {
                name: "ann",
                known: true,
                addresses: &["192.0.2.1"],
                now: time,
                since: UnixSeconds::EPOCH,
                max_pairs: 100,
                kept_above: 100,
            };
            rig.temp.store.add_login_failure(&failure).await.unwrap();
        }
        assert_eq!(rig.code("ann", "wrong").await, 1);
        assert_eq!(rig.code("ann", "secret").await, 0);
        assert_eq!(rig.accounts.locks("", None, 100).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_success_clears_the_failures_of_its_address() {
    let rig = Rig::new(config()).await;
    rig.ann().await;
    for round in 0..3 {
        for n in 0..10 {
            assert_eq!(rig.code("ann", &format!("wrong{round}{n}")).await, 1);
        }
        assert_eq!(rig.code("ann", "secret").await, 0);
    }
    assert_eq!(failures(&rig, "ann").await, [0, 0, 0]);
}

#[tokio::test]
async fn made_up_names_push_no_lock_out() {
    let rig = Rig::new(AccountsConfig {
        lockout_pairs: 3,
        ..config()
    })
    .await;
    rig.ann().await;
    for n in 0..11 {
        assert_eq!(rig.code("ann", &format!("wrong{n}")).await, 1);
    }
    for n in 0..10 {
        assert_eq!(rig.code(&format!("ghost{n}"), "x").await, 1);
    }
    assert_eq!(rig.code("ann", "wrong").await, 6);
    let mut kept = 0;
    for n in 0..10 {
        kept += failures(&rig, &format!("ghost{n}"))
            .await
            .iter()
            .sum::<u32>();
    }
    assert_eq!(kept, 3, "a bounded number of places");
}

#[tokio::test]
async fn what_nobody_can_have_costs_no_hash_and_is_counted() {
    let rig = Rig::new(config()).await;
    rig.ann().await;
    let long = "x".repeat(129);
    let mut codes = Vec::new();
    for n in 0..12 {
        let mut call = call("ann", "secret");
        if n % 2 == 0 {
            call.user_name.clone_from(&long);
        } else {
            call.password.clone_from(&long);
        }
        codes.push(rig.accounts.login(call).await.result_code);
    }
    assert_eq!(codes, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 6, 6]);
    assert_eq!(rig.hashes(), 0);
    assert_eq!(failures(&rig, "ann").await, [0, 0, 0], "no lock of anybody");
    assert_eq!(rig.code("ann", "secret").await, 0);
}

#[tokio::test]
async fn locks_are_listed_and_end_by_an_administrator_or_a_new_password() {
    let rig = Rig::new(config()).await;
    rig.ann().await;
    let user = rig
        .temp
        .store
        .credentials("ann")
        .await
        .unwrap()
        .unwrap()
        .user;
    for by_password in [false, true] {
        for n in 0..11 {
            assert_eq!(rig.code("ann", &format!("wrong{n}")).await, 1);
        }
        let locks = rig.accounts.locks("", None, 100).await.unwrap();
        let seen: Vec<_> = locks
            .iter()
            .map(|lock| (lock.name.as_str(), lock.address.as_str(), lock.count))
            .collect();
        assert_eq!(seen, [("ann", "192.0.2.1", 11)]);
        if by_password {
            rig.accounts
                .set_password(&rig.temp.store, user, "new")
                .await
                .unwrap();
        } else {
            assert_eq!(
                rig.accounts.unlock(&rig.temp.store, "ann").await.unwrap(),
                3
            );
        }
        assert_eq!(rig.accounts.locks("", None, 100).await.unwrap(), []);
        assert_eq!(rig.code("ann", "wrong").await, 1);
        rig.accounts.unlock(&rig.temp.store, "ann").await.unwrap();
    }
}
