//! Bots while servers are killed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use im_core::{GroupId, Peer, UserId};
use im_e2e::wait;
use serde_json::json;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::Bot;
use crate::api::calls::get;
use crate::api::rig::Rig;
use crate::faults::errands;
use crate::support::*;

/// What a bot has been told, in the order in which it came.
#[derive(Default)]
struct Told {
    after: String,
    texts: Vec<(u64, String)>,
}

/// One question of a bot that may fail, and an answer to each message of a group in it.
async fn listen(bot: &Bot, api: SocketAddr, told: &Mutex<Told>) {
    let after = told.lock().unwrap().after.clone();
    let after = if after.is_empty() { "0" } else { &after };
    let Some(answer) = bot.updates(after, 2).try_send(api).await else {
        return;
    };
    if answer.status != 200 {
        assert!([503, 504].contains(&answer.status), "{answer:?}");
        return;
    }
    let updates = answer.json();
    for item in updates["items"].as_array().unwrap() {
        let text = item["text"].as_str().unwrap().to_owned();
        let position = item["position"].as_str().unwrap();
        let group = item["conversation"].as_str().unwrap();
        if let Some(group) = group.strip_prefix("group-") {
            let group: u32 = group.parse().unwrap();
            let back = json!({"group": group, "text": format!("re: {text}")});
            let back = bot.says(&back).key(position);
            wait::until("the answer is stored", 3 * WAIT, || async {
                let answer = back.try_send(api).await?;
                (answer.status == 201).then_some(())
            })
            .await
            .unwrap();
        }
        let position = position.parse().unwrap();
        told.lock().unwrap().texts.push((position, text));
    }
    let next = updates["next"].as_str().unwrap();
    next.clone_into(&mut told.lock().unwrap().after);
}

/// People write to a bot and to a group that it is in, it answers the group, and both servers between them are
/// killed again and again: each message is there, none that nobody wrote, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_and_a_bot_talk_while_db_proxy_and_http_api_are_killed() {
    let rates = [
        "http_api.read_messages=true",
        "http_api.token_rate={burst=10000, per_minute=60000}",
        "http_api.address_rate={burst=10000, per_minute=60000}",
    ];
    let mut rig = Rig::apart(3, &[], &rates).await;
    let bot = rig.bot("helper").await;
    let group = rig.group(&["u1", "u2", "helper"]).await;
    let (api, url) = (rig.api, rig.platform.login_url("login1"));
    let stop = CancellationToken::new();
    let mut talking = Vec::new();
    for user in 1..=2 {
        let client = errands::client(&url, user).await;
        let (stop, helper) = (stop.clone(), bot.id);
        talking.push(tokio::spawn(async move {
            let to = |id: u32| Peer::User(UserId::from_wire(id).unwrap());
            let ours = Peer::Group(GroupId::from_wire(group).unwrap());
            let (mut said, mut tick) = (Vec::new(), interval(Duration::from_millis(40)));
            while stop.run_until_cancelled(tick.tick()).await.is_some() {
                let n = said.len();
                let peer = if n.is_multiple_of(3) {
                    ours
                } else {
                    to(helper)
                };
                let text = format!("{user} says {n}");
                client.send_text(peer, &text).await.unwrap();
                client.send_text(to(3), "not for it").await.unwrap();
                said.push((peer == ours, text));
            }
            said
        }));
    }
    let told = Arc::<Mutex<Told>>::default();
    let (bot_listens, hears, end) = (bot.clone(), Arc::clone(&told), CancellationToken::new());
    let ended = end.clone();
    let listening = tokio::spawn(async move {
        while !ended.is_cancelled() {
            listen(&bot_listens, api, &hears).await;
            tokio::task::yield_now().await;
        }
    });
    let count = || told.lock().unwrap().texts.len();
    let mut seen = 0;
    for name in ["db", "api", "db", "api", "db"] {
        wait::until("the bot hears more", 3 * WAIT, || async {
            (count() > seen + 5).then_some(())
        })
        .await
        .unwrap();
        rig.platform.kill_and_restart(name).await.unwrap();
        seen = count();
    }
    wait::until("the bot hears more", 3 * WAIT, || async {
        (count() > seen + 5).then_some(())
    })
    .await
    .unwrap();
    stop.cancel();
    let mut said = Vec::new();
    for talking in talking {
        said.extend(talking.await.unwrap());
    }
    wait::until("the bot has heard it all", 3 * WAIT, || async {
        (count() >= said.len()).then_some(())
    })
    .await
    .unwrap();
    end.cancel();
    listening.await.unwrap();
    let heard = std::mem::take(&mut told.lock().unwrap().texts);
    assert!(
        heard.is_sorted_by_key(|(position, _)| *position),
        "in order"
    );
    let positions: BTreeSet<u64> = heard.iter().map(|(position, _)| *position).collect();
    assert_eq!(
        positions.len(),
        heard.len(),
        "who goes on from `next` hears each once"
    );
    let heard: BTreeSet<&str> = heard.iter().map(|(_, text)| text.as_str()).collect();
    let all: BTreeSet<&str> = said.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(heard, all);
    // Each message of the group was answered once.
    let expected: BTreeSet<String> = { said.iter() }
        .filter(|(is_ours, _)| *is_ours)
        .map(|(_, text)| format!("re: {text}"))
        .collect();
    let (mut answers, mut after) = (Vec::new(), 0);
    loop {
        let path = format!("/api/v1/conversations/group-{group}/messages?limit=200");
        let path = match after {
            0 => path,
            after => format!("{path}&before={after}"),
        };
        let page = rig.ask(get(&path), 200).await;
        for item in page["items"].as_array().unwrap() {
            after = item["id"].as_u64().unwrap();
            if item["sender"] == bot.id {
                answers.push(item["text"].as_str().unwrap().to_owned());
            }
        }
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(answers.len(), expected.len());
    assert_eq!(answers.into_iter().collect::<BTreeSet<_>>(), expected);
    assert_eq!(bot.name, "helper");
}
