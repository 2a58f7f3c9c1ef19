//! I1–I3 while processes are killed and stopped (S-28, S-31, S-34, S-85).

pub(crate) mod errands;
mod roles;

use std::time::Duration;

use im_e2e::platform::{Options, Platform, Shape};
use im_e2e::process::run_imd;
use im_e2e::proxy::Cable;
use im_e2e::traffic::{Outcome, Plan, Traffic};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Longest time in which talk must go on after a fault on a busy two-core machine.
pub(crate) const RECOVERY: Duration = Duration::from_mins(1);

/// Kills per test: the ordinary run makes 200 in all, `make torture` 1,000.
pub(crate) fn kills(ordinary: usize) -> usize {
    if std::env::var_os("IM_TORTURE").is_some() {
        ordinary * 5
    } else {
        ordinary
    }
}

pub(crate) fn assert_good(outcome: &Outcome) {
    let first: Vec<String> = outcome
        .faults
        .iter()
        .take(20)
        .map(ToString::to_string)
        .collect();
    assert!(
        first.is_empty(),
        "{} faults:\n{}",
        outcome.faults.len(),
        first.join("\n")
    );
    assert!(outcome.stored > 0);
}

/// What the embedded store holds fits together, once the process that has it is ended.
async fn fits_together(platform: &mut Platform, process: &str) {
    platform
        .process(process)
        .unwrap()
        .terminate()
        .await
        .unwrap();
    let data = platform.data_dir().display().to_string();
    let said = run_imd(platform.dir(), &["check", "--data-dir", &data, "--json"]);
    let said: Value = serde_json::from_str(&said.unwrap()).unwrap();
    assert_eq!(said["flaws"], json!({}));
    assert!(said["messages"].as_u64().unwrap() > 100, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_the_whole_platform_is_killed_again_and_again() {
    let mut platform = Platform::all_in_one(Options::people(6)).await.unwrap();
    let traffic = Traffic::start(Plan::small(&platform.url())).await.unwrap();
    for _ in 0..kills(60) {
        traffic.progress(10, RECOVERY).await.unwrap();
        platform.kill_and_restart("all").await.unwrap();
    }
    traffic.progress(10, RECOVERY).await.unwrap();
    let outcome = traffic.finish(RECOVERY).await.unwrap();
    assert_good(&outcome);
    fits_together(&mut platform, "all").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_each_role_is_killed_in_turn() {
    let shape = Shape {
        login: 2,
        msg: 3,
        route: 2,
    };
    let mut platform = Platform::separate(shape, Options::people(6)).await.unwrap();
    let urls = vec![platform.login_url("login1"), platform.login_url("login2")];
    let plan = Plan {
        urls,
        ..Plan::small("")
    };
    let traffic = Traffic::start(plan).await.unwrap();
    let names = platform.names();
    for name in names.iter().cycle().take(kills(140)) {
        traffic.progress(10, RECOVERY).await.unwrap();
        platform.kill_and_restart(name).await.unwrap();
    }
    traffic.progress(10, RECOVERY).await.unwrap();
    let outcome = traffic.finish(RECOVERY).await.unwrap();
    assert_good(&outcome);
    fits_together(&mut platform, "db").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_stands_still_for_seconds_loses_nothing() {
    let shape = Shape {
        login: 1,
        msg: 2,
        route: 2,
    };
    let mut platform = Platform::separate(shape, Options::people(6)).await.unwrap();
    let traffic = Traffic::start(Plan::small(&platform.url())).await.unwrap();
    for name in ["route1", "msg1", "db", "route2", "msg2", "login1"] {
        traffic.progress(10, RECOVERY).await.unwrap();
        platform
            .process(name)
            .unwrap()
            .signal(Signal::SIGSTOP)
            .unwrap();
        // Standing still is the fault: long enough for keep-alives to give up.
        tokio::time::sleep(Duration::from_secs(5)).await;
        platform
            .process(name)
            .unwrap()
            .signal(Signal::SIGCONT)
            .unwrap();
        traffic.progress(10, RECOVERY).await.unwrap();
    }
    let outcome = traffic.finish(RECOVERY).await.unwrap();
    assert_good(&outcome);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_is_cut_or_silent_between_roles_loses_nothing() {
    let shape = Shape {
        login: 1,
        msg: 2,
        route: 2,
    };
    let options = Options::people(6).cables();
    let mut platform = Platform::separate(shape, options).await.unwrap();
    let traffic = Traffic::start(Plan::small(&platform.url())).await.unwrap();
    let cables = platform.cables();
    let used = cables.iter().filter(|name| {
        // Peers that a db-proxy is told of and has no use for.
        !matches!(name.as_str(), "db-db" | "db-login1")
    });
    for name in used {
        for fault in [Cable::Cut, Cable::Silent] {
            traffic.progress(10, RECOVERY).await.unwrap();
            let cable = platform.cable(name).unwrap();
            cable.set(fault);
            // The partition itself.
            tokio::time::sleep(Duration::from_secs(3)).await;
            cable.set(Cable::Whole);
            traffic.progress(10, RECOVERY).await.unwrap();
        }
    }
    let outcome = traffic.finish(RECOVERY).await.unwrap();
    assert_good(&outcome);
}
