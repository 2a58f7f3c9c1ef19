//! S-72: one message to many people, each of whom has it once, whoever is killed meanwhile.

use futures::StreamExt as _;
use im_e2e::wait;
use im_proto_teamtalk::message::{ImUnreadMsgCntReq, ImUnreadMsgCntRsp};
use serde_json::{Value, json};

use crate::api::calls::{Call, get, post, problem};
use crate::api::rig::Rig;
use crate::history::{expect_unread, latest, read};
use crate::support::*;

impl Rig {
    /// Announces something of user 1; the job's id.
    async fn announce(&self, text: &str, to: Value) -> u64 {
        let mut wanted = json!({"text": text});
        let fields = wanted.as_object_mut().unwrap();
        fields.extend(to.as_object().cloned().unwrap());
        self.announce_as(wanted).await
    }

    /// The same with whatever is said of it.
    async fn announce_as(&self, mut wanted: Value) -> u64 {
        wanted["from"] = json!("u1");
        let job = self.ask(post("/api/v1/announcements", &wanted), 201).await;
        assert_eq!(job["kind"], "announcement");
        job["id"].as_u64().unwrap()
    }

    async fn job(&self, id: u64) -> Value {
        self.ask(get(&format!("/api/v1/jobs/{id}")), 200).await
    }

    /// The job once it is so, also where db-proxy is away for a while.
    async fn job_when(&self, id: u64, holds: impl Fn(&Value) -> bool) -> Value {
        wait::until("a job", WAIT, || async {
            let call = get(&format!("/api/v1/jobs/{id}")).token(&self.token);
            let answer = call.try_send(self.api).await?;
            let job = (answer.status == 200).then(|| answer.json())?;
            holds(&job).then_some(job)
        })
        .await
        .unwrap()
    }

    async fn done(&self, id: u64) -> Value {
        self.job_when(id, |job| job["state"] == "done").await
    }

