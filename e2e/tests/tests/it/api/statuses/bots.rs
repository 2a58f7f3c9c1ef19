//! Bots and discovery items: what succeeds, and what a bot that is switched off does not allow.

use super::*;

/// Gives the token of a bot that stays.
pub(super) async fn done(seen: &Seen, api: SocketAddr, token: &str) -> String {
    let none = Value::Null;
    let ask = async |token: &str, path: &str, method: &str, with: &str, body: Value, status| {
        let (path, with) = (format!("/api/v1{path}"), format!("/api/v1{with}"));
        let answer = seen
            .call(&path, (method, &with, body), token, api, status)
            .await;
        serde_json::from_slice::<Value>(&answer.body).unwrap_or_default()
    };
    let call = async |path: &str, method: &str, with: &str, body: Value, status: u16| {
        ask(token, path, method, with, body, status).await
    };
    let new = |name: &str| json!({"name": name, "nick": "Helper"});
    let of = "/bots";
    call(of, "POST", "/bots?dry_run=true", new("helper"), 200).await;
    let made = call(of, "POST", of, new("helper"), 201).await;
    call(of, "GET", of, none.clone(), 200).await;
    let one = "/bots/{name}";
    call(one, "GET", "/bots/helper", none.clone(), 200).await;
    call(one, "PATCH", "/bots/helper", json!({"nick": "H"}), 200).await;
    let bot = made["token"].as_str().unwrap().to_owned();
    let updates = "/bot/updates";
    ask(&bot, updates, "GET", updates, none.clone(), 200).await;
    call(of, "POST", of, new("other"), 201).await;
    let (of, with) = ("/bots/{name}/token", "/bots/other/token");
    call(of, "PUT", with, json!({}), 200).await;
    let off = json!({"active": false});
    call(one, "PATCH", "/bots/other", off, 200).await;
    call(of, "PUT", with, json!({}), 409).await;
    call(one, "DELETE", "/bots/other", none.clone(), 200).await;

    let item = || json!({"name": "Wiki", "url": "https://wiki.example.com/"});
    let of = "/discovery-items";
    call(of, "POST", "/discovery-items?dry_run=true", item(), 200).await;
    let made = call(of, "POST", of, item(), 201).await;
    call(of, "GET", of, none.clone(), 200).await;
    let (one, with) = (
        "/discovery-items/{id}",
        format!("/discovery-items/{}", made["id"]),
    );
    call(one, "GET", &with, none.clone(), 200).await;
    call(one, "PATCH", &with, json!({"priority": 2}), 200).await;
    call(one, "DELETE", &with, none, 200).await;
    bot
}
