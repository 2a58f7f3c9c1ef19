//! Requests that are answered with anything but success.

use super::*;

/// What is not there, and what the present state does not allow.
pub(super) async fn missing_and_conflicts(seen: &Seen, api: SocketAddr, token: &str) {
    let none = || Value::Null;
    let call = async |path: &str, method: &str, with: &str, body: Value, status: u16| {
        let (path, with) = (format!("/api/v1{path}"), format!("/api/v1{with}"));
        let answer = seen
            .call(&path, (method, &with, body), token, api, status)
            .await;
        problem(&answer)
    };
    for (path, method, with, body) in [
        ("/users", "GET", "/users?department=Nowhere", none()),
        ("/groups", "GET", "/groups?member=nobody", none()),
        (
            "/groups",
            "POST",
            "/groups",
            json!({"name": "g", "owner": "nobody"}),
        ),
        (
            "/users/{name}/push-targets",
            "GET",
            "/users/nobody/push-targets",
            none(),
        ),
        (
            "/users/{name}/push-targets/{id}",
            "DELETE",
            "/users/u1/push-targets/5",
            none(),
        ),
        (
            "/users/{name}/push-targets/{id}:test",
            "POST",
            "/users/u1/push-targets/5:test",
            none(),
        ),
        ("/users/{name}", "GET", "/users/nobody", none()),
        (
            "/users/{name}",
            "PATCH",
            "/users/nobody",
            json!({"nick": "x"}),
        ),
        ("/users/{name}", "DELETE", "/users/nobody", none()),
        (
            "/users/{name}/name",
            "PUT",
            "/users/nobody/name",
            json!({"name": "x"}),
        ),
        (
            "/users/{name}/password",
            "PUT",
            "/users/nobody/password",
            json!({"password": "x"}),
        ),
        (
            "/users/{name}/status",
            "PUT",
            "/users/nobody/status",
            json!({"status": "left"}),
        ),
        (
            "/users/{name}/sessions",
            "GET",
            "/users/nobody/sessions",
            none(),
        ),
        (
            "/users/{name}/sessions",
            "DELETE",
            "/users/nobody/sessions",
            none(),
        ),
        (
            "/users/{name}/sessions/{session}",
            "DELETE",
            "/users/nobody/sessions/5",
            none(),
        ),
        (
            "/departments/{id}",
            "PATCH",
            "/departments/999999",
            json!({"name": "x"}),
        ),
        ("/sessions", "GET", "/sessions?user=nobody", none()),
        (
            "/sessions/{id}:kick",
            "POST",
            "/sessions/999999:kick",
            none(),
        ),
        ("/servers/{name}", "GET", "/servers/nobody", none()),
        (
            "/servers/{name}:cordon",
            "POST",
            "/servers/nobody:cordon",
            none(),
        ),
        (
            "/servers/{name}:uncordon",
            "POST",
            "/servers/nobody:uncordon",
            none(),
        ),
        (
            "/servers/{name}:shed",
            "POST",
            "/servers/nobody:shed",
            json!({"sessions": 1}),
        ),
        ("/traces", "POST", "/traces", json!({"user": "nobody"})),
        ("/files", "GET", "/files?to=nobody", none()),
        ("/traces/{id}", "GET", "/traces/000001", none()),
        ("/traces/{id}", "DELETE", "/traces/000001", none()),
        ("/departments/{id}", "DELETE", "/departments/999999", none()),
        ("/groups/{id}", "GET", "/groups/999999", none()),
        (
            "/groups/{id}",
            "PATCH",
            "/groups/999999",
            json!({"name": "x"}),
        ),
        ("/groups/{id}", "DELETE", "/groups/999999", none()),
        (
            "/groups/{id}/members",
            "GET",
            "/groups/999999/members",
            none(),
        ),
        (
            "/groups/{id}/members",
            "POST",
            "/groups/999999/members",
            json!({"members": ["u1"]}),
        ),
        (
            "/groups/{id}/members/{name}",
            "DELETE",
            "/groups/999999/members/u1",
            none(),
        ),
        (
            "/groups/{id}/owner",
            "PUT",
            "/groups/999999/owner",
            json!({"owner": "u1"}),
        ),
        ("/tokens/{id}", "DELETE", "/tokens/999999", none()),
        (
            "/announcements",
            "POST",
            "/announcements",
            json!({"from": "nobody", "text": "x", "everybody": true}),
        ),
        (
            "/incoming-hooks",
            "POST",
            "/incoming-hooks",
            json!({"from": "nobody", "to": "u1"}),
        ),
        (
            "/incoming-hooks/{id}",
            "DELETE",
            "/incoming-hooks/999999",
            none(),
        ),
        (
            "/bots",
            "POST",
            "/bots",
            json!({"name": "x", "department": "Nowhere"}),
        ),
        ("/bots/{name}", "GET", "/bots/nobody", none()),
        (
            "/bots/{name}",
            "PATCH",
            "/bots/nobody",
            json!({"nick": "x"}),
        ),
        // People are no bots.
        ("/bots/{name}", "DELETE", "/bots/u1", none()),
        ("/bots/{name}/token", "PUT", "/bots/nobody/token", json!({})),
        (
            "/discovery-items/{id}",
            "GET",
            "/discovery-items/999999",
            none(),
        ),
        (
            "/discovery-items/{id}",
            "PATCH",
            "/discovery-items/999999",
            json!({"name": "x"}),
        ),
        (
            "/discovery-items/{id}",
            "DELETE",
            "/discovery-items/999999",
            none(),
        ),
        ("/jobs/{id}", "GET", "/jobs/999999", none()),
        (
            "/jobs/{id}/cancellation",
            "PUT",
            "/jobs/999999/cancellation",
            none(),
        ),
        (
            "/subscriptions/{id}",
            "GET",
            "/subscriptions/999999",
            none(),
        ),
        (
            "/subscriptions/{id}",
            "DELETE",
            "/subscriptions/999999",
            none(),
        ),
        (
            "/subscriptions/{id}/secret",
            "PUT",
            "/subscriptions/999999/secret",
            json!({}),
        ),
        (
            "/subscriptions/{id}/deliveries",
            "GET",
            "/subscriptions/999999/deliveries",
            none(),
        ),
        (
            "/subscriptions/{id}/deliveries/{delivery}/redelivery",
            "PUT",
            "/subscriptions/999999/deliveries/5/redelivery",
            none(),
        ),
        (
            "/followers/{name}/position",
            "PUT",
            "/followers/nobody/position",
            json!({"position": "0"}),
        ),
        (
            "/messages",
            "POST",
            "/messages",
            json!({"from": "nobody", "to": "u1", "text": "x"}),
        ),
        ("/messages/{position}", "GET", "/messages/999999", none()),
        (
            "/conversations/{conversation}/messages",
            "GET",
            "/conversations/group-999999/messages",
            none(),
        ),
    ] {
        assert_eq!(
            call(path, method, with, body, 404).await,
            "not-found",
            "{path}"
        );
    }
    let u1 = json!({"name": "u1"});
    assert_eq!(
        call("/users", "POST", "/users", u1.clone(), 409).await,
        "exists"
    );
    let taken = call("/users/{name}/name", "PUT", "/users/u2/name", u1, 409).await;
    assert_eq!(taken, "exists");
    let lab = post("/api/v1/departments", &json!({"path": "A/B"})).token(token);
    let lab = lab.expect(api, 201).await.json()["id"].clone();
    let parent = get("/api/v1/departments")
        .token(token)
        .expect(api, 200)
        .await
        .json();
    let parent = parent["items"].as_array().unwrap().iter();
    let parent = { parent }.find(|it| it["path"] == "A").unwrap()["id"].clone();
    let (of, with) = ("/departments/{id}", format!("/departments/{parent}"));
    let circle = json!({"parent": "A/B"});
    assert_eq!(call(of, "PATCH", &with, circle, 409).await, "conflict");
    let into = Call::new("PATCH", "/api/v1/users/u1").token(token);
    let into = into.json(&json!({"department": "A/B"}));
    into.expect(api, 200).await;
    let with = format!("/departments/{lab}");
    assert_eq!(call(of, "DELETE", &with, none(), 409).await, "conflict");
    let second = crate::api::transfer::refused_beside_another(api, token).await;
    assert_eq!(problem(&second), "conflict");
    seen.note("POST", "/api/v1/users:import", 409);
    let group = post("/api/v1/groups", &json!({"name": "g", "members": ["u1"]})).token(token);
    let group = group.expect(api, 201).await.json()["id"].clone();
    let with = format!("/groups/{group}/owner");
    let stranger = json!({"owner": "u2"});
    let refused = call("/groups/{id}/owner", "PUT", &with, stranger, 409).await;
    assert_eq!(refused, "conflict");
}

