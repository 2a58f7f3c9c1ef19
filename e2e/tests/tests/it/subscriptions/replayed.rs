//! Requests that somebody has recorded and sends again: the receiver that our README shows refuses them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use im_e2e::documents;

use super::*;
use crate::push::provider::Reply;

/// The receiver of the README, which answers each of these requests with the number of its events, or with -1.
fn judged(secret: &str, requests: &[Value]) -> Vec<i64> {
    let all = documents::all().unwrap();
    let (_, blocks) = all.iter().find(|(name, _)| name == "README.md").unwrap();
    let mut python = blocks.iter().filter(|it| it.language == "python");
    let recipe = &python.next().expect("the README has the receiver").text;
    assert!(python.next().is_none(), "there is one");
    let program = format!(
        "{recipe}\n\
         import sys\n\
         secret, requests = json.load(sys.stdin)\n\
         for it in requests:\n\
         \x20   events = take(it['headers'], it['body'].encode(), secret, it['now'])\n\
         \x20   print(-1 if events is None else len(events))\n"
    );
    let mut child = Command::new("python3")
        .args(["-c", &program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    let mut stdin = child.stdin.take().unwrap();
    let input = json!([secret, requests]).to_string();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn request(heard: &Heard, now: i64) -> Value {
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers = names.map(|name| (name.to_owned(), Value::from(heard.header(name))));
    json!({
        "headers": headers.into_iter().collect::<serde_json::Map<_, _>>(),
        "body": String::from_utf8(heard.body.clone()).unwrap(),
        "now": now,
    })
}

#[tokio::test]
async fn the_receiver_of_the_readme_takes_what_push_sends_and_no_replay_or_forgery() {
    let mut rig = Rig::whole(2, &[]).await;
    let receiver = Provider::start(By::Tcp).await;
    // Not taken at first: what comes again under its id is the same request, signed anew.
    receiver.next(&[Reply::Status(500, "no")]);
    let wanted = json!({"url": url(&receiver)});
    let made = rig.ask(post("/api/v1/subscriptions", &wanted), 201).await;
    let secret = made["secret"].as_str().unwrap();
    let mut ann = Terminal::login(rig.platform.msg_address("all"), 1, Windows).await;
    ann.say(with_user(2), "hello").await;
    let heard = receiver.requests(2).await;
    assert_eq!(heard[0].header("webhook-id"), heard[1].header("webhook-id"));
    let time: i64 = heard[1].header("webhook-timestamp").parse().unwrap();
    let fresh = request(&heard[1], time + 1);
    let changed = |field: &str, value: &str| {
        let mut it = fresh.clone();
        match field {
            "body" => it["body"] = Value::from(value),
            header => it["headers"][header] = Value::from(value),
        }
        it
    };
    let body = String::from_utf8(heard[1].body.clone()).unwrap();
    let forged = body.replace("\"sender\":1", "\"sender\":2");
    assert_ne!(forged, body);
    let later = (time + 301).to_string();
    let requests = [
        // Nothing of what is wrong is remembered: the good one comes behind all of them.
        changed("body", &forged),
        changed("webhook-id", "msg_other"),
        changed("webhook-timestamp", &later),
        changed("webhook-signature", "v1,AAAA"),
        changed("webhook-signature", ""),
        request(&heard[1], time + 301),
        request(&heard[1], time - 301),
        fresh.clone(),
        fresh.clone(),
        request(&heard[0], time + 2),
        request(&heard[1], time + 299),
    ];
    let expected = [-1, -1, -1, -1, -1, -1, -1, 1, 0, 0, 0];
    assert_eq!(judged(secret, &requests), expected);
    let other = format!("whsec_{}", STANDARD.encode([7; 32]));
    assert_eq!(judged(&other, &[fresh]), [-1], "of another secret");
}
