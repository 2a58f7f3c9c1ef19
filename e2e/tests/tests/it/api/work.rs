//! What a back office does from the first person to the last row of the audit log.

use serde_json::json;

use super::calls::{Call, get, post, problem};
use super::whole;
use crate::support::*;

/// S-68, S-71: people, departments and groups are made, changed and shown over HTTP, and clients see them.
#[tokio::test]
async fn people_and_groups_made_over_http_are_there_for_clients() {
    let (mut platform, api, token) = whole(1, &[]).await;
    let department = json!({"path": "Company/Research"});
    let made = post("/api/v1/departments", &department).token(&token);
    let made = made.expect(api, 201).await.json();
    assert_eq!(made["path"], "Company/Research");
    let ann = json!({
        "name": "ann", "password": "a good one", "nick": "Ann", "sex": "female",
        "department": "Company/Research", "email": "ann@example.com",
    });
    let added = post("/api/v1/users", &ann).token(&token);
    let added = added.expect(api, 201).await.json();
    assert_eq!(added["department"], "Company/Research");
    let shown = get("/api/v1/users/ann")
        .token(&token)
        .expect(api, 200)
        .await;
    assert_eq!(shown.json(), added);

    let msg = platform.msg_address("all");
    let id = added["id"].as_u64().unwrap() as u32;
    let mut terminal = Terminal::connect(msg).await;
    let mut login = login_request(1, Windows);
    "ann".clone_into(&mut login.user_name);
    login.password = Password::clear("a good one").as_wire().to_owned();
    assert_eq!(
        terminal.try_login(&login).await.user_info.unwrap().user_id,
        id
    );
    let group = json!({"name": "The team", "owner": "ann", "members": ["u1"]});
    let group = post("/api/v1/groups", &group).token(&token);
    let group = group.expect(api, 201).await.json();
    assert_eq!(
        (&group["owner"], &group["member_count"]),
        (&json!("ann"), &json!(2))
    );
    let number = group["id"].as_u64().unwrap();
    let members = get(&format!("/api/v1/groups/{number}/members"));
    let members = members.token(&token).expect(api, 200).await.json();
    assert_eq!(members["items"].as_array().unwrap().len(), 2, "{members}");
    let seen = crate::groups::infos(&mut terminal, &[(number as u32, 0)]).await;
    let ids = &seen[0].group_member_list;
    assert!(ids.contains(&id) && ids.len() == 2);

    let sessions = get("/api/v1/users/ann/sessions").token(&token);
    let sessions = sessions.expect(api, 200).await.json();
    let session = &sessions["items"][0];
    assert_eq!(
        (&session["client"], &session["user"]),
        (&json!("windows"), &json!("ann"))
    );
    let path = format!(
        "/api/v1/users/ann/sessions/{}",
        session["id"].as_str().unwrap()
    );
    let kicked = Call::new("DELETE", &path)
        .token(&token)
        .expect(api, 200)
        .await;
    assert_eq!(kicked.json()["sessions"], 1);
    terminal.closed().await;

    let audit = get("/api/v1/audit?limit=3").token(&token);
    let audit = audit.expect(api, 200).await.json();
    let rows = audit["items"].as_array().unwrap();
    assert_eq!(rows[0]["action"], "KickSession");
    assert_eq!(rows[0]["actor"], "tests");
    assert!(
        rows[0]["credential"]
            .as_str()
            .unwrap()
            .starts_with("token ")
    );
    let id = kicked.header("x-request-id").unwrap();
    assert_eq!(rows[0]["request_id"], id, "the number of the request");
    let verdict = get("/api/v1/audit:verify").token(&token);
    assert_eq!(verdict.expect(api, 200).await.json()["good"], true);
}

/// S-68, S-79: a message sent over HTTP comes at the receiver's terminals and is read back where that is
/// allowed; a type that this API does not send is refused by name.
#[tokio::test]
async fn a_message_sent_over_http_reaches_terminals_and_is_one_under_its_key() {
    let (mut platform, api, token) = whole(2, &["http_api.read_messages=true"]).await;
    let mut two = Terminal::login(platform.msg_address("all"), 2, Windows).await;
    let hello = json!({"from": "u1", "to": "u2", "text": "hello"});
    let call = post("/api/v1/messages", &hello).token(&token).key("hello");
    let first = call.expect(api, 201).await.json();
    assert_eq!(text_of(&two.message().await), "hello");
    let again = call.expect(api, 201).await.json();
    assert_eq!(again["id"], first["id"], "{again}");
    let path = format!(
        "/api/v1/conversations/{}/messages",
        first["conversation"].as_str().unwrap()
    );
    let read = get(&path).token(&token).expect(api, 200).await.json();
    assert_eq!(read["items"].as_array().unwrap().len(), 1, "{read}");
    assert_eq!(read["items"][0]["text"], "hello");
    let path = format!("/api/v1/messages/{}", first["position"].as_str().unwrap());
    let one = get(&path).token(&token).expect(api, 200).await.json();
    assert_eq!(one, read["items"][0]);
    let voice = json!({"from": "u1", "to": "u2", "type": "audio", "text": "x"});
    let refused = post("/api/v1/messages", &voice)
        .token(&token)
        .expect(api, 422)
        .await;
    assert_eq!(problem(&refused), "unsupported-type");
}

/// What people write is not read over the API unless the installation says so.
#[tokio::test]
async fn messages_are_not_read_unless_that_is_switched_on() {
    let (_platform, api, token) = whole(2, &[]).await;
    for path in [
        "/api/v1/conversations/users-1-2/messages",
        "/api/v1/messages/1",
    ] {
        let refused = get(path).token(&token).expect(api, 403).await;
        assert_eq!(problem(&refused), "not-allowed");
    }
}

/// Pages follow each other by their cursors, and a cursor that was changed is refused.
#[tokio::test]
async fn lists_come_in_pages_by_a_signed_cursor() {
    let (_platform, api, token) = whole(5, &[]).await;
    let (mut path, mut seen) = ("/api/v1/users?limit=2".to_owned(), Vec::new());
    let cursor = loop {
        let page = get(&path).token(&token).expect(api, 200).await.json();
        for user in page["items"].as_array().unwrap() {
            seen.push(user["name"].as_str().unwrap().to_owned());
        }
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v1/users?limit=2&cursor={next}"),
            None => break path,
        }
    };
    assert_eq!(seen, ["u1", "u2", "u3", "u4", "u5"]);
    let forged = format!("{cursor}x");
    get(&forged).token(&token).expect(api, 400).await;
    let elsewhere = cursor.replace("/users", "/groups");
    get(&elsewhere).token(&token).expect(api, 400).await;
    let found = get("/api/v1/users?prefix=u3")
        .token(&token)
        .expect(api, 200)
        .await;
    assert_eq!(found.json()["items"].as_array().unwrap().len(), 1);
}