/// The same request twice at the same time under one key.
pub(super) async fn in_flight(seen: &Seen, api: SocketAddr, token: &str) {
    let group = post("/api/v1/groups", &json!({"name": "g", "members": ["u1"]})).token(token);
    let group = group.expect(api, 201).await.json()["id"].clone();
    for (path, with, body) in [
        (
            "/api/v1/users",
            "/api/v1/users".to_owned(),
            json!({"name": "NEW", "password": "x"}),
        ),
        (
            "/api/v1/departments",
            "/api/v1/departments".to_owned(),
            json!({"path": "NEW"}),
        ),
        (
            "/api/v1/groups",
            "/api/v1/groups".to_owned(),
            json!({"name": "NEW", "members": ["u1"]}),
        ),
        (
            "/api/v1/groups/{id}/members",
            format!("/api/v1/groups/{group}/members"),
            json!({"members": ["u2"]}),
        ),
        (
            "/api/v1/messages",
            "/api/v1/messages".to_owned(),
            json!({"from": "u1", "to": "u2", "text": "NEW"}),
        ),
        (
            "/api/v1/incoming-hooks",
            "/api/v1/incoming-hooks".to_owned(),
            json!({"from": "u1", "to": "u2", "label": "NEW"}),
        ),
        (
            "/api/v1/bots",
            "/api/v1/bots".to_owned(),
            json!({"name": "bot-NEW"}),
        ),
        (
            "/api/v1/discovery-items",
            "/api/v1/discovery-items".to_owned(),
            json!({"name": "NEW", "url": "https://NEW.example/"}),
        ),
        (
            "/api/v1/announcements",
            "/api/v1/announcements".to_owned(),
            json!({"from": "u1", "users": ["u2"], "text": "NEW"}),
        ),
        (
            "/api/v1/subscriptions",
            "/api/v1/subscriptions".to_owned(),
            json!({"url": "https://NEW.example/"}),
        ),
        (
            "/api/v1/tokens",
            "/api/v1/tokens".to_owned(),
            json!({"owner": "NEW", "scopes": ["users:read"]}),
        ),
    ] {
        let mut found = false;
        for attempt in 0..200 {
            let key = format!("{path} {attempt}").replace(['/', ' ', '{', '}'], "-");
            let body = body.to_string().replace("NEW", &format!("new{attempt}"));
            let call = Call::new("POST", &with).token(token).key(&key);
            let call = call.raw("application/json", body.as_bytes());
            let answers = join_all((0..6).map(|_| call.send(api))).await;
            let mut answers = answers.iter().filter(|answer| answer.status == 409);
            if answers.any(|answer| problem(answer) == "key-in-flight") {
                found = true;
                break;
            }
        }
        assert!(found, "{path}: no request met one under way");
        seen.note("POST", path, 409);
        let other = Call::new("POST", &with).token(token);
        let other = other.key(&format!("{path} 0").replace(['/', ' ', '{', '}'], "-"));
        let other = other.json(&json!({"name": "other", "path": "other", "owner": "other"}));
        let status = other.send(api).await.status;
        assert!((400..500).contains(&status));
    }
}

