//! Bots: in the directory like people, with a token instead of a password, told of what is written to them.

mod killed;
mod subscribed;
mod waiting;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use im_e2e::gauges::Metrics;
use im_e2e::wait;
use im_proto_teamtalk::buddy::{ImAllUserReq, ImAllUserRsp};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::calls::{Call, get, post, problem};
use crate::api::rig::Rig;
use crate::support::*;

/// A bot, and its token.
#[derive(Clone, Debug)]
struct Bot {
    id: u32,
    name: String,
    token: String,
}

impl Rig {
    async fn bot(&self, name: &str) -> Bot {
        let made = self.ask(post("/api/v1/bots", &json!({"name": name})), 201);
        let made = made.await;
        Bot {
            id: made["id"].as_u64().unwrap() as u32,
            name: name.to_owned(),
            token: made["token"].as_str().unwrap().to_owned(),
        }
    }

    /// A group of these members; its id.
    async fn group(&self, members: &[&str]) -> u32 {
        let group = json!({"name": "ours", "members": members});
        let made = self.ask(post("/api/v1/groups", &group), 201).await;
        made["id"].as_u64().unwrap() as u32
    }
}

impl Bot {
    fn updates(&self, after: &str, wait: u32) -> Call {
        let path = format!("/api/v1/bot/updates?after={after}&wait={wait}");
        get(&path).token(&self.token)
    }

    async fn read(&self, api: SocketAddr, after: &str, wait: u32) -> Value {
        self.updates(after, wait).expect(api, 200).await.json()
    }

    fn says(&self, message: &Value) -> Call {
        post("/api/v1/messages", message).token(&self.token)
    }
}

fn texts(updates: &Value) -> Vec<&str> {
    let items = updates["items"].as_array().unwrap().iter();
    items.map(|it| it["text"].as_str().unwrap()).collect()
}

/// Requests of bots that wait.
async fn waiters(process: &im_e2e::process::Process) -> usize {
    let metrics = Metrics::read(process).await.unwrap();
    metrics.sum("im_db_proxy_administration_bot_waiters", "") as usize
}

async fn try_login(address: SocketAddr, name: &str, password: &str) -> (i32, Option<String>) {
    let mut terminal = Terminal::connect(address).await;
    let mut login = login_request(1, Windows);
    name.clone_into(&mut login.user_name);
    Password::clear(password)
        .as_wire()
        .clone_into(&mut login.password);
    let answer = terminal.try_login(&login).await;
    assert!(answer.user_info.is_none());
    (answer.result_code, answer.result_string)
}

