//! What is asked of servers, and of sessions and files by their ids.

use super::*;
use crate::files::client::{content, stored};

/// Everything that a server answers, and what its state or a key does not allow.
pub(super) async fn operated(seen: &Seen, api: SocketAddr, token: &str, msg: SocketAddr) {
    let list = get("/api/v1/servers").token(token).expect(api, 200).await;
    let list = list.json();
    let mut servers = list["items"].as_array().unwrap().iter();
    let login = servers.find(|it| it["role"] == "login").unwrap();
    let login = login["name"].as_str().unwrap();
    for verb in ["cordon", "uncordon", "shed"] {
        let path = format!("/api/v1/servers/{{name}}:{verb}");
        let call = |name: &str| {
            let with = format!("/api/v1/servers/{name}:{verb}");
            let call = Call::new("POST", &with).token(token);
            if verb == "shed" {
                call.json(&json!({"sessions": 0}))
            } else {
                call
            }
        };
        call("msg1").key(verb).expect(api, 200).await;
        seen.note("POST", &path, 200);
        let refused = call(login).expect(api, 409).await;
        assert_eq!(problem(&refused), "conflict");
        seen.note("POST", &path, 409);
        // The key of a request for something else.
        let other = if verb == "cordon" { "again" } else { "cordon" };
        if verb == "cordon" {
            let uncordon = Call::new("POST", "/api/v1/servers/msg1:uncordon");
            uncordon.token(token).key(other).expect(api, 200).await;
        }
        let refused = call("msg1").key(other).expect(api, 422).await;
        assert_eq!(problem(&refused), "key-reused");
        seen.note("POST", &path, 422);
    }
    let uncordon = Call::new("POST", "/api/v1/servers/msg1:uncordon");
    uncordon.token(token).expect(api, 200).await;
    traced(seen, api, token).await;
    kicked(seen, api, token, msg).await;
}

/// As many traces as there may be, and one more.
async fn traced(seen: &Seen, api: SocketAddr, token: &str) {
    let arm = async |status: u16| {
        let order = ("POST", "/api/v1/traces", json!({"group": 1}));
        seen.call("/api/v1/traces", order, token, api, status).await
    };
    let mut last = Value::Null;
    for _ in 0..4 {
        last = arm(200).await.json()["id"].clone();
    }
    assert_eq!(problem(&arm(409).await), "conflict");
    let with = format!("/api/v1/traces/{}", last.as_str().unwrap());
    for method in ["GET", "DELETE"] {
        let call = (method, with.as_str(), Value::Null);
        seen.call("/api/v1/traces/{id}", call, token, api, 200)
            .await;
    }
}

/// A file that waits is listed and deleted.
pub(super) async fn deleted(seen: &Seen, api: SocketAddr, token: &str, msg: SocketAddr) {
    let mut sender = Terminal::login(msg, 1, Windows).await;
    stored(&mut sender, 1, 2, &content(10)).await;
    let list = ("GET", "/api/v1/files", Value::Null);
    let page = seen.call("/api/v1/files", list, token, api, 200).await;
    let page = page.json();
    let id = page["items"][0]["id"].as_str().unwrap();
    let with = format!("/api/v1/files/{id}");
    for status in [200, 404] {
        let call = ("DELETE", with.as_str(), Value::Null);
        seen.call("/api/v1/files/{id}", call, token, api, status)
            .await;
    }
}

/// The same session is ended by many at the same time, under one key.
async fn kicked(seen: &Seen, api: SocketAddr, token: &str, msg: SocketAddr) {
    let path = "/api/v1/sessions/{id}:kick";
    let mut found = false;
    for attempt in 0..50 {
        let terminal = Terminal::login(msg, 4, Windows).await;
        let page = get("/api/v1/sessions?user=u4").token(token);
        let page = page.expect(api, 200).await.json();
        let id = page["items"][0]["id"].as_str().unwrap();
        let call = Call::new("POST", &format!("/api/v1/sessions/{id}:kick")).token(token);
        let reused = call.clone().key("cordon").expect(api, 422).await;
        assert_eq!(problem(&reused), "key-reused");
        seen.note("POST", path, 422);
        let call = call.key(&format!("kick {attempt}").replace(' ', "-"));
        let answers = join_all((0..6).map(|_| call.send(api))).await;
        let is = |status: u16| answers.iter().any(|answer| answer.status == status);
        assert!(is(200), "{answers:?}");
        seen.note("POST", path, 200);
        drop(terminal);
        if is(409) {
            found = true;
            break;
        }
    }
    assert!(found, "no request met one under way");
    seen.note("POST", path, 409);
}
