//! Rows of `docs/requirements.md` in the shape in which they are stated, with their times. The bounds are
//! generous; figures are those of `make bench`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use im_client::{Client, ClientConfig, Password as ClearPassword};
use im_e2e::gauges::Metrics;
use im_e2e::{people, wait};
use im_proto_teamtalk::base::UserStatType;
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use crate::history::{expect_unread, ids, read, unread};
use crate::support::*;
use crate::terminals::status_of;

const ONLINE: i32 = UserStatType::UserStatusOnline as i32;
const OFFLINE: i32 = UserStatType::UserStatusOffline as i32;

/// Waits until a user has this status for an asker, and fails after `limit`.
async fn within(limit: Duration, asker: &mut Terminal, user: u32, status: i32) {
    let same = async { while status_of(asker, user).await != status {} };
    tokio::time::timeout(limit, same)
        .await
        .unwrap_or_else(|_| panic!("user {user} is not {status} within {limit:?}"));
}

/// S-35: a message that was pushed and not acknowledged is unread after a reconnect; once acknowledged it
/// is not; what a stranger acknowledges changes nothing.
#[tokio::test]
async fn a_message_stays_unread_over_a_reconnect_until_its_receiver_acknowledges_it() {
    let shared = platform().await;
    let [a, b, c] = users();
    let mut sender = shared.pc(a).await;
    let mut stranger = shared.pc(c).await;
    let mut receiver = shared.pc(b).await;
    assert_eq!(sender.say(with_user(b), "one").await.msg_id, 1);
    assert_eq!(receiver.message().await.msg_id, 1);
    drop(receiver);
    let mut receiver = shared.pc(b).await;
    expect_unread(&mut receiver, with_user(a), 1).await;
    read(&mut stranger, with_user(a), 1).await;
    read(&mut stranger, with_user(b), 1).await;
    stranger.settle().await;
    expect_unread(&mut receiver, with_user(a), 1).await;
    read(&mut receiver, with_user(a), 1).await;
    expect_unread(&mut receiver, with_user(a), 0).await;
    drop(receiver);
    let mut receiver = shared.pc(b).await;
    assert!(unread(&mut receiver, with_user(a)).await.is_none());
}

/// S-37: 50 messages while away; 20 are read and the connection is cut; 30 are told at the next login,
/// and none at the third.
#[tokio::test]
async fn a_backlog_that_was_read_in_part_is_counted_to_the_message_at_each_login() {
    let shared = platform().await;
    let [a, b] = users();
    let mut sender = shared.pc(a).await;
    for n in 1..=50 {
        assert_eq!(
            sender.say(with_user(b), &format!("text {n}")).await.msg_id,
            n
        );
    }
    let mut receiver = shared.pc(b).await;
    expect_unread(&mut receiver, with_user(a), 50).await;
    read(&mut receiver, with_user(a), 20).await;
    expect_unread(&mut receiver, with_user(a), 30).await;
    drop(receiver);
    let mut receiver = shared.pc(b).await;
    let info = unread(&mut receiver, with_user(a)).await.unwrap();
    assert_eq!((info.unread_cnt, info.latest_msg_id), (30, 50));
    let fresh = ids(
        &mut receiver,
        with_user(a),
        info.latest_msg_id,
        info.unread_cnt,
    )
    .await;
    assert_eq!(fresh, (21..=50).rev().collect::<Vec<_>>());
    read(&mut receiver, with_user(a), 50).await;
    expect_unread(&mut receiver, with_user(a), 0).await;
    drop(receiver);
    let mut receiver = shared.pc(b).await;
    assert!(unread(&mut receiver, with_user(a)).await.is_none());
}

/// S-30: five members on three servers, one of them away, a hundred messages, a stranger: three hear all
/// of them once and in order, the fifth finds them counted and whole, the stranger hears nothing.
#[tokio::test]
async fn five_members_on_three_servers_one_of_them_away_all_have_a_hundred_messages() {
    let shape = Shape {
        login: 1,
        msg: 3,
        route: 2,
    };
    let options = Options::people(6).set("msg.rate_limit=0");
    let mut platform = Platform::separate(shape, options).await.unwrap();
    let [m1, m2, m3] = ["msg1", "msg2", "msg3"].map(|name| platform.msg_address(name));
    let mut speaker = Terminal::login(m1, 1, Windows).await;
    let mut members = [
        Terminal::login(m1, 2, Windows).await,
        Terminal::login(m2, 3, Mac).await,
        Terminal::login(m3, 4, Android).await,
    ];
    let mut stranger = Terminal::login(m2, 6, Windows).await;
    let group = make_group(&mut speaker, "five", &[1, 2, 3, 4, 5]).await;
    for n in 1..=100 {
        assert_eq!(speaker.say(in_group(group), &n.to_string()).await.msg_id, n);
    }
    for member in &mut members {
        for n in 1..=100 {
            let copy = member.message().await;
            assert_eq!((copy.msg_id, text_of(&copy)), (n, n.to_string()));
        }
        assert!(!commands(&member.settle().await).contains(&Command::MsgData));
    }
    assert!(!commands(&stranger.settle().await).contains(&Command::MsgData));
    assert!(!commands(&speaker.settle().await).contains(&Command::MsgData));
    let mut fifth = Terminal::login(m3, 5, Windows).await;
    expect_unread(&mut fifth, in_group(group), 100).await;
    assert_eq!(
        ids(&mut fifth, in_group(group), 0, 200).await,
        (1..=100).rev().collect::<Vec<_>>()
    );
}