/// Clients see it and chat with it; its name opens no door, whatever comes with it.
#[tokio::test]
async fn a_bot_chats_with_clients_and_nobody_logs_in_with_its_name() {
    let mut rig = Rig::whole(3, &[]).await;
    let address = rig.platform.msg_address("all");
    let bot = rig.bot("helper").await;
    let mut ann = Terminal::login(address, 1, Windows).await;
    let everybody = ImAllUserReq {
        user_id: 0,
        latest_update_time: 0,
        attach_data: None,
    };
    let all: ImAllUserRsp = ann.ask(Command::AllUserReq, &everybody).await;
    let seen = { all.user_list.iter() }.find(|it| it.user_id == bot.id);
    assert_eq!(seen.unwrap().user_nick_name, "helper");
    let mut group = make_group(&mut ann, "ours", &[1, 2, bot.id]).await;
    ann.say(with_user(bot.id), "你好").await;
    ann.say(in_group(group), "to all of us").await;
    ann.say(with_user(2), "not for it").await;
    let told = bot.read(rig.api, "0", 10).await;
    assert_eq!(texts(&told), ["你好", "to all of us"]);
    let items = &told["items"];
    assert_eq!(items[0]["sender"], 1);
    assert_eq!(items[1]["conversation"], format!("group-{group}"));
    let back = bot.says(&json!({"to": "u1", "text": "at your service"}));
    back.expect(rig.api, 201).await;
    let message = ann.message().await;
    assert_eq!(text_of(&message), "at your service");
    assert_eq!(message.from_user_id, bot.id);

    // People stand apart from bots, and files of people leave them alone.
    let users = rig.ask(get("/api/v1/users"), 200).await;
    assert_eq!(users["items"].as_array().unwrap().len(), 3);
    let bots = rig.ask(get("/api/v1/bots"), 200).await;
    assert_eq!(bots["items"][0]["name"], "helper");
    let missing = get("/api/v1/users/helper").token(&rig.token);
    missing.expect(rig.api, 404).await;
    let export = get("/api/v1/users:export?format=csv").token(&rig.token);
    let export = export.expect(rig.api, 200).await.body;
    assert!(!String::from_utf8(export).unwrap().contains("helper"));
    let import = Call::new("POST", "/api/v1/users:import").token(&rig.token);
    let import = import.raw("text/csv", b"name,password\nhelper,secret\n");
    let refused = import.expect(rig.api, 422).await.json();
    let why = &refused["errors"][0]["detail"];
    assert_eq!(why, "the name is that of a bot");
    let password = Call::new("PUT", "/api/v1/users/helper/password");
    let file = rig.platform.dir().join("password");
    std::fs::write(&file, "secret\n").unwrap();
    let file = file.display().to_string();
    let set = ["admin", "user", "set-password", "helper", "--password-file"];
    let set: Vec<&str> = set.into_iter().chain([file.as_str()]).collect();
    rig.platform.imd(&set).expect_err("a bot has no password");
    let password = password.json(&json!({"password": "secret"}));
    password.token(&rig.token).expect(rig.api, 404).await;

    // As somebody whom nobody knows, at the same cost.
    let all = rig.platform.running("all").unwrap();
    let hashes = async || {
        let metrics = Metrics::read(all).await.unwrap();
        metrics.sum("im_db_proxy_password_hashes", "")
    };
    let secret = bot.token.rsplit('_').next().unwrap().to_owned();
    let mut cost = Vec::new();
    for name in ["nobody", "helper"] {
        let before = hashes().await;
        let mut answers = BTreeSet::new();
        for password in ["", "secret", bot.token.as_str(), &secret] {
            answers.insert(try_login(address, name, password).await);
        }
        cost.push((answers, hashes().await - before));
    }
    assert_eq!(cost[0], cost[1]);
    assert_ne!(cost[0].0.first().unwrap().0, 0);
    // Out of the group it is told no more of it.
    let path = format!("/api/v1/groups/{group}/members/helper");
    rig.ask(Call::new("DELETE", &path), 200).await;
    ann.say(in_group(group), "without it").await;
    group = make_group(&mut ann, "again", &[1, bot.id]).await;
    ann.say(in_group(group), "with it").await;
    let told = bot.read(rig.api, told["next"].as_str().unwrap(), 10).await;
    assert_eq!(texts(&told), ["with it"]);
}

/// A bot acts as itself, and reads what is its own.
#[tokio::test]
async fn a_bots_token_reads_and_writes_for_the_bot_and_for_nobody_else() {
    let rig = Rig::whole(3, &["http_api.read_messages=true"]).await;
    let (bot, other) = (rig.bot("helper").await, rig.bot("other").await);
    let group = rig.group(&["u1", "u2", "other"]).await;
    let text = |text: &str| json!({"from": "u1", "to": "u2", "text": text});
    let private = rig.ask(post("/api/v1/messages", &text("private")), 201);
    let position = private.await["position"].as_str().unwrap().to_owned();
    let to_other = json!({"from": "u1", "to": "other", "text": "for the other"});
    rig.ask(post("/api/v1/messages", &to_other), 201).await;
    for path in [
        "/api/v1/conversations/users-1-2/messages".to_owned(),
        format!("/api/v1/conversations/group-{group}/messages"),
        format!("/api/v1/messages/{position}"),
        "/api/v1/users".to_owned(),
        "/api/v1/tokens".to_owned(),
        "/api/v1/bots".to_owned(),
        "/api/v1/audit".to_owned(),
        "/api/v1/subscriptions".to_owned(),
    ] {
        let refused = get(&path).token(&bot.token).expect(rig.api, 403).await;
        assert_eq!(problem(&refused), "scope-missing", "{path}");
    }
    let hook = json!({"from": "helper", "to": "u1"});
    let hook = post("/api/v1/incoming-hooks", &hook).token(&bot.token);
    hook.expect(rig.api, 403).await;
    let refused = get("/api/v1/bot/updates").token(&rig.token);
    let refused = refused.expect(rig.api, 403).await;
    assert_eq!(problem(&refused), "scope-missing");
    assert_eq!(texts(&bot.read(rig.api, "0", 0).await), [""; 0]);
    let told = other.read(rig.api, "0", 0).await;
    assert_eq!(texts(&told), ["for the other"]);
    for from in ["u1", "other", "nobody"] {
        let wanted = json!({"from": from, "to": "u2", "text": "x"});
        let refused = bot.says(&wanted).expect(rig.api, 403).await;
        assert_eq!(problem(&refused), "not-allowed", "{from}");
    }
    // A member of the group writes there, and nobody else.
    let to_group = json!({"group": group, "text": "hello"});
    let refused = bot.says(&to_group).expect(rig.api, 409).await;
    assert_eq!(problem(&refused), "conflict");
    other.says(&to_group).expect(rig.api, 201).await;
    let itself = json!({"from": "helper", "to": "u2", "text": "hello"});
    let sent = bot.says(&itself).key("k").expect(rig.api, 201).await.json();
    let again = bot.says(&itself).key("k").expect(rig.api, 201).await.json();
    assert_eq!(sent["position"], again["position"]);
    assert_eq!(sent["sender"], bot.id);
    let audit = get("/api/v1/audit?limit=1&action=SendMessage");
    let audit = rig.ask(audit, 200).await;
    assert_eq!(audit["items"][0]["actor"], "bot helper");
    // What it asks for wrongly.
    for wrong in [
        "after=x",
        "after=-1",
        "after=99999",
        "limit=0",
        "limit=101",
        "wait=31",
        "more=1",
    ] {
        let call = get(&format!("/api/v1/bot/updates?{wrong}")).token(&bot.token);
        let refused = call.expect(rig.api, 400).await;
        assert_eq!(problem(&refused), "malformed-request", "{wrong}");
    }
}

