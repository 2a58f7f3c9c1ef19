//! More logins than can be checked.

use std::time::Duration;

use futures::StreamExt as _;

use super::*;

const WITHIN: Duration = Duration::from_secs(20);

/// So many names at one of these addresses each, while nothing is computed.
async fn shed(config: AccountsConfig, names: usize, addresses: usize) -> Vec<LoginDone> {
    let rig = Rig::new(AccountsConfig {
        max_hashes: 1,
        ..config
    })
    .await;
    let held = rig.accounts.admission.job().await.unwrap();
    let mut logins: futures::stream::FuturesUnordered<_> = (0..names)
        .map(|n| {
            let call = LoginCall {
                address: format!("192.0.2.{}", n % addresses),
                ..call(&format!("user{n}"), "x")
            };
            rig.accounts.login(call)
        })
        .collect();
    let mut done = Vec::new();
    // Those who are sent away know it before anything is computed.
    while let Ok(next) = tokio::time::timeout(Duration::from_millis(300), logins.next()).await {
        done.push(next.expect("somebody waits"));
    }
    drop(held);
    let rest = tokio::time::timeout(WITHIN, logins.collect::<Vec<_>>()).await;
    for rest in rest.expect("the others have their turns") {
        assert_eq!(rest.result_code, 1, "{rest:?}");
    }
    done
}

#[tokio::test]
async fn over_a_bound_logins_are_told_at_once_when_to_come_back() {
    let (config, far) = (config(), 100_000);
    let bounded = |all, address| AccountsConfig {
        max_waiting_logins: all,
        max_waiting_per_address: address,
        ..config.clone()
    };
    for (config, names, addresses, sent_away) in [
        (bounded(3, far), 5, 1, 2),
        (bounded(far, 3), 5, 1, 2),
        // Of a network, four times as many.
        (bounded(far, 1), 9, 9, 5),
        (bounded(far, far), 9, 9, 0),
    ] {
        let done = shed(config.clone(), names, addresses).await;
        assert_eq!(done.len(), sent_away, "{config:?}");
        for done in done {
            assert_eq!(done.result_code, 7);
            assert!((500..=30_000).contains(&done.retry_after_ms), "{done:?}");
        }
    }
}

#[tokio::test]
async fn a_login_that_nobody_waits_for_is_never_hashed() {
    let rig = Rig::new(config()).await;
    for n in 0..50 {
        let name = format!("ghost{n}");
        let login = rig.code(&name, "x");
        let gone = tokio::time::timeout(Duration::from_millis(2), login).await;
        assert!(gone.is_err(), "it takes longer");
    }
    assert_eq!(rig.hashes(), 0);
    rig.ann().await;
    assert_eq!(rig.code("ann", "secret").await, 0);
    assert_eq!(rig.hashes(), 1);
}

#[tokio::test]
async fn administrators_hashes_and_logins_take_turns() {
    let rig = Rig::new(AccountsConfig {
        max_hashes: 1,
        ..config()
    })
    .await;
    let pool = rig.accounts.pool();
    let (made, codes) = tokio::join!(
        futures::future::join_all((0..10).map(|n| pool.make(format!("{n}")))),
        futures::future::join_all((0..10).map(|n| {
            let rig = &rig;
            async move { rig.code(&format!("user{n}"), "x").await }
        })),
    );
    assert!(made.iter().all(Result::is_ok));
    assert_eq!(codes, [1; 10]);
}
