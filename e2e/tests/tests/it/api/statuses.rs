//! Every status that the document promises is seen, for every endpoint, and no other.

mod bots;
mod devices;
mod hooks;
mod jobs;
mod refused;
mod servers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;

use futures::future::join_all;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::calls::{Call, get, post, problem};
use super::{reported, with_files};
use crate::pictures::web::Answer;
use crate::support::*;

/// Statuses by method and path, as the document has them.
type Statuses = BTreeMap<(String, String), BTreeSet<u16>>;

/// An operation of the document, with what its checks need.
#[derive(Clone, Debug)]
struct Operation {
    method: String,
    path: String,
    statuses: BTreeSet<u16>,
    has_token: bool,
    has_query: bool,
    has_body: bool,
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let statuses = operation["responses"].as_object().unwrap().keys();
            let parameters = operation["parameters"].as_array();
            let mut parameters = parameters.into_iter().flatten();
            found.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                statuses: statuses.map(|status| status.parse().unwrap()).collect(),
                has_token: operation["security"].is_array(),
                has_query: parameters.any(|it| it["in"] == "query"),
                has_body: operation["requestBody"].is_object(),
            });
        }
    }
    found
}

impl Operation {
    /// A request that names nobody and nothing, without a body.
    fn bare(&self, query: &str) -> Call {
        let path = self.path.replace("{name}", "nobody");
        let path = path.replace("{id}", "999999").replace("{session}", "5");
        let path = path
            .replace("{conversation}", "group-999999")
            .replace("{position}", "999999")
            .replace("{delivery}", "5");
        Call::new(&self.method, &format!("{path}{query}"))
    }

    /// Which of the two tokens it takes: one that allows everything, or that of a bot.
    fn token<'t>(&self, everything: &'t str, bot: &'t str) -> &'t str {
        if self.path.starts_with("/api/v1/bot/") {
            bot
        } else {
            everything
        }
    }

    /// Whether its body is a file.
    fn takes_file(&self) -> bool {
        self.path.ends_with(":import")
    }

    /// The same with one.
    fn call(&self, query: &str) -> Call {
        let call = self.bare(query);
        if self.takes_file() {
            call.raw("text/csv", b"name\nx\n")
        } else if self.has_body {
            call.json(&json!({}))
        } else {
            call
        }
    }
}

/// What was seen.
#[derive(Default)]
struct Seen(Mutex<Statuses>);

impl Seen {
    fn note(&self, method: &str, path: &str, status: u16) {
        let key = (method.to_owned(), path.to_owned());
        self.0
            .lock()
            .unwrap()
            .entry(key)
            .or_default()
            .insert(status);
    }

    /// Sends a request of an operation, and expects this status.
    async fn expect(&self, of: &Operation, call: Call, to: SocketAddr, status: u16) -> Answer {
        let answer = call.expect(to, status).await;
        self.note(&of.method, &of.path, status);
        if status >= 400 {
            problem(&answer);
        }
        answer
    }

