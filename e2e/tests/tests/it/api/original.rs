//! The two calls of the original server (S-68), as its back offices make them.

use serde_json::{Value, json};

use super::calls::{Call, get, post};
use super::{apart, whole};
use crate::support::*;

async fn ask(api: std::net::SocketAddr, path: &str, body: &Value) -> (Value, String) {
    let answer = post(path, body).expect(api, 200).await;
    let kind = answer.header("content-type");
    assert_eq!(kind, Some("text/html;charset=utf-8"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    let text = String::from_utf8(answer.body.clone()).unwrap();
    (answer.json(), text)
}

fn group(members: &[u32]) -> Value {
    json!({
        "req_user_id": 0, "app_key": "asdfasdf", "group_name": "The team", "group_type": 1,
        "group_avatar": "", "user_id_list": members,
    })
}

fn change(group: &Value, kind: u32, members: &[u32]) -> Value {
    json!({
        "req_user_id": 0, "app_key": "asdfasdf", "group_id": group, "modify_type": kind,
        "user_id_list": members,
    })
}

#[tokio::test]
async fn a_group_made_by_the_original_call_is_there_and_its_members_are_told_of_changes() {
    let (mut platform, api, token) = whole(3, &[]).await;
    let create = "/query/CreateGroup";
    let (made, text) = ask(api, create, &group(&[1, 2])).await;
    let id = &made["group_id"];
    let expected = format!(
        "{{\n   \"error_code\" : 0,\n   \"error_msg\" : \"成功\",\n   \"group_id\" : {id}\n}}\n"
    );
    assert_eq!(text, expected);
    let shown = get(&format!("/api/v1/groups/{id}")).token(&token);
    let shown = shown.expect(api, 200).await.json();
    assert_eq!(
        (&shown["fixed"], &shown["owner"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(shown["member_count"], 2);

    let mut one = Terminal::login(platform.msg_address("all"), 1, Windows).await;
    let members = "/query/ChangeMembers";
    let (added, text) = ask(api, members, &change(id, 1, &[3])).await;
    assert_eq!(added, json!({"error_code": 0, "error_msg": "成功"}));
    assert_eq!(
        text,
        "{\n   \"error_code\" : 0,\n   \"error_msg\" : \"成功\"\n}\n"
    );
    let told: im_proto_teamtalk::group::ImGroupChangeMemberNotify =
        one.push(Command::GroupChangeMemberNotify).await;
    assert_eq!((told.user_id, told.chg_user_id_list), (0, vec![3]));
    let (again, _) = ask(api, members, &change(id, 1, &[3])).await;
    assert_eq!(again["error_code"], 12, "all are members already");
    let (removed, _) = ask(api, members, &change(id, 2, &[3])).await;
    assert_eq!(removed["error_code"], 0);
    let (gone, _) = ask(api, members, &change(&json!(999), 1, &[3])).await;
    assert_eq!(
        gone,
        json!({"error_code": 12, "error_msg": "更改群成员失败"})
    );
}

#[tokio::test]
async fn wrong_parameters_have_the_originals_codes() {
    let (_platform, api, _) = whole(2, &[]).await;
    let create = "/query/CreateGroup";
    for (key, wrong, code) in [
        ("req_user_id", Value::Null, 1),
        ("req_user_id", json!("1"), 5),
        ("app_key", json!(7), 5),
        ("group_name", json!(7), 1),
        ("group_type", json!(3), 1),
        ("user_id_list", json!("1"), 1),
        ("group_name", json!(""), 11),
        ("user_id_list", json!([]), 11),
        ("user_id_list", json!([77]), 11),
    ] {
        let mut body = group(&[1]);
        body[key] = wrong;
        let (answer, _) = ask(api, create, &body).await;
        assert_eq!(answer["error_code"], code, "{body}");
    }
    let (answer, _) = ask(api, create, &json!([1])).await;
    assert_eq!(answer["error_code"], 5);
    let raw = Call::new("POST", create).raw("text/plain", b"{");
    assert_eq!(raw.expect(api, 200).await.json()["error_code"], 1);
    // The original looks neither at the method nor at the type of the body.
    let body = group(&[1]).to_string();
    let put = Call::new("PUT", create).raw("text/plain", body.as_bytes());
    assert_eq!(put.expect(api, 200).await.json()["error_code"], 0);
}

#[tokio::test]
async fn lists_of_app_keys_and_addresses_say_who_may_call() {
    let keyed = r#"http_api.original.app_keys=["one"]"#;
    let (_platform, api, _) = apart(1, &[keyed]).await;
    let create = "/query/CreateGroup";
    let (refused, _) = ask(api, create, &group(&[1])).await;
    assert_eq!(
        refused,
        json!({"error_code": 2, "error_msg": "appKey不存在"})
    );
    let mut body = group(&[1]);
    body["app_key"] = json!("one");
    assert_eq!(ask(api, create, &body).await.0["error_code"], 0);

    let elsewhere = r#"http_api.original.addresses=["192.0.2.0/24"]"#;
    let (_platform, api, _) = apart(1, &[elsewhere]).await;
    let (refused, _) = ask(api, create, &group(&[1])).await;
    assert_eq!(refused, json!({"error_code": 6, "error_msg": "未授权的IP"}));

    let (_platform, api, _) = apart(0, &["http_api.original.enabled=false"]).await;
    post(create, &group(&[1])).expect(api, 404).await;
}

#[tokio::test]
async fn without_db_proxy_the_original_call_has_the_code_of_a_server_that_failed() {
    let (mut platform, api, _) = apart(1, &[]).await;
    platform.process("db").unwrap().kill9().unwrap();
    let (answer, _) = ask(api, "/query/CreateGroup", &group(&[1])).await;
    assert_eq!(
        answer,
        json!({"error_code": 10, "error_msg": "服务器异常", "group_id": 0})
    );
}
