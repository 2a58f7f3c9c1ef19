//! db-proxy on a real MariaDB, whose packages `MARIADB` names; `make test-mariadb` gets them and runs these (S-34, S-49).

mod between;
mod faults;
mod moving;
mod standby;

use std::path::Path;
use std::time::Duration;

use im_e2e::mariadb::{MariaDb, MariaDbOptions};
use im_e2e::platform::own_address;
use im_e2e::process::{Process, Spec, run_imd};
use im_e2e::proxy::Proxy;

use crate::groups::infos;
use crate::history::{expect_unread, ids, read};
use crate::support::*;

/// Who starts a server that ends by itself waits so long for its end.
const END: Duration = Duration::from_secs(20);

/// Limits that are over while the tests still look.
const SHORT: [&str; 4] = [
    "mysql.acquire_timeout=\"1s\"",
    "mysql.read_timeout=\"1s\"",
    "mysql.commit_timeout=\"1s\"",
    "mysql.doubt_timeout=\"3s\"",
];

/// One process of each role that an installation needs.
const FOUR: Shape = Shape {
    login: 1,
    msg: 1,
    route: 1,
};

fn options(people: u32, settings: &[String]) -> Options {
    let cheap = CHEAP_HASHES.iter().map(|set| (*set).to_owned());
    let set = cheap.chain(settings.iter().cloned());
    set.fold(Options::people(people), |options, set| options.set(&set))
}

/// Writes a certificate for this host, and its key.
fn certificate(dir: &Path, name: &str, host: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
    let paths = ["pem", "key"].map(|kind| dir.join(format!("{name}.{kind}")));
    std::fs::write(&paths[0], cert.pem()).unwrap();
    std::fs::write(&paths[1], signing_key.serialize_pem()).unwrap();
    let [certificate, key] = paths;
    (certificate, key)
}

/// A second db-proxy of the same name as the first: whichever is started later has the log.
fn db_proxy(dir: &Path, name: &str, set: &[String]) -> Process {
    let address = own_address();
    let secret = dir.join("the-secret");
    std::fs::write(&secret, "a-secret-of-this-test-only\n").unwrap();
    let own = [
        format!("db_proxy.listen=\"{address}:0\""),
        format!("db_proxy.admin_listen=\"{address}:0\""),
        format!("data_dir=\"{}\"", dir.join(name).display()),
        format!("secret_file=\"{}\"", secret.display()),
        "admin.listen=\"127.0.0.1:0\"".to_owned(),
        "store.name=\"db\"".to_owned(),
    ];
    let sets = own.iter().chain(set);
    let args = sets.flat_map(|set| ["--set".to_owned(), set.clone()]);
    let spec = Spec {
        name: name.to_owned(),
        args: ["db-proxy".to_owned()].into_iter().chain(args).collect(),
        dir: dir.to_path_buf(),
        env: Vec::new(),
    };
    Process::start(spec).unwrap()
}

/// A process that had the log says how it learned that it has it no more: in a round, or by what it was to store.
fn has_lost_its_log(log: &str) -> bool {
    let ways = [
        "shares the store and was started later",
        "partition 0 of the log has another owner",
        "another process has taken the log",
    ];
    ways.iter().any(|way| log.contains(way))
}

/// What a db-proxy says that cannot use its store, and that it ends.
async fn refused(dir: &Path, set: &[String]) -> String {
    let mut process = db_proxy(dir, "refused", set);
    let status = process.ended(END).await.unwrap();
    assert!(!status.success(), "{}", process.log());
    let log = process.log();
    std::fs::remove_file(dir.join("refused.log")).unwrap();
    log
}

