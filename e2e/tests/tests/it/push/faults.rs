//! Push and db-proxy are killed, the provider hangs: nothing is lost, nothing is made up, chat goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use super::provider::{By, Heard, OK, Provider, Reply};
use super::webhook::{is_signed, settings};
use super::*;
use tokio::time::Instant;

const PEOPLE: u32 = 12;

/// One process per role, push among them, with a device for everybody but the first.
async fn separate(provider: &Provider, dir: &std::path::Path) -> (Platform, Vec<String>) {
    let set = settings(provider, dir);
    let options = CHEAP_HASHES
        .iter()
        .fold(Options::people(PEOPLE), |options, set| options.set(set));
    let shape = Shape {
        login: 1,
        msg: 1,
        route: 2,
    };
    let mut platform = Platform::separate(shape, options).await.unwrap();
    let routes = ["route1".to_owned(), "route2".to_owned()];
    platform.start_push("push1", &routes, &set).unwrap();
    platform.ready("push1").await.unwrap();
    for user in 2..=PEOPLE {
        let mut phone = Terminal::login(platform.msg_address("msg1"), user, Ios).await;
        set_token(&mut phone, &ios_token(user as u8)).await;
    }
    for user in 2..=PEOPLE {
        gone(&platform, user);
    }
    (platform, set)
}

/// The newest message that each user was told of.
fn newest(heard: &[Heard]) -> BTreeMap<u64, u64> {
    let mut newest = BTreeMap::new();
    for heard in heard {
        let told = heard.json();
        let position = told["position"].as_u64().unwrap();
        let kept = newest.entry(told["user_id"].as_u64().unwrap()).or_insert(0);
        *kept = position.max(*kept);
    }
    newest
}

/// Says something to everybody; returns the position of the last message to each, which is that of the
/// message itself, since nobody else speaks.
async fn say_to_all(ann: &mut Terminal, said: &mut u64, text: &str) -> BTreeMap<u64, u64> {
    let mut last = BTreeMap::new();
    for user in 2..=PEOPLE {
        ann.say(with_user(user), text).await;
        *said += 1;
        last.insert(u64::from(user), *said);
    }
    last
}

/// S-75: at least once under kill -9 of push and of db-proxy, and none for a message that is not in the log.
#[tokio::test]
async fn nothing_is_missing_and_nothing_made_up_when_push_and_db_proxy_are_killed() {
    let provider = Provider::start(By::Tcp).await;
    let dir = tempfile::tempdir().unwrap();
    let (mut platform, _) = separate(&provider, dir.path()).await;
    let mut ann = Terminal::login(platform.msg_address("msg1"), 1, Windows).await;
    let mut said = 0;
    for round in 0..3 {
        // Some are not taken, so that they wait in the store when somebody is killed.
        provider.next(&[Reply::Status(503, ""); 8]);
        let last = say_to_all(&mut ann, &mut said, "hello").await;
        platform.kill_and_restart("push1").await.unwrap();
        provider.wait(|heard| newest(heard) == last).await;

        let last = say_to_all(&mut ann, &mut said, "again").await;
        platform.kill_and_restart("db").await.unwrap();
        provider.wait(|heard| newest(heard) == last).await;
        // The msg server has found db-proxy again when it stores something.
        drop(ann);
        ann = again(&mut platform).await;
        assert!(round < 3);
    }
    let heard = provider.heard();
    assert!(heard.iter().all(|it| is_signed(it, SECRET)));
    let beyond = heard
        .iter()
        .filter(|it| it.json()["position"].as_u64().unwrap() > said);
    assert_eq!(
        beyond.count(),
        0,
        "none for a message that is not in the log"
    );
    // One notice has one name, however often it came.
    let mut names: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for told in &heard {
        let json = told.json();
        let of = (
            json["user_id"].as_u64().unwrap(),
            json["position"].as_u64().unwrap(),
        );
        let known = names.insert(told.header("webhook-id").to_owned(), of);
        assert!(known.is_none_or(|known| known == of));
    }
}

/// Logs in once the platform lets somebody in again.
pub(crate) async fn again(platform: &mut Platform) -> Terminal {
    let address = platform.msg_address("msg1");
    let until = Instant::now() + WAIT;
    loop {
        let mut terminal = Terminal::connect(address).await;
        let answer = terminal.try_login(&login_request(1, Windows)).await;
        if answer.result_code == 0 {
            return terminal;
        }
        assert!(Instant::now() < until, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Two replicas: one holds the name, the other goes on where it was.
#[tokio::test]
async fn another_replica_goes_on_where_the_first_was_killed() {
    let provider = Provider::start(By::Tcp).await;
    let dir = tempfile::tempdir().unwrap();
    let (mut platform, set) = separate(&provider, dir.path()).await;
    let routes = ["route1".to_owned(), "route2".to_owned()];
    platform.start_push("push2", &routes, &set).unwrap();
    platform.ready("push2").await.unwrap();
    let mut ann = Terminal::login(platform.msg_address("msg1"), 1, Windows).await;
    let mut said = 0;
    let last = say_to_all(&mut ann, &mut said, "hello").await;
    provider.wait(|heard| newest(heard) == last).await;
    assert_eq!(
        provider.heard().len(),
        (PEOPLE - 1) as usize,
        "one replica at a time"
    );
    platform.process("push1").unwrap().kill9().unwrap();
    let last = say_to_all(&mut ann, &mut said, "again").await;
    provider.wait(|heard| newest(heard) == last).await;
}

/// A provider that hangs changes nothing for chat, and is told of everything when it is back.
#[tokio::test]
async fn chat_does_not_notice_a_provider_that_hangs() {
    let provider = Provider::start(By::Tcp).await;
    let dir = tempfile::tempdir().unwrap();
    let (mut platform, _) = separate(&provider, dir.path()).await;
    let address = platform.msg_address("msg1");
    let mut ann = Terminal::login(address, 1, Windows).await;
    let mut said = 0;
    let mut times = Vec::new();
    let mut last = BTreeMap::new();
    for reply in [OK, Reply::Hang] {
        provider.always(reply);
        let begin = Instant::now();
        for _ in 0..10 {
            last = say_to_all(&mut ann, &mut said, "hello").await;
        }
        times.push(begin.elapsed());
        provider
            .wait(|heard| heard.len() >= (PEOPLE - 1) as usize)
            .await;
    }
    assert!(
        times[1] < times[0] * 3 + Duration::from_secs(1),
        "acknowledgements wait for a provider: {times:?}"
    );
    provider.always(OK);
    provider.wait(|heard| newest(heard) == last).await;
}
