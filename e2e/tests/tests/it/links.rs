//! Discovery items: links that administrators make, as clients fetch them from the URL that login tells.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::api::calls::{Call, get, post, problem};
use crate::api::rig::Rig;
use crate::pictures::web::{Answer, send};

/// What a login server tells of the list.
async fn told(rig: &mut Rig) -> String {
    let url = rig.platform.url();
    let host = url.strip_prefix("http://").unwrap().split('/').next();
    let host: SocketAddr = host.unwrap().parse().unwrap();
    let request = format!("GET /msg_server HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let answer = send(host, request.as_bytes()).await.json();
    answer["discovery"].as_str().unwrap().to_owned()
}

/// Fetches a URL as a client does: without a token.
async fn fetch(url: &str) -> Answer {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    get(&format!("/{path}"))
        .expect(host.parse().unwrap(), 200)
        .await
}

#[tokio::test]
async fn links_are_told_byte_by_byte_as_the_original_site_tells_them() {
    let mut rig = Rig::whole(1, &[]).await;
    let url = told(&mut rig).await;
    assert_eq!(url, format!("http://{}/api/discovery", rig.api));
    let empty = fetch(&url).await;
    assert_eq!(empty.body, b"[]");
    assert_eq!(
        empty.header("content-type"),
        Some("text/html; charset=UTF-8")
    );
    let path = "/api/v1/discovery-items";
    let wiki =
        json!({"name": "维基 & \"wiki\"", "url": "https://wiki.example.com/a?b=1", "priority": 2});
    let id = rig.ask(post(path, &wiki), 201).await["id"].clone();
    let mail = json!({"name": "Mail", "url": "http://mail.example.com"});
    rig.ask(post(path, &mail), 201).await;
    let expected = concat!(
        r#"[{"itemName":"\u7ef4\u57fa & \"wiki\"","#,
        r#""itemUrl":"https:\/\/wiki.example.com\/a?b=1","itemPriority":"2"},"#,
        r#"{"itemName":"Mail","itemUrl":"http:\/\/mail.example.com","itemPriority":"0"}]"#,
    );
    let list = fetch(&url).await;
    assert_eq!(String::from_utf8(list.body).unwrap(), expected);
    // In the order in which they were made, whatever their priority.
    let one = format!("{path}/{id}");
    let changed = Call::new("PATCH", &one).json(&json!({"name": "Wiki", "priority": 9}));
    assert_eq!(rig.ask(changed, 200).await["url"], wiki["url"]);
    let list = fetch(&url).await.json();
    assert_eq!(list[0]["itemName"], "Wiki");
    assert_eq!(list[0]["itemPriority"], "9");
    rig.ask(Call::new("DELETE", &one), 200).await;
    let list = fetch(&url).await.json();
    assert_eq!(list.as_array().map(Vec::len), Some(1));
    for (field, bad) in [
        ("name", json!("")),
        ("name", json!("x".repeat(65))),
        ("url", json!("javascript:alert(1)")),
        ("url", json!(format!("https://x/{}", "x".repeat(250)))),
        ("priority", json!(-1)),
        ("priority", json!(2_147_483_648_u32)),
        ("priority", json!("high")),
        ("status", json!(1)),
    ] {
        let mut item = json!({"name": "Wiki", "url": "https://wiki.example.com/"});
        item[field] = bad;
        let refused = post(path, &item).token(&rig.token);
        let refused = refused.expect(rig.api, 422).await;
        assert_eq!(problem(&refused), "invalid", "{item}");
    }
    let audit = rig.ask(get("/api/v1/audit?limit=4"), 200).await;
    let actions: Vec<&Value> = { audit["items"].as_array().unwrap().iter() }
        .map(|row| &row["action"])
        .collect();
    assert_eq!(
        actions,
        [
            "RemoveDiscoveryItem",
            "UpdateDiscoveryItem",
            "CreateDiscoveryItem",
            "CreateDiscoveryItem"
        ]
    );
}

#[tokio::test]
async fn the_list_of_links_has_its_bounds_and_outlives_a_short_absence_of_db_proxy() {
    let set = ["db_proxy.administration.discovery_items=1"];
    let rate = ["http_api.address_rate={burst=6, per_minute=1}"];
    let mut rig = Rig::apart(0, &set, &[]).await;
    let path = "/api/v1/discovery-items";
    let wiki = json!({"name": "Wiki", "url": "https://wiki.example.com/"});
    rig.ask(post(path, &wiki), 201).await;
    let full = post(path, &wiki).token(&rig.token);
    assert_eq!(problem(&full.expect(rig.api, 409).await), "conflict");
    rig.platform
        .start_http_api("meagre", &rate.map(str::to_owned))
        .unwrap();
    rig.platform.ready("meagre").await.unwrap();
    let meagre = rig.platform.http_api_address("meagre");
    for _ in 0..6 {
        get("/api/discovery").expect(meagre, 200).await;
    }
    let limited = get("/api/discovery").expect(meagre, 429).await;
    assert_eq!(problem(&limited), "rate-limited");
    get("/api/discovery").expect(rig.api, 200).await;
    Call::new("POST", "/api/discovery")
        .expect(rig.api, 405)
        .await;
    rig.platform.process("db").unwrap().kill9().unwrap();
    // What it has it shows; then it says why not.
    let gone = im_e2e::wait::until("the list is old", crate::support::WAIT, || async {
        let answer = get("/api/discovery").send(rig.api).await;
        (answer.status != 200).then_some(answer)
    });
    let gone = gone.await.unwrap();
    assert_eq!(
        (gone.status, problem(&gone).as_str()),
        (503, "db-proxy-unavailable")
    );
}
