//! Two db-proxies on one database: one has the log, the other stands by.

use std::net::SocketAddr;
use std::time::Duration;

use im_e2e::gauges;
use im_e2e::proxy::Cable;
use im_e2e::traffic::{Plan, Traffic};
use im_e2e::wait;
use nix::sys::signal::Signal;

use super::*;
use crate::faults::{RECOVERY, assert_good};

/// How soon the other takes the log over, with room for a slow machine; it is three rounds of a second and the start.
const TAKEN_OVER: Duration = Duration::from_secs(30);

/// The admin port of a process whose address is its own.
const ADMIN: u16 = 9100;

/// Each in turn is killed, stopped for longer than the other waits, and stopped in order; the other goes on, and nothing is
/// lost, doubled or out of order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: make test-mariadb"]
async fn the_one_that_stands_by_goes_on_when_the_owner_is_killed_stands_still_or_ends() {
    let mariadb = MariaDb::start().await.unwrap();
    let options = options(6, &mariadb.settings()).standby();
    let mut set = options.set.clone();
    let admin = SocketAddr::from((own_address(), ADMIN));
    set.push(format!("admin.listen=\"{admin}\""));
    let mut platform = Platform::separate(FOUR, options).await.unwrap();
    let peers = platform.peer_settings(&["login1".to_owned()], &["route1".to_owned()]);
    platform.start_standby(&peers, &set).unwrap();
    says(&platform, "db2", "standing by").await;
    stands_by(admin).await;
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

/// While the database answers nobody, the owner lets its callers go and keeps the log, and who stands by is not ready. Cut off
/// alone it lets them go too: they find the other, which has taken it, and the first ends when it hears of that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: make test-mariadb"]
async fn an_owner_that_is_cut_off_from_the_database_lets_its_callers_go_to_the_next() {
    let mariadb = MariaDb::start().await.unwrap();
    let cable = Proxy::start(mariadb.address()).await.unwrap();
    let other_cable = Proxy::start(mariadb.address()).await.unwrap();
    let settings = |cable: &Proxy| {
        let mut settings = mariadb.settings_at(&cable.address().to_string());
        settings.extend(SHORT.map(str::to_owned));
        settings
    };
    let of_owner = options(6, &settings(&cable)).standby();
    let mut platform = Platform::separate(FOUR, of_owner).await.unwrap();
    let peers = platform.peer_settings(&["login1".to_owned()], &["route1".to_owned()]);
    let mut set = options(6, &settings(&other_cable)).set;
    let admin = SocketAddr::from((own_address(), ADMIN));
    set.push(format!("admin.listen=\"{admin}\""));
    platform.start_standby(&peers, &set).unwrap();
    // Who has no others keeps its callers, whatever happens.
    says(&platform, "db", "others stand by for the log").await;
    let traffic = Traffic::start(Plan::small(&platform.url())).await.unwrap();
    traffic.progress(10, RECOVERY).await.unwrap();

    cable.set(Cable::Silent);
    other_cable.set(Cable::Silent);
    says(&platform, "db", "callers are let go").await;
    becomes_ready(admin, false).await;
    cable.set(Cable::Whole);
    other_cable.set(Cable::Whole);
    becomes_ready(admin, true).await;
    says(&platform, "db", "the log is still this process's").await;
    traffic.progress(10, RECOVERY).await.unwrap();

    cable.set(Cable::Silent);
    let db2 = platform.process("db2").unwrap();
    db2.ready(TAKEN_OVER).await.unwrap();
    traffic.progress(10, RECOVERY).await.unwrap();
    let db = platform.process("db").unwrap();
    assert!(!has_lost_its_log(&db.log()), "it does not know it yet");
    cable.set(Cable::Whole);
    assert!(!db.ended(END).await.unwrap().success());
    assert!(has_lost_its_log(&db.log()), "{}", db.log());
    traffic.progress(10, RECOVERY).await.unwrap();
    assert_good(&traffic.finish(RECOVERY).await.unwrap());
}

/// It is ready, which is to take over, and shows that the log is another's.
async fn stands_by(admin: SocketAddr) {
    let ready = gauges::get(admin, "/readyz").await.unwrap();
    assert!(ready.contains("true"), "{ready}");
    let dump = gauges::get(admin, "/debug/dump").await.unwrap();
    let dump: serde_json::Value = serde_json::from_str(&dump).unwrap();
    assert_eq!(dump["readiness"]["owns_log"], false, "{dump}");
    let metrics = gauges::get(admin, "/metrics").await.unwrap();
    assert!(metrics.contains("im_db_proxy_owns_log 0\n"), "{metrics}");
}

/// Who stands by is ready only while the database answers it.
async fn becomes_ready(admin: SocketAddr, ready: bool) {
    let shown = format!("\"ready\":{ready}");
    let said = wait::until(&shown, END, || async {
        let page = gauges::get(admin, "/readyz").await.ok()?;
        page.contains(&shown).then_some(())
    });
    said.await.unwrap();
}

async fn says(platform: &Platform, process: &str, text: &str) {
    let said = wait::until(text, END, || async {
        let log = platform.running(process).unwrap().log();
        log.contains(text).then_some(())
    });
    said.await.unwrap();
}