/// What is refused by its head or its body.
pub(super) async fn refused(
    seen: &Seen,
    operations: &[Operation],
    platform: &Platform,
    api: SocketAddr,
    (everything, bot): (&str, &str),
) {
    let far = ["--address", "192.0.2.0/24"];
    let far = platform.token(&crate::api::EVERYTHING, &far).unwrap();
    let large = "x".repeat((1 << 20) + 1);
    for operation in operations {
        let token = operation.token(everything, bot);
        if operation.has_token {
            seen.expect(operation, operation.call(""), api, 401).await;
            let call = operation.call("").token(&far);
            seen.expect(operation, call, api, 403).await;
        }
        if operation.has_query {
            let call = operation.call("?nonsense=1").token(token);
            seen.expect(operation, call, api, 400).await;
        }
        if operation.has_body {
            let (mut json, text) = ("application/json", "text/plain");
            if operation.takes_file() {
                json = "text/csv";
            }
            for (kind, body, status) in [
                (json, "{\"nonsense\": 1}", 422),
                (text, "{}", 415),
                (json, large.as_str(), 413),
            ] {
                let call = operation.bare("").token(token).raw(kind, body.as_bytes());
                seen.expect(operation, call, api, status).await;
            }
        }
    }
}

/// What comes beyond the rate of its address.
pub(super) async fn limited(seen: &Seen, operations: &[Operation], platform: &mut Platform) {
    let rate = "http_api.address_rate={burst=1, per_minute=1}".to_owned();
    platform.start_http_api("meagre", &[rate]).unwrap();
    platform.ready("meagre").await.unwrap();
    let meagre = platform.http_api_address("meagre");
    get("/api/v1/version").expect(meagre, 200).await;
    for operation in operations {
        seen.expect(operation, operation.call(""), meagre, 429)
            .await;
    }
}
