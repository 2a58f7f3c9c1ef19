//! What clients ask by HTTP: the way to a msg server, and pictures.

use std::net::SocketAddr;

use image::ImageFormat;
use serde_json::json;

use super::world::World;
use crate::pictures::original::CLIENTS;
use crate::pictures::picture;
use crate::pictures::web::{get, send};

/// Asks the login server with these lines of a head behind the first, and gives the msg server that it names.
/// Every key of the answer is compared.
pub(crate) async fn dispatch(world: &mut World, lines: &str) -> SocketAddr {
    let host = world.login;
    let request = format!("GET /msg_server HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
    let answer = send(host, request.as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // Mac takes nothing else.
    assert_eq!(
        answer.header("content-type"),
        Some("text/html;charset=utf-8")
    );
    assert_eq!(answer.header("connection"), Some("close"));
    let told = answer.json();
    let servers = ["msg1", "msg2"].map(|name| world.platform.msg_address(name));
    let named = servers
        .into_iter()
        .find(|it| told["priorIP"] == it.ip().to_string());
    let here = named.unwrap_or_else(|| panic!("none of {servers:?}: {told}"));
    let expected = json!({
        "code": 0, "msg": "", "priorIP": here.ip().to_string(), "backupIP": here.ip().to_string(),
        // A text: Windows throws on a number.
        "port": here.port().to_string(),
        "msfsPrior": world.base(), "msfsBackup": world.base(),
        "discovery": "http://127.0.0.1:8400/api/discovery",
    });
    assert_eq!(told, expected);
    here
}

/// Uploads a picture in a client's way; gives its URL as that client makes it, and its bytes.
pub(crate) async fn upload(world: &World, client: &str, width: u32) -> (String, Vec<u8>) {
    let way = CLIENTS.iter().find(|it| it.name == client);
    let way = way.expect("a client that uploads");
    let content = picture(width, 200, ImageFormat::Png);
    let answer = send(world.pictures, &way.request(&content)).await;
    (way.url(&world.base(), &answer), content)
}

/// The text that shows a picture: there is no message of its own for one.
pub(crate) fn mark(url: &str) -> String {
    format!("&$#@~^@[{{:{url}:}}]&$~@#@")
}

/// Fetches what a client finds at the URL in such a text, with what it puts behind it.
pub(crate) async fn fetch(world: &World, text: &str, behind: &str) -> Vec<u8> {
    let (_, rest) = text.split_once("&$#@~^@[{:").expect("a mark");
    let (url, _) = rest.split_once(":}]&$~@#@").expect("its end");
    let base = world.base();
    let path = url.strip_prefix(base.trim_end_matches('/')).unwrap();
    let answer = get(world.pictures, &format!("{path}{behind}"), &[]).await;
    assert_eq!(answer.status, 200, "{url}{behind}");
    answer.body
}
