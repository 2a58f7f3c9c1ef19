//! Two db-proxies on one database: one has the log, the other stands by.

use std::time::Duration;

use im_e2e::traffic::{Plan, Traffic};
use im_e2e::wait;
use nix::sys::signal::Signal;

use super::*;
use crate::faults::{RECOVERY, assert_good};

/// How soon the other takes the log over, with room for a slow machine; it is three rounds of a second and the start.
const TAKEN_OVER: Duration = Duration::from_secs(30);

/// Each in turn is killed, stopped for longer than the other waits, and stopped in order; the other goes on, and nothing is
/// lost, doubled or out of order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: make test-mariadb"]
async fn the_one_that_stands_by_goes_on_when_the_owner_is_killed_stands_still_or_ends() {
    let mariadb = MariaDb::start().await.unwrap();
    let options = options(6, &mariadb.settings()).standby();
    let set = options.set.clone();
    let mut platform = Platform::separate(FOUR, options).await.unwrap();
    let peers = platform.peer_settings(&["login1".to_owned()], &["route1".to_owned()]);
    platform.start_standby(&peers, &set).unwrap();
    says(&platform, "db2", "standing by").await;
    let traffic = Traffic::start(Plan::small(&platform.url())).await.unwrap();
    traffic.progress(10, RECOVERY).await.unwrap();

    // Who stands by follows the password too, and finds the database again.
    mariadb.change_password("the next one").await.unwrap();
    std::fs::write(mariadb.password_file(), "the next one\n").unwrap();
    for process in ["db", "db2"] {
        says(
            &platform,
            process,
            "the password of the database has changed",
        )
        .await;
    }
    mariadb.kill().unwrap();
    traffic.progress(10, RECOVERY).await.unwrap();

    platform.process("db").unwrap().kill9().unwrap();
    platform
        .process("db2")
        .unwrap()
        .ready(TAKEN_OVER)
        .await
        .unwrap();
    traffic.progress(10, RECOVERY).await.unwrap();

    platform.process("db").unwrap().restart().unwrap();
    says(&platform, "db", "standing by").await;
    platform
        .process("db2")
        .unwrap()
        .signal(Signal::SIGSTOP)
        .unwrap();
    platform
        .process("db")
        .unwrap()
        .ready(TAKEN_OVER)
        .await
        .unwrap();
    traffic.progress(10, RECOVERY).await.unwrap();
    // Its links are still there, and nothing comes of what is sent over them until it wakes.
    platform
        .process("db2")
        .unwrap()
        .signal(Signal::SIGCONT)
        .unwrap();
    let stopped = platform.process("db2").unwrap().ended(END).await.unwrap();
    assert!(!stopped.success());
    traffic.progress(10, RECOVERY).await.unwrap();

    platform.process("db2").unwrap().restart().unwrap();
    says(&platform, "db2", "standing by").await;
    let ended = platform.process("db").unwrap().terminate().await.unwrap();
    assert!(ended.success());
    platform
        .process("db2")
        .unwrap()
        .ready(TAKEN_OVER)
        .await
        .unwrap();
    traffic.progress(10, RECOVERY).await.unwrap();
    assert_good(&traffic.finish(RECOVERY).await.unwrap());
}

async fn says(platform: &Platform, process: &str, text: &str) {
    let said = wait::until(text, END, || async {
        let log = platform.running(process).unwrap().log();
        log.contains(text).then_some(())
    });
    said.await.unwrap();
}
