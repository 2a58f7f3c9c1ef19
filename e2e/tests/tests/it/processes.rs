//! Several processes of each role: added, removed and lost while people chat (S-31,
//! S-89 as far as static lists go), and the rules of starting and stopping (S-85, S-88, S-93).

use std::time::Duration;

use im_e2e::platform::{Options, Platform, Shape};
use im_e2e::process::{Process, Spec};
use im_e2e::traffic::{Plan, Traffic};

const RECOVERY: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_come_and_go_while_people_chat() {
    let shape = Shape {
        login: 2,
        msg: 3,
        route: 2,
    };
    let mut platform = Platform::separate(shape, Options::people(6)).await.unwrap();
    let urls = vec![platform.login_url("login1"), platform.login_url("login2")];
    let traffic = Traffic::start(Plan {
        urls,
        ..Plan::small("")
    })
    .await
    .unwrap();
    traffic.progress(20, RECOVERY).await.unwrap();

    for name in ["route2", "msg3", "login2"] {
        let mut gone = platform.remove(name).unwrap();
        let status = gone.terminate().await.unwrap();
        assert!(status.success(), "{name} stopped with {status}");
        traffic.progress(30, RECOVERY).await.unwrap();
    }
    let logins = ["login1".to_owned(), "login2".to_owned()];
    let routes = ["route1".to_owned(), "route2".to_owned()];
    let peers = platform.peer_settings(&logins, &routes);
    platform.start_route("route2", &[]).unwrap();
    platform.start_login("login2", &[]).unwrap();
    platform.start_msg("msg3", &peers, &[]).unwrap();
    platform.all_ready().await.unwrap();
    traffic.progress(50, RECOVERY).await.unwrap();

    let outcome = traffic.finish(RECOVERY).await.unwrap();
    assert_eq!(outcome.faults, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_db_proxy_on_the_same_store_says_so_and_exits() {
    let mut platform = Platform::all_in_one(Options::people(0)).await.unwrap();
    let first = platform.process("all").unwrap().pid();
    let args = [
        "db-proxy",
        "--set",
        "db_proxy.listen=\"127.0.0.1:0\"",
        "--set",
        "db_proxy.admin_listen=\"127.0.0.1:0\"",
        "--set",
    ];
    let mut args: Vec<String> = args.map(str::to_owned).to_vec();
    args.push(format!("data_dir=\"{}\"", platform.data_dir().display()));
    args.extend([
        "--secret-file".to_owned(),
        platform.secret_file().display().to_string(),
    ]);
    let dir = platform.dir().to_path_buf();
    let spec = Spec {
        name: "second".to_owned(),
        args,
        dir,
        env: Vec::new(),
    };
    let mut second = Process::start(spec).unwrap();
    let status = second.ended(Duration::from_secs(20)).await.unwrap();
    assert!(!status.success());
    let log = second.log();
    assert!(
        log.contains(&first.to_string()),
        "the log names the holder {first}: {log}"
    );
}

/// S-93: what each role is about stands in the dump of its process, under its name.
#[tokio::test]
async fn every_role_of_a_process_tells_its_state_in_the_dump() {
    let mut platform = Platform::all_in_one(Options::people(0)).await.unwrap();
    let process = &*platform.process("all").unwrap();
    let dump = im_e2e::wait::until("push has its link", RECOVERY, || async {
        let dump = im_e2e::gauges::dump(process).await.ok()?;
        (dump["push"]["subscriptions"]["holds"] == 1).then_some(dump)
    })
    .await
    .unwrap();
    for (role, known) in [
        ("login", "servers"),
        ("msg", "cordoned"),
        ("route", "position"),
        ("db_proxy", "position"),
        ("file", "waiting_files"),
        ("msfs", "connections"),
        ("http_api", "connections"),
        ("push", "notices"),
        ("process", "threads"),
    ] {
        let of_role = dump[role].as_object();
        let keys = of_role.map(|it| it.keys().collect::<Vec<_>>());
        let is_there = of_role.is_some_and(|it| it.contains_key(known));
        assert!(is_there, "{role} has no {known}: {keys:?}");
    }
}
