//! I1–I3 while db-proxy and its database are killed, cut off and taken over.

use std::io::Write as _;

use im_e2e::proxy::Cable;
use im_e2e::traffic::{Plan, Traffic};
use im_e2e::wait;
use serde_json::{Value, json};

use super::*;
use crate::faults::{RECOVERY, assert_good, kills};

/// A platform on a MariaDB that it reaches through a cable, and people who chat on it.
struct Ground {
    platform: Platform,
    mariadb: MariaDb,
    cable: Proxy,
    settings: Vec<String>,
    traffic: Traffic,
}

impl Ground {
    async fn new() -> Self {
        let mariadb = MariaDb::start().await.unwrap();
        let cable = Proxy::start(mariadb.address()).await.unwrap();
        let mut settings = mariadb.settings_at(&cable.address().to_string());
        settings.extend(SHORT.map(str::to_owned));
        let platform = Platform::separate(FOUR, options(6, &settings)).await;
        let mut platform = platform.unwrap();
        let traffic = Traffic::start(Plan::small(&platform.url())).await.unwrap();
        Self {
            platform,
            mariadb,
            cable,
            settings,
            traffic,
        }
    }

    async fn goes_on(&self) {
        self.traffic.progress(10, RECOVERY).await.unwrap();
    }

    /// Nothing is lost, doubled or out of order; and people log in.
    async fn end(mut self) {
        self.goes_on().await;
        let msg = self.platform.msg_address("msg1");
        // Who comes while the database is away is told to come again.
        let logged_in = wait::until("a login", RECOVERY, || async {
            let mut terminal = Terminal::connect(msg).await;
            let answer = terminal.try_login(&login_request(1, Android)).await;
            (answer.result_code == 0).then_some(())
        });
        logged_in.await.unwrap();
        let outcome = self.traffic.finish(RECOVERY).await.unwrap();
        assert_good(&outcome);
        fits_together(&self.mariadb, &self.platform);
    }
}

/// What the database holds fits together, and a row that is missing is noticed; servers use it meanwhile.
fn fits_together(mariadb: &MariaDb, platform: &Platform) {
    let settings = mariadb.settings();
    let mut args = vec!["check", "--json"];
    args.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let look = || run_imd(platform.dir(), &args);
    let said: Value = serde_json::from_str(&look().unwrap()).unwrap();
    assert_eq!(said["flaws"], json!({}));
    let middle = said["last_seq"].as_u64().unwrap() / 2;
    let delete = format!("DELETE FROM message WHERE seq = {middle}");
    let ran = mariadb.run("im", |input| input.write_all(delete.as_bytes()));
    ran.unwrap();
    let said = look().unwrap_err().to_string();
    assert!(said.contains("\"log-hole\""), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: make test-mariadb"]
async fn nothing_is_lost_or_doubled_while_db_proxy_and_mariadb_are_killed_in_turn() {
    let mut ground = Ground::new().await;
    for n in 0..kills(10) {
        ground.goes_on().await;
        if n % 2 == 0 {
            ground.platform.kill_and_restart("db").await.unwrap();
        } else {
            ground.mariadb.kill().unwrap();
        }
    }
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: make test-mariadb"]
async fn nothing_is_lost_or_doubled_while_mariadb_is_cut_off_silent_taken_over_and_has_another_password()
 {
    let mut ground = Ground::new().await;
    for fault in [Cable::Cut, Cable::Silent] {
        ground.goes_on().await;
        ground.cable.set(fault);
        // The partition itself, longer than a commit waits.
        tokio::time::sleep(Duration::from_secs(3)).await;
        ground.cable.set(Cable::Whole);
    }
    ground.goes_on().await;

    ground
        .mariadb
        .change_password("the next one")
        .await
        .unwrap();
    let before = ground.traffic.history().acked();
    std::fs::write(ground.mariadb.password_file(), "the next one\n").unwrap();
    ground.goes_on().await;
    assert!(ground.traffic.history().acked() > before);
    let log = ground.platform.running("db").unwrap().log();
    assert!(
        log.contains("the password of the database has changed"),
        "{log}"
    );

    // A second one takes the log: the first stores nothing more and ends, and so does the second when the first is back.
    let dir = tempfile::tempdir().unwrap();
    let mut second = db_proxy(dir.path(), "second", &ground.settings);
    second.ready(END).await.unwrap();
    let first = ground.platform.process("db").unwrap();
    assert!(!first.ended(END).await.unwrap().success());
    ground.platform.kill_and_restart("db").await.unwrap();
    ground.goes_on().await;
    assert!(!second.ended(END).await.unwrap().success());
    for log in [second.log(), ground.platform.running("db").unwrap().log()] {
        assert!(has_lost_its_log(&log), "{log}");
    }
    ground.end().await;
}
