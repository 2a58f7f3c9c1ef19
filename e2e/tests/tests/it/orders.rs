//! Orders in which processes start, and what finds them again (S-85, S-86).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use im_e2e::platform::ports;
use im_e2e::{gauges, wait};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::support::*;

/// In which all must be ready after the last start.
const READY: Duration = Duration::from_secs(15);

/// In which links must be back after who was lost listens again.
const LINKED: Duration = Duration::from_secs(5);

/// The numbers of `IM_SEED`, or others each time.
#[allow(clippy::print_stdout, reason = "what a failed test is repeated with")]
fn seeded() -> StdRng {
    let seed: u64 = std::env::var("IM_SEED")
        .ok()
        .map_or_else(rand::random, |seed| seed.parse().unwrap());
    println!("IM_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// S-85, S-86: the processes start in any order, with pauses; all are ready soon after the last,
/// none ends, and people talk.
#[tokio::test]
async fn twenty_random_start_orders_lead_to_the_same_platform() {
    let mut random = seeded();
    let shape = Shape {
        login: 1,
        msg: 2,
        route: 1,
    };
    let mut platform = Platform::separate(shape, Options::people(2)).await.unwrap();
    let mut names = platform.names();
    for round in 0..20 {
        for name in &names {
            platform.process(name).unwrap().kill9().unwrap();
        }
        names.shuffle(&mut random);
        for name in &names {
            platform.process(name).unwrap().restart().unwrap();
            // Pauses between starts are part of what is tested.
            tokio::time::sleep(Duration::from_millis(random.random_range(0..120))).await;
        }
        let begin = Instant::now();
        platform
            .all_ready()
            .await
            .unwrap_or_else(|error| panic!("order {names:?}: {error}"));
        assert!(begin.elapsed() < READY, "order {names:?}");
        let mut a = Terminal::login(platform.msg_address("msg1"), 1, Windows).await;
        let mut b = Terminal::login(platform.msg_address("msg2"), 2, Windows).await;
        assert_eq!(a.say(with_user(2), "hello").await.msg_id, round + 1);
        assert_eq!(b.message().await.msg_id, round + 1);
    }
}

/// Four orders at the same time, in which each role is the first once and the last once: with ten seconds
/// after the first start, and up to ten after each other one.
const ORDERS: [[&str; 4]; 4] = [
    ["db", "route1", "login1", "msg1"],
    ["msg1", "login1", "route1", "db"],
    ["route1", "db", "msg1", "login1"],
    ["login1", "msg1", "db", "route1"],
];

/// Starts a platform in this order, which ends in people who talk.
async fn start_in(order: [&str; 4], pauses: [Duration; 3]) {
    let shape = Shape {
        login: 1,
        msg: 1,
        route: 1,
    };
    let mut platform = Platform::separate(shape, Options::people(2)).await.unwrap();
    for name in order {
        platform.process(name).unwrap().kill9().unwrap();
    }
    let what = format!("order {order:?} with pauses of {pauses:?}");
    let mut pauses = pauses.into_iter();
    for name in order {
        platform.process(name).unwrap().restart().unwrap();
        if let Some(pause) = pauses.next() {
            sleep(pause).await;
        }
    }
    let begin = Instant::now();
    platform
        .all_ready()
        .await
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(begin.elapsed() < READY, "{what}");
    let address = platform.msg_address("msg1");
    let mut a = Terminal::login(address, 1, Windows).await;
    let mut b = Terminal::login(address, 2, Windows).await;
    assert_eq!(a.say(with_user(2), "hello").await.msg_id, 1, "{what}");
    assert_eq!(b.message().await.msg_id, 1, "{what}");
    for name in order {
        let ended = platform.process(name).unwrap().ended(Duration::ZERO).await;
        assert!(ended.is_err(), "{what}: {name} ended: {ended:?}");
    }
}

/// S-85: see [`ORDERS`]; all are ready within fifteen seconds of the last start, none ends, and people talk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_of_start_with_pauses_of_up_to_ten_seconds_lead_to_the_same_platform() {
    let longest = 10_000;
    let mut random = seeded();
    let starts = ORDERS.map(|order| {
        let mut pause = || Duration::from_millis(random.random_range(0..=longest));
        start_in(order, [Duration::from_millis(longest), pause(), pause()])
    });
    join_all(starts).await;
}

/// The links that are up, as `from-to`, as those who need them say; none of a process that has ended.
async fn links(platform: &mut Platform) -> BTreeSet<String> {
    let mut up = BTreeSet::new();
    let mut note = |link: String, is_up: bool| {
        if is_up {
            up.insert(link);
        }
    };
    for name in platform.names() {
        let process = platform.process(&name).unwrap();
        if process.ended(Duration::ZERO).await.is_ok() {
            continue;
        }
        // One that starts has no ready file yet.
        let Ok(dump) = gauges::dump(process).await else {
            continue;
        };
        if let Some(msg) = dump.get("msg") {
            note(format!("{name}-db"), msg["db_proxy_link"] == true);
            note(format!("{name}-route1"), msg["routes_usable"] == true);
            note(format!("{name}-login1"), msg["login_links"] == 1);
        }
        if let Some(servers) = dump.pointer("/login/servers").and_then(Value::as_array) {
            for server in servers {
                let of = server["server"].as_str().unwrap();
                note(format!("login1-{of}"), server["state"] == "accepting");
            }
        }
        if let Some(route) = dump.get("route") {
            note("route1-db".to_owned(), route["writer"].is_string());
            for server in route["servers"].as_array().unwrap() {
                let of = server["name"].as_str().unwrap();
                let is_up = server["attached"] == true && server["in_step"] == true;
                note(format!("route1-{of}"), is_up);
            }
        }
    }
    up
}

/// Looks at the links until they are as wanted, and fails after `limit`.
async fn reaches(
    platform: &mut Platform,
    what: &str,
    limit: Duration,
    wanted: impl Fn(&BTreeSet<String>) -> bool,
) {
    let begin = Instant::now();
    loop {
        let up = links(platform).await;
        if wanted(&up) {
            return;
        }
        assert!(
            begin.elapsed() < limit,
            "{what} after {limit:?}, up are {up:?}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

/// S-85: each server is killed and starts again, one after the other. Within five seconds of the time that
/// it listens again all links are back; nobody had to do anything, and nobody else has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_back_in_seconds_when_each_server_is_killed_in_turn_and_starts_again() {
    let shape = Shape {
        login: 1,
        msg: 2,
        route: 1,
    };
    let mut platform = Platform::separate(shape, Options::people(2)).await.unwrap();
    let all: BTreeSet<String> = [
        "msg1-db",
        "msg1-route1",
        "msg1-login1",
        "msg2-db",
        "msg2-route1",
        "msg2-login1",
        "login1-msg1",
        "login1-msg2",
        "route1-db",
        "route1-msg1",
        "route1-msg2",
    ]
    .map(str::to_owned)
    .into();
    reaches(&mut platform, "all links at first", wait::SOON, |up| {
        *up == all
    })
    .await;
    for (name, port) in [
        ("db", ports::DB_PROXY),
        ("route1", ports::ROUTE),
        ("login1", ports::LOGIN_CONTROL),
        ("msg1", ports::MSG),
    ] {
        platform.process(name).unwrap().kill9().unwrap();
        let without = |up: &BTreeSet<String>| up.iter().all(|link| !link.contains(name));
        reaches(
            &mut platform,
            &format!("nothing of {name}"),
            wait::SOON,
            without,
        )
        .await;
        platform.process(name).unwrap().restart().unwrap();
        let address = SocketAddr::from((platform.address_of(name), port));
        wait::until(&format!("{name} to listen"), wait::SOON, || async {
            TcpStream::connect(address).await.ok()
        })
        .await
        .unwrap();
        let what = format!("all links after {name} was killed");
        reaches(&mut platform, &what, LINKED, |up| *up == all).await;
    }
    for name in platform.names() {
        let ended = platform.process(&name).unwrap().ended(Duration::ZERO).await;
        assert!(ended.is_err(), "{name} ended: {ended:?}");
    }
    let mut a = Terminal::login(platform.msg_address("msg1"), 1, Windows).await;
    let mut b = Terminal::login(platform.msg_address("msg2"), 2, Windows).await;
    assert_eq!(a.say(with_user(2), "hello").await.msg_id, 1);
    assert_eq!(b.message().await.msg_id, 1);
}