/// S-32: with the only route server gone, two people on one msg server talk on: each message within a
/// second or so, and all of them are stored.
#[tokio::test]
async fn two_people_on_one_server_talk_on_when_the_only_route_server_is_gone() {
    let shape = Shape {
        login: 1,
        msg: 1,
        route: 1,
    };
    let mut platform = Platform::separate(shape, Options::people(2)).await.unwrap();
    let address = platform.msg_address("msg1");
    let mut a = Terminal::login(address, 1, Windows).await;
    let mut b = Terminal::login(address, 2, Windows).await;
    platform.process("route1").unwrap().kill9().unwrap();
    let mut slowest = Duration::ZERO;
    for n in 1..=10 {
        let begin = Instant::now();
        assert_eq!(a.say(with_user(2), "still here").await.msg_id, n);
        assert_eq!(b.message().await.msg_id, n);
        // The first one finds out that the route server has gone.
        if n > 1 {
            slowest = slowest.max(begin.elapsed());
        }
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert_eq!(
        ids(&mut b, with_user(1), 0, 20).await,
        (1..=10).rev().collect::<Vec<_>>()
    );
}

/// S-28: all route servers stand still for ten seconds. Nobody is disconnected, people on one server talk
/// on, and what was sent to another server meanwhile is there within ten seconds of their return.
#[tokio::test]
async fn an_outage_of_every_route_server_cuts_nobody_off_and_loses_nothing() {
    let shape = Shape {
        login: 1,
        msg: 2,
        route: 2,
    };
    let mut platform = Platform::separate(shape, Options::people(3)).await.unwrap();
    let [m1, m2] = ["msg1", "msg2"].map(|name| platform.msg_address(name));
    let mut a = Terminal::login(m1, 1, Windows).await;
    let mut b = Terminal::login(m1, 2, Windows).await;
    let mut far = Terminal::login(m2, 3, Windows).await;
    for route in ["route1", "route2"] {
        let process = platform.process(route).unwrap();
        process.signal(Signal::SIGSTOP).unwrap();
    }
    let begin = Instant::now();
    let mut sent = 0;
    // The outage itself is ten seconds long.
    while begin.elapsed() < Duration::from_secs(10) {
        sent += 1;
        assert_eq!(a.say(with_user(2), "near").await.msg_id, sent);
        assert_eq!(b.message().await.msg_id, sent);
        assert_eq!(a.say(with_user(3), "far").await.msg_id, sent);
        sleep(Duration::from_millis(500)).await;
    }
    for route in ["route1", "route2"] {
        let process = platform.process(route).unwrap();
        process.signal(Signal::SIGCONT).unwrap();
    }
    let back = Instant::now();
    for n in 1..=sent {
        assert_eq!(far.message().await.msg_id, n);
    }
    assert!(
        back.elapsed() < Duration::from_secs(10),
        "{:?}",
        back.elapsed()
    );
    for terminal in [&mut a, &mut b, &mut far] {
        let seen = commands(&terminal.settle().await);
        assert!(!seen.contains(&Command::KickUser), "nobody was cut off");
    }
    assert_eq!(far.say(with_user(1), "and back").await.msg_id, sent + 1);
    assert_eq!(a.message().await.msg_id, sent + 1);
}

/// S-26: over two msg servers and two route servers a login and the end of a session are seen within two
/// seconds.
#[tokio::test]
async fn presence_changes_are_seen_within_two_seconds_on_another_server() {
    let shape = Shape {
        login: 1,
        msg: 2,
        route: 2,
    };
    let mut platform = Platform::separate(shape, Options::people(12))
        .await
        .unwrap();
    let [m1, m2] = ["msg1", "msg2"].map(|name| platform.msg_address(name));
    let mut asker = Terminal::login(m1, 1, Windows).await;
    let limit = Duration::from_secs(2);
    // People of both route servers.
    for user in 2..=12 {
        let session = Terminal::login(m2, user, Mac).await;
        within(limit, &mut asker, user, ONLINE).await;
        drop(session);
        within(limit, &mut asker, user, OFFLINE).await;
    }
}

/// S-25: who falls silent is closed at most a second after the time of their class, offline for others,
/// and finds what was sent in that time at the next login.
#[tokio::test]
async fn a_silent_client_is_closed_in_time_and_finds_what_was_sent_meanwhile() {
    let dead = Duration::from_millis(1_500);
    let mut platform = own_platform(3, &["msg.idle_pc=1500ms", "msg.sweep_interval=50ms"]).await;
    let address = platform.msg_address("all");
    let mut phone = Terminal::login(address, 1, Android).await;
    let mut silent = Terminal::login(address, 2, Windows).await;
    let begin = Instant::now();
    assert_eq!(status_of(&mut phone, 2).await, ONLINE);
    for n in 1..=3 {
        assert_eq!(phone.say(with_user(2), "are you there?").await.msg_id, n);
    }
    silent.closed().await;
    let took = begin.elapsed();
    assert!(took + Duration::from_millis(100) >= dead, "{took:?}");
    assert!(took < dead + Duration::from_secs(1), "{took:?}");
    within(Duration::from_secs(2), &mut phone, 2, OFFLINE).await;
    let mut again = Terminal::login(address, 2, Windows).await;
    expect_unread(&mut again, with_user(1), 3).await;
}

/// S-23, S-24: heartbeats alone keep a PC and a phone for ten times as long as they may be silent, each is
/// answered within a second, and no server ever dials a client.
#[tokio::test]
async fn heartbeats_alone_keep_a_session_and_no_server_dials_a_client() {
    let idle = Duration::from_secs(1);
    let set = [
        "msg.idle_pc=1s",
        "msg.idle_mobile=1s",
        "msg.sweep_interval=50ms",
    ];
    let mut platform = own_platform(3, &set).await;
    let address = platform.msg_address("all");
    let from = Ipv4Addr::new(127, 0, 0, 91);
    let begin = Instant::now();
    let mut terminals = Vec::new();
    for (user, kind) in [(1, Windows), (2, Android)] {
        let mut terminal = Terminal::connect_from(address, IpAddr::V4(from)).await;
        let answer = terminal.try_login(&login_request(user, kind)).await;
        assert_eq!(answer.result_code, 0);
        terminals.push(terminal);
    }
    let mut slowest = Duration::ZERO;
    while begin.elapsed() < idle * 10 {
        for terminal in &mut terminals {
            let asked = Instant::now();
            terminal
                .raw()
                .send_bytes(&im_codec::heartbeat(7))
                .await
                .unwrap();
            terminal
                .find("the echo", |frame| {
                    frame.command() == Some(Command::HeartBeat)
                })
                .await;
            slowest = slowest.max(asked.elapsed());
        }
        assert_eq!(
            connections_with(from),
            vec![address.port(); 2],
            "what the clients opened, and no more"
        );
        sleep(idle / 5).await;
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let mut observer = Terminal::login(address, 3, Mac).await;
    assert_eq!(status_of(&mut observer, 1).await, ONLINE);
}

/// Local ports of all connections on this machine whose other end is this address.
fn connections_with(remote: Ipv4Addr) -> Vec<u16> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let hex = format!("{:08X}:", u32::from_ne_bytes(remote.octets()));
    let established = table.lines().filter_map(|line| {
        let mut cells = line.split_whitespace().skip(1);
        let (local, other, state) = (cells.next()?, cells.next()?, cells.next()?);
        let is_one = other.starts_with(&hex) && state == "01";
        is_one.then(|| u16::from_str_radix(local.rsplit_once(':').unwrap().1, 16).unwrap())
    });
    established.collect()
}

/// S-06: twenty clients of a msg server that dies are back within ten seconds, by the dispatcher, and none
/// of them at the dead one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_clients_of_a_server_that_dies_are_back_elsewhere_within_ten_seconds() {
    let shape = Shape {
        login: 1,
        msg: 2,
        route: 1,
    };
    let mut platform = Platform::separate(shape, Options::people(40))
        .await
        .unwrap();
    let url = platform.url();
    let mut clients = Vec::new();
    for user in 1..=40 {
        let password = ClearPassword::clear(people::PASSWORD);
        let config = ClientConfig::new(url.as_str(), people::name(user), password);
        clients.push(Client::connect(config).await.unwrap());
    }
    let dead = platform.msg_address("msg1").to_string();
    let hit = |clients: &[(Client, im_client::Events)]| {
        let at = clients.iter().map(|(client, _)| client.server_address());
        at.filter(|address| *address == dead).count()
    };
    assert!(hit(&clients) >= 15, "half of them or so: {}", hit(&clients));
    platform.process("msg1").unwrap().kill9().unwrap();
    let begin = Instant::now();
    wait::until("everybody elsewhere", Duration::from_secs(10), || async {
        (hit(&clients) == 0).then_some(())
    })
    .await
    .unwrap();
    for (client, _) in &clients {
        client.wait_connected(true).await.unwrap();
    }
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
    for (client, _) in &clients {
        client.close().await;
    }
}