    /// Texts that user 1 and somebody have in their conversation, the newest first.
    async fn texts(&self, with: u32) -> Vec<String> {
        let path = format!("/api/v1/conversations/users-1-{with}/messages");
        let list = self.ask(get(&path), 200).await;
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|message| message["text"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// Unread messages of user 1.
async fn unread(terminal: &mut Terminal) -> u32 {
    let request = ImUnreadMsgCntReq {
        user_id: 0,
        attach_data: None,
    };
    let answer: ImUnreadMsgCntRsp = terminal.ask(Command::UnreadMsgCntReq, &request).await;
    let of_sender = answer.unreadinfo_list.iter().find(|it| it.session_id == 1);
    of_sender.map_or(0, |unread| unread.unread_cnt)
}

#[tokio::test]
async fn an_announcement_reaches_everybody_once_online_or_away() {
    let mut rig = Rig::whole(12, &["http_api.read_messages=true"]).await;
    let address = rig.platform.msg_address("all");
    let mut online = Vec::new();
    for user in 2..=8 {
        online.push(Terminal::login(address, user, Windows).await);
    }
    let id = rig
        .announce("Lunch is ready", json!({"everybody": true}))
        .await;
    for terminal in &mut online {
        let message = terminal.message().await;
        assert_eq!(message.from_user_id, 1);
        assert_eq!(text_of(&message), "Lunch is ready");
    }
    let done = rig.done(id).await;
    assert_eq!((&done["total"], &done["sent"]), (&json!(11), &json!(11)));
    assert_eq!(done["refused"], 0);
    assert!(done["ended"].is_string(), "{done}");
    for terminal in &mut online {
        assert_eq!(unread(terminal).await, 1);
        assert_eq!(commands(&terminal.settle().await), [], "it came once");
    }
    for user in 9..=12 {
        let mut away = Terminal::login(address, user, Android).await;
        assert_eq!(unread(&mut away).await, 1);
        assert_eq!(rig.texts(user).await, ["Lunch is ready"]);
    }
}

/// `kill -9` of db-proxy again and again in the middle of it: each of 500 people has it exactly once. Chat
/// goes on beside it.
#[tokio::test]
async fn an_announcement_goes_on_after_db_proxy_was_killed_and_nobody_gets_it_twice() {
    const PEOPLE: u32 = 501;
    let own = [
        // The writer's own memory of repetitions holds next to nothing.
        "db_proxy.writer.retry_keys=1",
        "db_proxy.administration.announcement_rate=100",
    ];
    let mut rig = Rig::apart(PEOPLE, &own, &["http_api.read_messages=true"]).await;
    let address = rig.platform.msg_address("msg1");
    let mut ann = Terminal::login(address, 2, Windows).await;
    let id = rig.announce("Lunch", json!({"everybody": true})).await;
    // Chat beside it is acknowledged while it runs.
    rig.job_when(id, |job| job["sent"].as_u64() > Some(0)).await;
    for _ in 0..10 {
        ann.say(with_user(3), "chat").await;
    }
    let job = rig.job(id).await;
    assert_eq!(job["state"], "running", "it was over before: {job}");
    let mut reached = job["sent"].as_u64().unwrap();
    for _ in 0..3 {
        rig.job_when(id, |job| {
            job["sent"].as_u64() > Some(reached) || job["state"] == "done"
        })
        .await;
        rig.platform.kill_and_restart("db").await.unwrap();
        let job = rig.job_when(id, |_| true).await;
        reached = job["sent"].as_u64().unwrap();
    }
    assert!(reached < 500, "the kills came after its end");
    let done = rig.done(id).await;
    assert_eq!((&done["total"], &done["sent"]), (&json!(500), &json!(500)));
    let rig = &rig;
    let wrong = futures::stream::iter(2..=PEOPLE)
        .map(|user| async move { (user, rig.texts(user).await) })
        .buffer_unordered(8)
        .filter(|(_, texts)| std::future::ready(*texts != ["Lunch"]))
        .collect::<Vec<_>>();
    assert_eq!(wrong.await, [], "who has it not, or not once");
}

#[tokio::test]
async fn an_announcement_goes_to_a_department_or_to_people_and_can_be_cancelled() {
    let set = [
        "http_api.read_messages=true",
        "db_proxy.administration.announcement_rate=1",
    ];
    let rig = Rig::whole(8, &set).await;
    for (user, department) in [("u2", "Firm"), ("u3", "Firm/Lab"), ("u4", "Shop")] {
        let made = json!({"path": department});
        rig.ask(post("/api/v1/departments", &made), 201).await;
        let into = json!({"department": department});
        let path = format!("/api/v1/users/{user}");
        rig.ask(Call::new("PATCH", &path).json(&into), 200).await;
    }
    // At one message a second the next one waits for a while.
    let first = rig
        .announce("to the firm", json!({"department": "Firm"}))
        .await;
    let second = rig
        .announce("to some", json!({"users": ["u4", "u5"]}))
        .await;
    let path = format!("/api/v1/jobs/{second}/cancellation");
    let cancel = || Call::new("PUT", &path);
    let judged = Call::new("PUT", &format!("{path}?dry_run=true"));
    assert_eq!(rig.ask(judged, 200).await["state"], "waiting");
    assert_eq!(rig.ask(cancel(), 200).await["state"], "cancelled");
    let again = cancel().token(&rig.token).expect(rig.api, 409).await;
    assert_eq!(problem(&again), "conflict");
    assert_eq!(rig.done(first).await["sent"], 2);
    let third = rig
        .announce("to others", json!({"users": ["u5", "u6"]}))
        .await;
    rig.done(third).await;
    for (user, expected) in [
        (2, &["to the firm"][..]),
        (3, &["to the firm"]),
        (4, &[]),
        (5, &["to others"]),
        (6, &["to others"]),
        (7, &[]),
    ] {
        assert_eq!(rig.texts(user).await, expected, "user {user}");
    }
    let list = rig.ask(get("/api/v1/jobs"), 200).await;
    let states: Vec<_> = { list["items"].as_array().unwrap().iter() }
        .map(|job| job["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["done", "cancelled", "done"]);
}

#[tokio::test]
async fn text_and_people_of_an_announcement_have_their_bounds() {
    let set = [
        "db_proxy.administration.announcement_people=2",
        "db_proxy.administration.max_announcement=64B",
    ];
    let rig = Rig::whole(4, &set).await;
    let refused = async |wanted: Value| {
        let call = post("/api/v1/announcements", &wanted).token(&rig.token);
        let answer = call.expect(rig.api, 422).await;
        assert_eq!(problem(&answer), "invalid");
        answer.json()["detail"].as_str().unwrap().to_owned()
    };
    rig.announce("short", json!({"users": ["u2", "u3"]})).await;
    let three = json!({"from": "u1", "text": "x", "users": ["u2", "u3", "u4"]});
    assert!(refused(three).await.contains("announcement_people"));
    let long = json!({"from": "u1", "text": "x".repeat(65), "everybody": true});
    assert!(refused(long).await.contains("max_announcement"));
    let empty = json!({"from": "u1", "text": "", "everybody": true});
    refused(empty).await;
    let both = json!({"from": "u1", "text": "x", "everybody": true, "users": ["u2"]});
    assert!(refused(both).await.contains("one of these"));
}

/// S-69, S-71, S-73: a notice is a message whose text is its type and content, once for each person who is named
/// however often they are; for who was away it is unread at each login until they have read it.
#[tokio::test]
async fn a_notice_keeps_its_type_and_content_and_waits_until_it_is_read() {
    let mut rig = Rig::whole(4, &["http_api.read_messages=true"]).await;
    let address = rig.platform.msg_address("all");
    let mut online = Terminal::login(address, 2, Windows).await;
    let comment =
        json!({"type": "comment", "content": {"page": 7, "by": "ben", "more": [null, "ü"]}});
    let id = rig
        .announce_as(json!({"notice": comment, "users": ["u2", "u3", "u2", "u3"]}))
        .await;
    let message = online.message().await;
    assert_eq!(message.from_user_id, 1);
    let told: Value = serde_json::from_str(&text_of(&message)).unwrap();
    assert_eq!(told, comment);
    assert_eq!(rig.done(id).await["sent"], 2);
    for _ in 0..2 {
        let mut away = Terminal::login(address, 3, Android).await;
        expect_unread(&mut away, with_user(1), 1).await;
    }
    let mut away = Terminal::login(address, 3, Android).await;
    let newest = latest(&mut away, with_user(1)).await;
    read(&mut away, with_user(1), newest).await;
    expect_unread(&mut away, with_user(1), 0).await;
    let mut again = Terminal::login(address, 3, Android).await;
    expect_unread(&mut again, with_user(1), 0).await;
    // What is no object is kept as well.
    let longest = "é".repeat(128);
    let plain = json!({"type": longest, "content": "plain"});
    let id = rig
        .announce_as(json!({"notice": plain, "users": ["u4"]}))
        .await;
    rig.done(id).await;
    let texts = rig.texts(4).await;
    let told: Value = serde_json::from_str(&texts[0]).unwrap();
    assert_eq!((texts.len(), told), (1, plain));
}

#[tokio::test]
async fn a_notice_has_a_type_and_is_for_somebody() {
    let rig = Rig::whole(2, &[]).await;
    let of = |kind: &str| json!({"type": kind, "content": {}});
    for (wanted, field) in [
        (json!({"notice": of(""), "users": ["u2"]}), "notice.type"),
        (json!({"notice": of(" \t"), "users": ["u2"]}), "notice.type"),
        (
            json!({"notice": of(&"x".repeat(129)), "users": ["u2"]}),
            "notice.type",
        ),
        (
            json!({"notice": of("x"), "text": "y", "users": ["u2"]}),
            "notice",
        ),
        (json!({"users": ["u2"]}), "text"),
        (json!({"notice": of("x"), "users": []}), ""),
    ] {
        let mut wanted = wanted;
        wanted["from"] = json!("u1");
        let call = post("/api/v1/announcements", &wanted).token(&rig.token);
        let answer = call.expect(rig.api, 422).await;
        assert_eq!(problem(&answer), "invalid");
        let at = answer.json()["errors"][0]["field"].clone();
        assert_eq!(at.as_str().unwrap_or_default(), field, "{wanted}");
    }
}
