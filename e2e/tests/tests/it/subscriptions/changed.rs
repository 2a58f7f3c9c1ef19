//! Changes of groups and of the directory, whoever makes them.

use super::*;
use crate::push::provider::{OK, Reply};

const EVERYTHING: [&str; 5] = [
    "hooks:read",
    "hooks:write",
    "users:write",
    "groups:write",
    "departments:write",
];

/// Events of all requests, each once, in the order in which they came first.
fn events(heard: &[Heard]) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    for request in heard {
        for event in request.json()["events"].as_array().unwrap() {
            let is_known = found.iter().any(|it| it["position"] == event["position"]);
            if !is_known {
                found.push(event.clone());
            }
        }
    }
    found
}

/// What an event is about: its kind, and the id of a group, a person or a department.
fn about(event: &Value) -> (String, u64) {
    let id = ["group", "user", "department"]
        .iter()
        .find_map(|of| event[of].as_u64());
    (event["type"].as_str().unwrap().to_owned(), id.unwrap())
}

#[tokio::test]
async fn receivers_are_told_of_groups_and_of_the_directory_in_order_and_signed() {
    let mut rig = Rig::whole(3, &[]).await;
    rig.token = rig.platform.token(&EVERYTHING, &[]).unwrap();
    let (both, groups) = (
        Provider::start(By::Tcp).await,
        Provider::start(By::Tcp).await,
    );
    let kinds = json!({"kinds": ["group.changed", "directory.changed"]});
    let first = rig.subscribe(&both, kinds).await;
    rig.subscribe(&groups, json!({"kinds": ["group.changed"], "groups": [2]}))
        .await;
    let mut ann = Terminal::login(rig.platform.msg_address("all"), 1, Windows).await;
    // By a client, by administration, by an import.
    let group = make_group(&mut ann, "ours", &[1, 2]).await;
    change_members(&mut ann, group, GroupModifyType::Add, &[3]).await;
    let team = json!({"name": "The team", "owner": "u2"});
    let team = rig.ask(post("/api/v1/groups", &team), 201).await["id"].as_u64();
    let signature = Call::new("PATCH", "/api/v1/users/u2").json(&json!({"signature": "away"}));
    rig.ask(signature, 200).await;
    let lab = post("/api/v1/departments", &json!({"path": "Lab"}));
    let lab = rig.ask(lab, 201).await["id"].as_u64().unwrap();
    let file = Call::new("POST", "/api/v1/users:import").token(&rig.token);
    let file = file.raw("text/csv", b"name,nick\neve,Eve\n");
    file.expect(rig.api, 200).await;
    ann.say(with_user(2), "no change").await;
    let heard = both.wait(|heard| events(heard).len() >= 6).await;
    let told = events(&heard);
    let group_of = |id: u64| ("group.changed".to_owned(), id);
    let entry = |id: u64| ("directory.changed".to_owned(), id);
    let said: Vec<_> = told.iter().map(about).collect();
    let group = u64::from(group);
    let team = team.unwrap();
    let expected = [
        group_of(group),
        group_of(group),
        group_of(team),
        entry(2),
        entry(lab),
        entry(4),
    ];
    assert_eq!(said, expected, "{told:?}");
    assert_eq!(
        (&told[0]["version"], &told[1]["version"]),
        (&json!(1), &json!(2))
    );
    assert!(told[4]["department"].is_u64() && told[5]["user"].is_u64());
    assert!(heard.iter().all(|it| is_signed(it, &first.secret)));
    let heard = groups.wait(|heard| !events(heard).is_empty()).await;
    assert_eq!(
        events(&heard).iter().map(about).collect::<Vec<_>>(),
        [group_of(2)]
    );
    let path = format!("/api/v1/subscriptions/{}", first.id);
    wait::until("everything is behind it", WAIT, || async {
        let subscription = rig.ask(get(&path), 200).await;
        let behind = (&subscription["behind"], &subscription["changes_behind"]);
        (behind == (&json!(0), &json!(0))).then_some(())
    })
    .await
    .unwrap();
    let done = rig.deliveries(first.id, "delivered", |it| !it.is_empty());
    assert_eq!(done.await[0]["log"], "changes");
}

/// Changes are told at least once and in order, also where the receiver fails and db-proxy and push are killed;
/// messages beside them too.
#[tokio::test]
async fn no_change_is_lost_when_the_receiver_fails_and_push_and_db_proxy_are_killed() {
    let mut rig = Rig::apart(2, &[]).await;
    rig.token = rig.platform.token(&EVERYTHING, &[]).unwrap();
    let receiver = Provider::start(By::Tcp).await;
    let kinds = json!({"kinds": ["message.stored", "group.changed"]});
    let made = rig.subscribe(&receiver, kinds).await;
    let mut wanted = Vec::new();
    for round in 0..3 {
        receiver.next(&[Reply::Status(500, "no"), Reply::Hang]);
        for n in 0..4 {
            let group = json!({"name": format!("{round} {n}"), "owner": "u1"});
            let group = rig.ask(post("/api/v1/groups", &group), 201).await;
            wanted.push(("group.changed".to_owned(), group["id"].as_u64().unwrap()));
        }
        let victim = if round % 2 == 0 { "push1" } else { "db" };
        rig.platform.kill_and_restart(victim).await.unwrap();
        receiver
            .wait(|heard| changes_of(heard).len() >= wanted.len())
            .await;
        // The API has found db-proxy again when it answers.
        wait::until("db-proxy answers", WAIT, || async {
            let call = get("/api/v1/subscriptions").token(&rig.token);
            let answer = call.try_send(rig.api).await?;
            (answer.status == 200).then_some(())
        })
        .await
        .unwrap();
    }
    receiver.always(OK);
    let heard = receiver.heard();
    let told: Vec<_> = changes_of(&heard).iter().map(about).collect();
    assert_eq!(told, wanted);
    assert!(heard.iter().all(|it| is_signed(it, &made.secret)));

    // Back to the beginning: the follower of changes has a position of its own.
    let name = format!("subscription-{}-changes", made.id);
    let path = format!("/api/v1/followers/{name}/position");
    let before = heard.len();
    let rewound = Call::new("PUT", &path).json(&json!({"position": "0"}));
    assert_eq!(rig.ask(rewound, 200).await["name"], name);
    let since = |heard: &[Heard]| changes_of(&heard[before..]).len();
    receiver.wait(|heard| since(heard) >= wanted.len()).await;
}

/// Changes of groups that were told.
fn changes_of(heard: &[Heard]) -> Vec<Value> {
    let mut told = events(heard);
    told.retain(|event| event["type"] == "group.changed");
    told
}