/// S-07, S-09, S-94: a thousand clients found their server by the dispatcher and left it; it ends, db-proxy
/// starts again with another limit on groups, and of a thousand clients none notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_need_no_dispatcher_and_notice_no_new_rule() {
    use futures::StreamExt as _;
    let shape = Shape {
        login: 1,
        msg: 1,
        route: 1,
    };
    let options = Options::people(1_000);
    let options = CHEAP_HASHES
        .iter()
        .fold(options, |options, set| options.set(set));
    let mut platform = Platform::separate(shape, options).await.unwrap();
    let url = platform.url();
    let log_in = |user: u32| {
        let url = url.clone();
        async move {
            let named = im_client::dispatch::lookup(&url, None, WAIT).await.unwrap();
            let address: SocketAddr = named.address().parse().unwrap();
            // Ten machines with a hundred people each.
            let from = Ipv4Addr::new(127, 0, 0, 100 + (user % 10) as u8);
            let mut terminal = Terminal::connect_from(address, IpAddr::V4(from)).await;
            let answer = terminal.try_login(&login_request(user, Windows)).await;
            assert_eq!(answer.result_code, 0, "u{user}");
            terminal
        }
    };
    let pid = platform.process("msg1").unwrap().pid();
    let threads = || {
        std::fs::read_dir(format!("/proc/{pid}/task"))
            .unwrap()
            .count()
    };
    let before = threads();
    let mut clients: Vec<Terminal> = futures::stream::iter((1..=1_000).map(log_in))
        .buffered(20)
        .collect()
        .await;
    // S-94: connections cost no threads; those for what blocks come and go.
    assert!(threads() <= before + 8, "{before} and {}", threads());
    let login = platform.process("login1").unwrap();
    wait::until("nobody at the dispatcher", wait::SOON, || async {
        let metrics = Metrics::read(login).await.ok()?;
        (metrics.sum("im_login_client_connections", "") == 0.0).then_some(())
    })
    .await
    .unwrap();
    login.terminate().await.unwrap();
    let [a, b, ..] = clients.as_mut_slice() else {
        panic!("a thousand clients");
    };
    for n in 1..=100 {
        assert_eq!(a.say(with_user(2), "no dispatcher").await.msg_id, n);
        assert_eq!(b.message().await.msg_id, n);
    }
    // A rule changes with db-proxy alone.
    assert_eq!(try_group(a, &[1, 2, 3]).await, 0);
    platform.remove("db").unwrap().terminate().await.unwrap();
    let peers = platform.peer_settings(&["login1".to_owned()], &["route1".to_owned()]);
    let mut set: Vec<String> = CHEAP_HASHES.map(str::to_owned).to_vec();
    set.push("db_proxy.writer.max_group_members=2".to_owned());
    platform.start_db_proxy(&peers, &set).unwrap();
    platform.ready("db").await.unwrap();
    let served = async { while try_group(a, &[1, 2]).await != 0 {} };
    tokio::time::timeout(WAIT, served)
        .await
        .expect("groups of two are made");
    assert_eq!(try_group(a, &[1, 2, 3]).await, 1, "the new rule");
    let msg = platform.process("msg1").unwrap();
    let metrics = Metrics::read(msg).await.unwrap();
    assert_eq!(
        metrics.sum("im_msg_connections", ""),
        1_000.0,
        "nobody has gone"
    );
}

/// The result of making a group.
async fn try_group(creator: &mut Terminal, members: &[u32]) -> u32 {
    let request = ImGroupCreateReq {
        user_id: 0,
        group_type: GroupType::Tmp.into(),
        group_name: "rules".to_owned(),
        group_avatar: String::new(),
        member_id_list: members.to_vec(),
        attach_data: None,
    };
    let answer: ImGroupCreateRsp = creator.ask(Command::GroupCreateReq, &request).await;
    answer.result_code
}
