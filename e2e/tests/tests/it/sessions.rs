//! Who is online where, when servers end and start again (S-27).

use std::collections::BTreeMap;
use std::time::Duration;

use im_e2e::process::Process;
use im_e2e::{gauges, wait};
use im_proto_teamtalk::base::UserStatType;
use im_proto_teamtalk::buddy::ImUserStatNotify;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::support::*;
use crate::terminals::status_of;

const ONLINE: i32 = UserStatType::UserStatusOnline as i32;
const OFFLINE: i32 = UserStatType::UserStatusOffline as i32;

/// In which the map must be right again.
const RIGHT: Duration = Duration::from_secs(10);

/// Three msg servers and one route server.
const SHAPE: Shape = Shape {
    login: 1,
    msg: 3,
    route: 1,
};

/// Users of whom this terminal was told since the last call that they went.
async fn told_offline(terminal: &mut Terminal) -> Vec<u32> {
    terminal.settle().await;
    let notices = terminal.take_notices();
    let stats = notices
        .iter()
        .filter(|frame| frame.command() == Some(Command::UserStatNotify))
        .map(|frame| body::<ImUserStatNotify>(frame).user_stat);
    stats
        .filter(|stat| stat.status == OFFLINE)
        .map(|stat| stat.user_id)
        .collect()
}

/// The route server's map, unless it is starting.
async fn map(route: &Process) -> Option<Value> {
    let mut dump = gauges::dump(route).await.ok()?;
    Some(dump["route"].take())
}

/// Whether the map has so many sessions on PCs, all of msg servers that have announced theirs.
fn is_whole(map: &Value, sessions: u64) -> bool {
    let servers = map["servers"].as_array().unwrap();
    map["writer"].is_string()
        && map["pc_sessions"] == sessions
        && servers.iter().all(|server| server["in_step"] == true)
}

/// Logs three people in on each msg server, in the order of the servers.
async fn nine_people(platform: &mut Platform) -> Vec<Terminal> {
    let mut people = Vec::new();
    for user in 1..=9_u32 {
        let server = format!("msg{}", user.div_ceil(3));
        let address = platform.msg_address(&server);
        people.push(Terminal::login(address, user, Windows).await);
    }
    people
}

/// S-27: a route server that is killed and starts again has the sessions of all msg servers within ten
/// seconds. Looks each second until its msg servers would count as lost find nobody who was told that
/// somebody went; who goes afterwards does so for everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_route_server_has_all_sessions_again_and_tells_nobody_that_anybody_went() {
    let mut platform = Platform::separate(SHAPE, Options::people(9)).await.unwrap();
    let mut people = nine_people(&mut platform).await;
    let route = platform.process("route1").unwrap();
    wait::until("the map of nine", wait::SOON, || async {
        is_whole(&map(route).await?, 9).then_some(())
    })
    .await
    .unwrap();
    route.restart().unwrap();
    let begin = Instant::now();
    let mut whole_after = None;
    // Twice as long as a lost msg server has to come back.
    while whole_after.is_none() || begin.elapsed() < Duration::from_secs(6) {
        sleep(Duration::from_secs(1)).await;
        if let Some(map) = map(route).await
            && is_whole(&map, 9)
        {
            whole_after.get_or_insert_with(|| begin.elapsed());
        }
        for person in &mut people {
            let gone = told_offline(person).await;
            assert!(gone.is_empty(), "u{} of {gone:?}", person.user());
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "no map of nine");
    }
    let whole_after = whole_after.unwrap();
    assert!(whole_after < RIGHT, "{whole_after:?}");
    for user in 1..=9 {
        assert_eq!(status_of(&mut people[0], user).await, ONLINE, "u{user}");
    }
    drop(people.pop());
    assert_eq!(people[0].presence_of(9).await.status, OFFLINE);
}

/// Msg servers that have ended, by what they call their start, and when.
#[derive(Default)]
struct Ended(BTreeMap<u64, Instant>);

impl Ended {
    async fn kill(&mut self, msg: &mut Process) {
        let dump = gauges::dump(msg).await.unwrap();
        let instance = dump["msg"]["instance"].as_str().unwrap();
        let instance = u64::from_str_radix(instance, 16).unwrap();
        msg.kill9().unwrap();
        self.0.insert(instance, Instant::now());
    }

    /// Looks at the map each second for so long; returns how many looks found it.
    async fn look(&self, route: &Process, seconds: u32) -> u32 {
        let mut looks = 0;
        for _ in 0..seconds {
            sleep(Duration::from_secs(1)).await;
            let Some(map) = map(route).await else {
                continue;
            };
            looks += 1;
            for server in map["servers"].as_array().unwrap() {
                let ended = self.0.get(&server["instance"].as_u64().unwrap());
                let is_old = ended.is_some_and(|at| at.elapsed() > RIGHT);
                assert!(!is_old, "it ended more than {RIGHT:?} ago: {server}");
            }
        }
        looks
    }
}

/// S-27: one msg server is killed for good, another one just before the route server, and comes back with
/// nobody. Within ten seconds the users of the first are offline, and looks each second find no msg server
/// in the map ten seconds after it ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_each_second_finds_no_msg_server_ten_seconds_after_it_was_killed() {
    let mut platform = Platform::separate(SHAPE, Options::people(9)).await.unwrap();
    let mut people = nine_people(&mut platform).await;
    let observer = &mut people[0];
    let mut ended = Ended::default();
    let begin = Instant::now();
    ended.kill(platform.process("msg2").unwrap()).await;
    ended.look(platform.process("route1").unwrap(), 3).await;
    for user in 4..=6 {
        assert_eq!(observer.presence_of(user).await.status, ONLINE);
        assert_eq!(observer.presence_of(user).await.status, OFFLINE);
    }
    assert!(begin.elapsed() < RIGHT, "{:?}", begin.elapsed());

    ended.kill(platform.process("msg3").unwrap()).await;
    platform.process("route1").unwrap().restart().unwrap();
    ended.look(platform.process("route1").unwrap(), 3).await;
    platform.process("msg3").unwrap().restart().unwrap();
    // Until two seconds after the last of them should have been forgotten.
    let looks = ended.look(platform.process("route1").unwrap(), 9).await;
    assert!(looks >= 5, "{looks} of 9 looks found the map");
    for (user, status) in (1..=9).zip([ONLINE; 3].into_iter().chain([OFFLINE; 6])) {
        assert_eq!(status_of(observer, user).await, status, "u{user}");
    }
    let gone = told_offline(observer).await;
    assert!(gone.iter().all(|user| *user > 3), "{gone:?}");
}