/// Over TLS: four processes have a conversation and a group, all of it is there when one process opens the store after them, and
/// whoever is not who the server, or db-proxy, wants is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB: make test-mariadb"]
async fn people_converse_on_mariadb_over_tls_and_find_it_all_again() {
    let dir = tempfile::tempdir().unwrap();
    let ip = own_address();
    let server = certificate(dir.path(), "server", &ip.to_string());
    let ca_file = format!("mysql.ca_file=\"{}\"", server.0.display());
    let mariadb = MariaDb::start_with(MariaDbOptions {
        ip: Some(ip),
        certificate: Some(server),
        tls_required: true,
        ..MariaDbOptions::default()
    });
    let mariadb = mariadb.await.unwrap();
    let settings = mariadb.settings();
    let with = |more: &[&str]| {
        let more = more.iter().map(|set| (*set).to_owned());
        settings.iter().cloned().chain(more).collect::<Vec<_>>()
    };
    let verified = with(&["mysql.tls=\"verify-identity\"", &ca_file]);

    let mut platform = Platform::separate(FOUR, options(4, &verified))
        .await
        .unwrap();
    let msg = platform.msg_address("msg1");
    let mut a = Terminal::login(msg, 1, Windows).await;
    let mut b = Terminal::login(msg, 2, Windows).await;
    a.say(with_user(2), "over the network 你好 😀").await;
    let heard = b.message().await;
    assert_eq!(text_of(&heard), "over the network 你好 😀");
    let group = make_group(&mut a, "group 组", &[1, 2, 3]).await;
    for n in 0..3 {
        a.say(in_group(group), &format!("to all {n}")).await;
    }
    expect_unread(&mut b, in_group(group), 3).await;
    read(&mut b, with_user(1), heard.msg_id).await;
    expect_unread(&mut b, with_user(1), 0).await;
    assert_eq!(ids(&mut b, in_group(group), 0, 10).await, [3, 2, 1]);
    let log = platform.running("db").unwrap().log();
    assert!(
        log.contains("the store is on this database server"),
        "{log}"
    );
    assert!(log.contains("TLS_"), "{log}");

    // What cannot be used is said, and ends.
    let (other, _) = certificate(dir.path(), "other", &ip.to_string());
    let other = format!("mysql.ca_file=\"{}\"", other.display());
    let proxy = Proxy::start(mariadb.address()).await.unwrap();
    let mut elsewhere = verified.clone();
    elsewhere[0] = format!(
        "store.url=\"{}\"",
        mariadb.url(&proxy.address().to_string())
    );
    let by_other_name = elsewhere.clone();
    for (set, says) in [
        (
            with(&["mysql.tls=\"verify-ca\"", &other]),
            "as key mysql.tls wants it",
        ),
        (by_other_name, "as key mysql.tls wants it"),
        (with(&["mysql.tls=\"disabled\""]), "one without TLS"),
        (
            with(&["mysql.tls=\"verify-ca\"", "mysql.ca_file=\"/nowhere\""]),
            "read /nowhere",
        ),
    ] {
        let said = refused(dir.path(), &set).await;
        assert!(said.contains(says), "{said}");
    }
    elsewhere.push("mysql.tls=\"verify-ca\"".to_owned());
    let mut reached = db_proxy(dir.path(), "reached", &elsewhere);
    reached.ready(END).await.unwrap();
    drop(reached);

    // It has taken the log, so that the other one ends by itself, though nobody sends anything.
    let ended = platform.process("db").unwrap().ended(END).await.unwrap();
    assert!(!ended.success());
    let log = platform.running("db").unwrap().log();
    assert!(has_lost_its_log(&log), "{log}");
    drop(platform);
    let mut platform = Platform::all_in_one(options(0, &verified)).await.unwrap();
    let msg = platform.msg_address("all");
    let mut b = Terminal::login(msg, 2, Windows).await;
    expect_unread(&mut b, in_group(group), 3).await;
    assert_eq!(ids(&mut b, with_user(1), 0, 10).await, [1]);
    assert_eq!(infos(&mut b, &[(group, 0)]).await[0].group_name, "group 组");
    let mut a = Terminal::login(msg, 1, Windows).await;
    assert_eq!(a.say(with_user(2), "once more").await.msg_id, 2);
    assert_eq!(text_of(&b.message().await), "once more");
    let copied = run_imd(
        dir.path(),
        &[
            "backup",
            "--store",
            &mariadb.url(&ip.to_string()),
            "--to",
            "copy",
        ],
    );
    let error = copied.unwrap_err().to_string();
    assert!(
        error.contains("mariadb-dump --single-transaction"),
        "{error}"
    );
}