/// Whatever ends a token ends it for whoever waits, and for good.
#[tokio::test]
async fn a_token_that_was_replaced_revoked_or_has_ended_is_refused() {
    let rig = Rig::whole(2, &[]).await;
    let bot = rig.bot("helper").await;
    let api = rig.api;
    let replace = async |overlap: u32| {
        let call = Call::new("PUT", "/api/v1/bots/helper/token");
        let call = call.json(&json!({"overlap_seconds": overlap}));
        let token = rig.ask(call, 200).await["token"].clone();
        Bot {
            token: token.as_str().unwrap().to_owned(),
            ..bot.clone()
        }
    };
    let refused = async |bot: &Bot| {
        let read = bot.updates("0", 0).expect(api, 401).await;
        let say = bot.says(&json!({"to": "u1", "text": "x"}));
        say.expect(api, 401).await;
        problem(&read)
    };
    let second = replace(1).await;
    second.read(api, "0", 0).await;
    wait::until("the former one has ended", WAIT, || async {
        let answer = bot.updates("0", 0).send(api).await;
        (answer.status == 401).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(refused(&bot).await, "token-expired");
    // Others are told while they wait.
    let waits = |bot: &Bot| {
        let call = bot.updates("0", 30);
        tokio::spawn(async move { call.send(api).await })
    };
    let all = rig.platform.running("all").unwrap();
    let waiting = async |count: usize| {
        wait::until("so many wait", WAIT, || async {
            (waiters(all).await == count).then_some(())
        })
        .await
        .unwrap();
    };
    let begin = Instant::now();
    let waiter = waits(&second);
    waiting(1).await;
    let third = replace(0).await;
    assert_eq!(problem(&waiter.await.unwrap()), "token-revoked");
    assert_eq!(refused(&second).await, "token-revoked");
    let waiter = waits(&third);
    waiting(1).await;
    let off = Call::new("PATCH", "/api/v1/bots/helper").json(&json!({"active": false}));
    rig.ask(off, 200).await;
    assert_eq!(problem(&waiter.await.unwrap()), "token-revoked");
    assert_eq!(refused(&third).await, "token-revoked");
    let call = Call::new("PUT", "/api/v1/bots/helper/token").json(&json!({}));
    call.token(&rig.token).expect(api, 409).await;
    let on = Call::new("PATCH", "/api/v1/bots/helper").json(&json!({"active": true}));
    rig.ask(on, 200).await;
    let last = replace(0).await;
    last.read(api, "0", 0).await;
    let waiter = waits(&last);
    waiting(1).await;
    rig.ask(Call::new("DELETE", "/api/v1/bots/helper"), 200)
        .await;
    assert_eq!(problem(&waiter.await.unwrap()), "token-revoked");
    assert_eq!(refused(&last).await, "token-revoked");
    assert!(
        begin.elapsed() < Duration::from_secs(25),
        "nobody waited it out"
    );
    // Somebody new of that name does not bring it back.
    rig.bot("helper").await;
    assert_eq!(refused(&last).await, "token-revoked");
    assert_eq!(refused(&bot).await, "token-revoked");
}
