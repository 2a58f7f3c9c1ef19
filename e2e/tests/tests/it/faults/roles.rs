//! The roles that an installation can do without are killed under load: what was said to be stored is there, no
//! notice is made up or missing, each change has its row, and nobody who chats notices anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use im_core::UserId;
use im_e2e::checker::beside::{Notice, check_changes, check_contents, check_notices};
use im_e2e::wait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::errands::{self, Notes};
use super::*;
use crate::push::provider::{By, Heard, Provider};
use crate::push::webhook::settings;
use crate::push::{ios_token, register};
use crate::support::*;

/// Who sends files, who gets them, who writes, and whose phones are told. Users 1 to 6 chat.
const SENDER: u32 = 7;
const RECEIVER: u32 = 8;
const WRITER: u32 = 9;
const PHONES: [u32; 2] = [10, 11];

/// What is killed, each with the errands that need it.
const ROLES: [&str; 4] = ["file1", "msfs1", "api", "push1"];

const SCOPES: [&str; 3] = ["groups:write", "audit:read", "messages:read"];

fn notices(heard: &[Heard]) -> Vec<Notice> {
    let notice = |heard: &Heard| {
        let told = heard.json();
        Notice {
            user: told["user_id"].as_u64().unwrap(),
            position: told["position"].as_u64().unwrap(),
            name: heard.header("webhook-id").to_owned(),
        }
    };
    heard.iter().map(notice).collect()
}

async fn platform(provider: &Provider, dir: &std::path::Path) -> Platform {
    let shape = Shape {
        login: 1,
        msg: 1,
        route: 1,
    };
    let options = Options::people(11).files(1);
    // What is fetched only at the end must be let in until then.
    let options = options
        .set("file.max_files_per_user=100000")
        .set("file.max_files_per_pair=100000");
    let options = CHEAP_HASHES.iter().fold(options, |it, set| it.set(set));
    let mut platform = Platform::separate(shape, options).await.unwrap();
    let rates = [
        "http_api.read_messages=true",
        "http_api.token_rate={burst=10000, per_minute=60000}",
        "http_api.address_rate={burst=10000, per_minute=60000}",
    ];
    platform
        .start_http_api("api", &rates.map(str::to_owned))
        .unwrap();
    let quotas = ["msfs.upload_burst=10GiB", "msfs.upload_per_minute=10GiB"];
    platform
        .start_msfs("msfs1", &quotas.map(str::to_owned))
        .unwrap();
    let routes = ["route1".to_owned()];
    platform
        .start_push("push1", &routes, &settings(provider, dir))
        .unwrap();
    platform.all_ready().await.unwrap();
    for phone in PHONES {
        register(&mut platform, "msg1", phone, Ios, &ios_token(phone as u8)).await;
    }
    platform
}

/// S-75 to S-78, S-87.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_made_up_while_optional_roles_are_killed_in_turn() {
    let provider = Provider::start(By::Tcp).await;
    let dir = tempfile::tempdir().unwrap();
    let mut platform = platform(&provider, dir.path()).await;
    let (url, api) = (
        platform.login_url("login1"),
        platform.http_api_address("api"),
    );
    let msfs = platform.msfs_address("msfs1");
    let token = platform.token(&SCOPES, &[]).unwrap();
    let user = |id: u32| UserId::from_wire(id).unwrap();

    let traffic = Traffic::start(Plan::small(&url)).await.unwrap();
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let (files, pictures) = (Arc::<Notes<_>>::default(), Arc::<Notes<_>>::default());
    let (changes, writes) = (Arc::<Notes<_>>::default(), Arc::<Notes<_>>::default());
    let sender = errands::client(&url, SENDER).await;
    let writer = errands::client(&url, WRITER).await;
    tasks.spawn(errands::files(
        sender,
        user(RECEIVER),
        Arc::clone(&files),
        stop.clone(),
    ));
    tasks.spawn(errands::pictures(msfs, Arc::clone(&pictures), stop.clone()));
    let (to, with) = (api, token.clone());
    tasks.spawn(errands::changes(
        to,
        with,
        Arc::clone(&changes),
        stop.clone(),
    ));
    let phones = PHONES.map(user).to_vec();
    tasks.spawn(errands::writes(
        writer,
        phones,
        Arc::clone(&writes),
        stop.clone(),
    ));
    tasks.close();

    let done = |role: &str| match role {
        "file1" => files.count(),
        "msfs1" => pictures.count(),
        "api" => changes.count(),
        _ => provider.heard().len(),
    };
    let goes_on = async |role: &str, count: usize| {
        let target = done(role) + count;
        let what = format!("errands of {role}");
        let gone_on = wait::until(&what, RECOVERY, || async {
            (done(role) >= target).then_some(())
        });
        gone_on.await.unwrap();
    };
    for role in ROLES.into_iter().cycle().take(kills(40)) {
        traffic.progress(5, RECOVERY).await.unwrap();
        goes_on(role, 2).await;
        platform.kill_and_restart(role).await.unwrap();
    }
    for role in ROLES {
        goes_on(role, 2).await;
    }
    stop.cancel();
    tasks.wait().await;
    let outcome = traffic.finish(RECOVERY).await.unwrap();
    assert_good(&outcome);
    assert_eq!(outcome.absence, Duration::ZERO, "nobody who chats noticed");

    let receiver = errands::client(&url, RECEIVER).await;
    let there = errands::fetched(&receiver).await;
    assert_eq!(check_contents(&files.kept.lock().unwrap(), &there), []);
    let sent = pictures.kept.lock().unwrap().clone();
    let there = errands::shown(sent.keys().cloned()).await;
    assert_eq!(check_contents(&sent, &there), []);
    let rows = errands::rows(api, &token).await;
    assert_eq!(check_changes(&changes.kept.lock().unwrap(), &rows), []);
    platform.imd(&["audit", "verify"]).unwrap();
    let mut log = BTreeMap::new();
    for phone in PHONES {
        let places = errands::places(api, &token, (WRITER, phone)).await;
        log.insert(u64::from(phone), places);
    }
    let all: usize = log.values().map(std::collections::BTreeSet::len).sum();
    assert_eq!(all, writes.count(), "each was acknowledged and stored once");
    let heard = provider
        .wait(|heard| {
            let newest = |user: &u64| log[user].last().copied();
            let told = notices(heard);
            let is_told = |user: &u64| {
                told.iter()
                    .any(|it| it.user == *user && Some(it.position) == newest(user))
            };
            log.keys().all(is_told)
        })
        .await;
    assert_eq!(check_notices(&notices(&heard), &log), []);
}