    /// The same by method and path of the document; `with` is the path of the request.
    async fn call(
        &self,
        path: &str,
        call: (&str, &str, Value),
        token: &str,
        to: SocketAddr,
        status: u16,
    ) -> Answer {
        let (method, with, body) = call;
        let mut request = Call::new(method, with).token(token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.expect(to, status).await;
        self.note(method, path, status);
        answer
    }
}

#[tokio::test]
async fn every_documented_status_of_every_endpoint_is_seen() {
    // Without a memory of tokens every request needs db-proxy.
    let fast = [
        "http_api.request_timeout=1s",
        "http_api.import_timeout=1s",
        "http_api.max_import=1MiB",
        "http_api.read_messages=true",
        "http_api.token_memory=0s",
        "trust.hook_networks=[\"127.0.0.0/8\"]",
    ];
    let (mut platform, api, token) = with_files(4, 1, 1, &fast).await;
    let document = get("/api/v1/openapi.json").expect(api, 200).await.json();
    let operations = operations(&document);
    assert!(operations.len() > 25, "{}", operations.len());
    let seen = Seen::default();
    reported(api, &token, 5).await;
    done(&seen, api, &token).await;
    jobs::done(&seen, api, &token).await;
    devices::done(&seen, &mut platform, api, &token).await;
    hooks::done(&seen, &mut platform, api, &token).await;
    let bot = bots::done(&seen, api, &token).await;
    let msg = platform.msg_address("msg1");
    servers::operated(&seen, api, &token, msg).await;
    servers::deleted(&seen, api, &token, msg).await;
    refused::missing_and_conflicts(&seen, api, &token).await;
    refused::in_flight(&seen, api, &token).await;
    refused::refused(&seen, &operations, &platform, api, (&token, &bot)).await;
    refused::limited(&seen, &operations, &mut platform).await;
    // A call hangs while db-proxy stands still, and fails at once when it is gone.
    platform.process("db").unwrap().freeze().await.unwrap();
    join_all(
        operations
            .iter()
            .filter(|it| it.has_token)
            .map(|operation| {
                let call = valid(operation).token(operation.token(&token, &bot));
                seen.expect(operation, call, api, 504)
            }),
    )
    .await;
    platform
        .process("db")
        .unwrap()
        .signal(Signal::SIGCONT)
        .unwrap();
    platform.process("db").unwrap().kill9().unwrap();
    for operation in operations.iter().filter(|it| it.has_token) {
        let call = valid(operation).token(operation.token(&token, &bot));
        seen.expect(operation, call, api, 503).await;
    }
    let documented = operations.into_iter();
    let documented: Statuses = documented
        .map(|it| ((it.method, it.path), it.statuses))
        .collect();
    let seen = seen.0.into_inner().unwrap();
    for (operation, statuses) in &documented {
        let seen = seen.get(operation).cloned().unwrap_or_default();
        assert_eq!(&seen, statuses, "{operation:?}: seen, documented");
    }
}

/// A request whose body is read before db-proxy is asked.
fn valid(operation: &Operation) -> Call {
    if operation.takes_file() {
        return operation.call("");
    }
    let body = match (operation.method.as_str(), operation.path.as_str()) {
        (_, path) if path.ends_with("/users") => json!({"name": "x"}),
        ("PATCH", path) if path.ends_with("/users/{name}") => json!({"nick": "x"}),
        (_, path) if path.ends_with("/name") => json!({"name": "x"}),
        (_, path) if path.ends_with("/password") => json!({"password": "x"}),
        (_, path) if path.ends_with("/status") => json!({"status": "left"}),
        ("POST", path) if path.ends_with("/departments") => json!({"path": "x"}),
        ("PATCH", path) if path.ends_with("/bots/{name}") => json!({"nick": "x"}),
        ("POST", path) if path.ends_with("/bots") => json!({"name": "x"}),
        ("PUT", path) if path.ends_with("/token") => json!({}),
        ("POST", path) if path.ends_with("/discovery-items") => {
            json!({"name": "x", "url": "http://x.example/"})
        }
        ("PATCH", _) => json!({"name": "x"}),
        (_, path) if path.ends_with("/owner") => json!({"owner": "x"}),
        (_, path) if path.ends_with("/members") => json!({"members": ["x"]}),
        (_, path) if path.ends_with("/groups") => json!({"name": "x"}),
        ("POST", path) if path.ends_with("/messages") => {
            json!({"from": "x", "group": 1, "text": "x"})
        }
        ("POST", path) if path.ends_with("/incoming-hooks") => json!({"from": "x", "to": "y"}),
        ("POST", path) if path.ends_with("/announcements") => {
            json!({"from": "x", "text": "x", "everybody": true})
        }
        (_, path) if path.ends_with("/subscriptions") => json!({"url": "https://a.example/"}),
        (_, path) if path.ends_with("/position") => json!({"position": "0"}),
        (_, path) if path.ends_with("/secret") => json!({}),
        (_, path) if path.ends_with("/traces") => json!({}),
        (_, path) if path.ends_with(":shed") => json!({"sessions": 1}),
        (_, path) if path.ends_with("/tokens") => json!({"owner": "x", "scopes": ["users:read"]}),
        _ => Value::Null,
    };
    let call = operation.bare("");
    if operation.has_body {
        call.json(&body)
    } else {
        call
    }
}

/// What succeeds, once each.
async fn done(seen: &Seen, api: SocketAddr, token: &str) {
    let none = Value::Null;
    let v1 = |path: &str| format!("/api/v1{path}");
    let call = async |path: &str, method: &str, with: &str, body: Value, status: u16| {
        let (path, with) = (v1(path), v1(with));
        let answer = seen
            .call(&path, (method, &with, body), token, api, status)
            .await;
        serde_json::from_slice::<Value>(&answer.body).unwrap_or_default()
    };
    let ann = || json!({"name": "ann", "password": "secret"});
    call("/users", "POST", "/users?dry_run=true", ann(), 200).await;
    call("/users", "POST", "/users", ann(), 201).await;
    call("/users", "GET", "/users", none.clone(), 200).await;
    call("/users:export", "GET", "/users:export", none.clone(), 200).await;
    let (import, file) = (v1("/users:import"), b"name,nick\nann,Ann\n");
    let import = Call::new("POST", &import)
        .token(token)
        .raw("text/csv", file);
    import.expect(api, 200).await;
    seen.note("POST", "/api/v1/users:import", 200);
    let one = "/users/{name}";
    call(one, "GET", "/users/ann", none.clone(), 200).await;
    call(one, "PATCH", "/users/ann", json!({"nick": "Ann"}), 200).await;
    let name = json!({"name": "anna"});
    call("/users/{name}/name", "PUT", "/users/ann/name", name, 200).await;
    let password = json!({"password": "another"});
    call(
        "/users/{name}/password",
        "PUT",
        "/users/anna/password",
        password,
        204,
    )
    .await;
    let left = json!({"status": "left"});
    call(
        "/users/{name}/status",
        "PUT",
        "/users/anna/status",
        left,
        200,
    )
    .await;
    for (of, what) in [
        ("/users/{name}/lockouts", "/users/anna/lockouts"),
        ("/users/{name}/refusals", "/users/anna/refusals"),
        ("/users/{name}/sessions", "/users/anna/sessions"),
        ("/sessions", "/sessions"),
        ("/servers", "/servers"),
        ("/servers/{name}", "/servers/msg1"),
        ("/topology", "/topology"),
        ("/events", "/events?seconds=1"),
        ("/audit", "/audit"),
        ("/audit:verify", "/audit:verify"),
        ("/me", "/me"),
        ("/version", "/version"),
        ("/openapi.json", "/openapi.json"),
        ("/departments", "/departments"),
        ("/groups", "/groups"),
        ("/tokens", "/tokens"),
    ] {
        call(of, "GET", what, none.clone(), 200).await;
    }
    for (of, what) in [
        ("/users/{name}/lockouts", "/users/anna/lockouts"),
        ("/users/{name}/sessions", "/users/anna/sessions"),
        ("/users/{name}/sessions/{session}", "/users/anna/sessions/7"),
        (one, "/users/anna"),
    ] {
        call(of, "DELETE", what, none.clone(), 200).await;
    }
    let path = || json!({"path": "Company/Lab"});
    call(
        "/departments",
        "POST",
        "/departments?dry_run=true",
        path(),
        200,
    )
    .await;
    let made = call("/departments", "POST", "/departments", path(), 201).await;
    let id = made["id"].as_u64().unwrap();
    let (of, with) = ("/departments/{id}", format!("/departments/{id}"));
    call(of, "PATCH", &with, json!({"name": "Office"}), 200).await;
    call(of, "DELETE", &with, none.clone(), 200).await;
    let team = || json!({"name": "The team", "owner": "u1", "members": ["u2"]});
    call("/groups", "POST", "/groups?dry_run=true", team(), 200).await;
    let made = call("/groups", "POST", "/groups", team(), 201).await;
    let id = made["id"].as_u64().unwrap();
    let of = |rest: &str| format!("/groups/{{id}}{rest}");
    let with = |rest: &str| format!("/groups/{id}{rest}");
    call(&of(""), "GET", &with(""), none.clone(), 200).await;
    call(&of(""), "PATCH", &with(""), json!({"name": "Another"}), 200).await;
    call(&of("/members"), "GET", &with("/members"), none.clone(), 200).await;
    let u3 = || json!({"members": ["u3"]});
    call(
        &of("/members"),
        "POST",
        &with("/members?dry_run=true"),
        u3(),
        200,
    )
    .await;
    call(&of("/members"), "POST", &with("/members"), u3(), 201).await;
    call(
        &of("/owner"),
        "PUT",
        &with("/owner"),
        json!({"owner": "u2"}),
        200,
    )
    .await;
    let member = &of("/members/{name}");
    call(member, "DELETE", &with("/members/u3"), none.clone(), 200).await;
    call(&of(""), "DELETE", &with(""), none.clone(), 200).await;
    let hello = || json!({"from": "u1", "to": "u2", "text": "hello"});
    call("/messages", "POST", "/messages?dry_run=true", hello(), 200).await;
    let sent = call("/messages", "POST", "/messages", hello(), 201).await;
    let with = format!("/messages/{}", sent["position"].as_str().unwrap());
    call("/messages/{position}", "GET", &with, none.clone(), 200).await;
    let of = "/conversations/{conversation}/messages";
    call(
        of,
        "GET",
        "/conversations/users-1-2/messages",
        none.clone(),
        200,
    )
    .await;
    let new = || json!({"owner": "x", "scopes": ["users:read"]});
    call("/tokens", "POST", "/tokens?dry_run=true", new(), 200).await;
    let made = call("/tokens", "POST", "/tokens", new(), 201).await;
    let with = format!("/tokens/{}", made["id"]);
    call("/tokens/{id}", "DELETE", &with, none.clone(), 200).await;
}
