//! What a guesser of passwords gets, and what a guesser can do to others.

use std::net::Ipv4Addr;

use im_e2e::gauges::Metrics;
use im_e2e::siege::source;
use im_proto_teamtalk::login::{ImLoginReq, ImLoginRes};

use crate::support::*;

/// A login from this address under this name, with the right password or a wrong one.
async fn attempt(
    platform: &mut Platform,
    from: Ipv4Addr,
    name: &str,
    password: &str,
) -> ImLoginRes {
    let address = platform.msg_address("all");
    let mut terminal = Terminal::connect_from(address, from.into()).await;
    let request = ImLoginReq {
        user_name: name.to_owned(),
        password: password.to_owned(),
        ..login_request(1, Windows)
    };
    terminal.try_login(&request).await
}

fn right() -> String {
    let password = Password::clear(im_e2e::people::PASSWORD);
    password.as_wire().to_owned()
}

fn wrong() -> String {
    Password::clear("wrong").as_wire().to_owned()
}

fn is_locked(answer: &ImLoginRes) -> bool {
    answer.result_string().contains("太多")
}

async fn hashes(platform: &mut Platform) -> f64 {
    let metrics = Metrics::read(platform.process("all").unwrap())
        .await
        .unwrap();
    metrics.sum("im_db_proxy_password_hashes", "")
}

/// A name or password that nobody can have is refused at once: no hash is computed for it, and whoever
/// goes on is told that there were too many failures.
#[tokio::test]
async fn oversized_attempts_cost_nothing() {
    let mut platform = own_platform(3, &[]).await;
    let from = source(50, 1);
    let before = hashes(&mut platform).await;
    let mut last = None;
    for n in 0..40 {
        let (name, password) = match n % 2 {
            0 => ("u3".to_owned(), "x".repeat(129)),
            _ => ("x".repeat(129), wrong()),
        };
        let answer = attempt(&mut platform, from, &name, &password).await;
        assert_ne!(answer.result_code, 0);
        last = Some(answer);
    }
    assert!(last.as_ref().is_some_and(is_locked), "{last:?}");
    assert_eq!(hashes(&mut platform).await, before);
    let answer = attempt(&mut platform, from, "u3", &right()).await;
    assert_eq!(answer.result_code, 0, "{answer:?}");
}

/// Eight neighbouring addresses have no more tries at a name together than two have alone.
#[tokio::test]
async fn neighbours_share_their_tries() {
    let mut platform = own_platform(4, &[]).await;
    let mut tries = 0;
    for host in 1..=8 {
        for _ in 0..14 {
            let answer = attempt(&mut platform, source(51, host), "u4", &wrong()).await;
            assert_ne!(answer.result_code, 0);
            if is_locked(&answer) {
                break;
            }
            tries += 1;
        }
    }
    assert!(tries <= 22, "{tries} tries from neighbours");
}

/// A lock stays when others fail with names that do not exist, however many they are.
#[tokio::test]
async fn made_up_names_push_no_lock_out() {
    const PAIRS: u32 = 40;
    let set = format!("db_proxy.accounts.lockout_pairs={PAIRS}");
    let mut platform = own_platform(5, &[&set]).await;
    let from = source(52, 1);
    for _ in 0..12 {
        attempt(&mut platform, from, "u5", &wrong()).await;
    }
    let locked = attempt(&mut platform, from, "u5", &wrong()).await;
    assert!(is_locked(&locked), "{locked:?}");
    for n in 0..PAIRS + 5 {
        let name = format!("made-up-{n}");
        attempt(&mut platform, from, &name, &wrong()).await;
    }
    let locked = attempt(&mut platform, from, "u5", &wrong()).await;
    assert!(is_locked(&locked), "{locked:?}");
}

/// Somebody who fails behind an address that others use too does not lock them out of their accounts.
#[tokio::test]
async fn a_stranger_behind_the_same_address_locks_nobody_out() {
    let mut platform = own_platform(6, &[]).await;
    let from = source(53, 1);
    for _ in 0..12 {
        attempt(&mut platform, from, "u6", &wrong()).await;
    }
    let answer = attempt(&mut platform, from, "u6", &right()).await;
    assert_eq!(answer.result_code, 0, "{answer:?}");
}
