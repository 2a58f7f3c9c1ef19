//! What the original clients do, byte for byte.

use im_client::dispatch;
use im_proto_teamtalk::buddy::{
    ImChangeAvatarReq, ImChangeAvatarRsp, ImUsersInfoReq, ImUsersInfoRsp,
};
use image::ImageFormat;

use super::web::{Answer, Connection, get, put, send, upload};
use super::{jpeg_size, picture};
use crate::support::*;

/// How a client uploads, and how it makes a URL of the answer.
pub(crate) struct Client {
    pub(crate) name: &'static str,
    /// Behind the base URL.
    path: &'static str,
    boundary: &'static str,
    /// Heads and parts before the content.
    before: &'static str,
    /// Whether it puts its base URL before `path`; the others take `url`.
    takes_path: bool,
    /// What the URL ends with.
    ending: &'static str,
}

/// All who upload.
pub(crate) const CLIENTS: [Client; 5] = [
    Client {
        name: "Windows",
        path: "/upload/",
        boundary: "------------------------5f2a1c9e7b3d",
        before: "Content-Disposition: form-data; name=\"image\"; filename=\"C:\\tmp\\a_400x200.png\"\r\n\
                 Content-Type: image/png\r\n\r\n",
        takes_path: true,
        ending: "_400x200.png",
    },
    Client {
        name: "Mac",
        path: "/",
        boundary: "Boundary+6F5A0D4C8E2B1A37",
        before: "Content-Disposition: form-data; name=\"type\"\r\n\r\nim_image\r\n\
                 --Boundary+6F5A0D4C8E2B1A37\r\n\
                 Content-Disposition: form-data; name=\"image\"; filename=\"image.png_400x200.png\"\r\n\
                 Content-Type: image/png\r\n\r\n",
        takes_path: false,
        ending: "_400x200.png",
    },
    Client {
        name: "iOS",
        path: "/",
        boundary: "Boundary+0123456789ABCDEF",
        before: "Content-Disposition: form-data; name=\"type\"\r\n\r\nim_image\r\n\
                 --Boundary+0123456789ABCDEF\r\n\
                 Content-Disposition: form-data; name=\"image\"; filename=\"image.png_400x200.png\"\r\n\
                 Content-Type: image/jpeg\r\n\r\n",
        takes_path: false,
        ending: "_400x200.png",
    },
    Client {
        name: "Android",
        path: "/",
        boundary: "7cd4a6d158c",
        before: "Content-Disposition: form-data; name=\"file\"; filename=\"1428567890.png\"\r\n\
                 Content-Type: application/octet-stream\r\n\
                 Content-Transfer-Encoding: binary\r\n\r\n",
        takes_path: false,
        ending: ".png",
    },
    Client {
        name: "the PHP site",
        path: "/",
        boundary: "----------------------------a83bd5",
        before: "Content-Disposition: form-data; name=\"file\"; filename=\"avatar.png\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n",
        takes_path: true,
        ending: ".png",
    },
];

impl Client {
    /// Its upload of this content.
    pub(crate) fn request(&self, content: &[u8]) -> Vec<u8> {
        let Self {
            boundary, before, ..
        } = self;
        let before = format!("--{boundary}\r\n{before}");
        let after = format!("\r\n--{boundary}--\r\n");
        let body = [before.as_bytes(), content, after.as_bytes()];
        let content_type = format!("multipart/form-data; boundary={boundary}");
        upload(self.path, &content_type, &body.concat())
    }

    /// The URL that it makes of an answer.
    pub(crate) fn url(&self, base: &str, answer: &Answer) -> String {
        assert_eq!(answer.status, 200, "{}: {answer:?}", self.name);
        assert_eq!(
            answer.header("content-type"),
            Some("text/html;charset=utf-8")
        );
        assert_eq!(answer.header("connection"), Some("close"));
        let json = answer.json();
        assert_eq!(
            (json["error_code"].as_i64(), json["error_msg"].as_str()),
            (Some(0), Some("成功"))
        );
        let text = |key: &str| json[key].as_str().unwrap().to_owned();
        if self.takes_path {
            format!("{base}{}", text("path"))
        } else {
            text("url")
        }
    }
}

/// The path of a URL of this platform.
fn path<'a>(base: &str, url: &'a str) -> &'a str {
    let path = url.strip_prefix(base.trim_end_matches('/'));
    path.unwrap_or_else(|| panic!("{url} is not below {base}, whatever the request's Host says"))
}

/// S-42, S-78: each client finds the store by the dispatcher, uploads in its own way, sends the URL in a
/// message, and whoever gets it fetches the very bytes.
#[tokio::test]
async fn each_original_client_sends_a_picture_and_the_other_side_has_its_bytes() {
    let mut platform = own_platform(2, &[]).await;
    let url = platform.url();
    let base = dispatch::lookup(&url, None, WAIT)
        .await
        .unwrap()
        .files
        .unwrap();
    let address = platform.msfs_address("all");
    assert_eq!(base, format!("http://{address}/"));
    let msg = platform.msg_address("all");
    let mut sender = Terminal::login(msg, 1, Windows).await;
    let mut receiver = Terminal::login(msg, 2, Android).await;
    let mut seen = Vec::new();
    for client in &CLIENTS {
        let content = picture(400, 200, ImageFormat::Png);
        let answer = send(address, &client.request(&content)).await;
        let url = client.url(&base, &answer);
        assert!(url.ends_with(client.ending), "{}: {url}", client.name);
        let place: Vec<_> = path(&base, &url).split('/').collect();
        assert_eq!(
            (place.len(), place[1]),
            (5, "g0"),
            "the depth of the original: {url}"
        );
        sender
            .say(with_user(2), &format!("&$#@~^@[{{:{url}:}}]&$~@#@"))
            .await;
        let text = text_of(&receiver.message().await);
        let told = text.strip_prefix("&$#@~^@[{:").unwrap();
        let told = told.strip_suffix(":}]&$~@#@").unwrap();
        let fetched = get(address, path(&base, told), &[]).await;
        assert_eq!(fetched.status, 200);
        assert_eq!(fetched.header("content-type"), Some("image/png"));
        assert_eq!(fetched.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(fetched.body, content, "{}", client.name);
        assert!(!seen.contains(&url), "a name of its own");
        seen.push(url);
    }
}

/// libcurl, by which Windows and the PHP site upload, waits for a word before it sends a long body.
#[tokio::test]
async fn who_waits_for_a_word_before_the_body_gets_it() {
    let (_platform, address) = super::alone(&[]).await;
    let content = picture(400, 200, ImageFormat::Png);
    let request = CLIENTS[0].request(&content);
    let end = request.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let head = [&request[..end], b"\r\nExpect: 100-continue\r\n\r\n"].concat();
    let mut connection = Connection::open(address).await;
    connection.write(&head).await;
    let word = connection.read_some().await;
    assert_eq!(word, b"HTTP/1.1 100 Continue\r\n\r\n");
    connection.write(&request[end + 4..]).await;
    let answer = Answer::parse(&connection.read_to_end().await);
    assert_eq!(answer.json()["error_code"], 0);
}

/// What is no form, or lacks a part of it, has the original's code in an answer that clients read.
#[tokio::test]
async fn a_broken_form_has_the_originals_code() {
    let (_platform, address) = super::alone(&[]).await;
    let whole = String::from_utf8(CLIENTS[3].request(b"CONTENT")).unwrap();
    let body = whole.split_once("\r\n\r\n").unwrap().1;
    let broken = |from: &str, to: &str| {
        let content_type = "multipart/form-data; boundary=7cd4a6d158c";
        upload("/", content_type, body.replace(from, to).as_bytes())
    };
    for (code, request) in [
        (2, broken("Content-Disposition", "X-Disposition")),
        (3, broken("filename", "file")),
        (4, upload("/", "multipart/form-data", body.as_bytes())),
        (4, upload("/", "application/json", b"{}")),
        (5, broken("7cd4a6d158c", "other")),
        (6, broken("Content-Type", "X-Type")),
        (8, broken("\r\n--7cd4a6d158c--", "")),
        (9, broken(".png", ".p/n/g")),
        (10, broken(".png", "")),
        (11, broken(".png", &format!("{}.png", "a".repeat(300)))),
    ] {
        let answer = send(address, &request).await;
        assert_eq!(
            answer.header("content-type"),
            Some("text/html;charset=utf-8")
        );
        let json = answer.json();
        assert_eq!(
            (answer.status, json["error_code"].as_u64()),
            (200, Some(code)),
            "{json}"
        );
        assert_eq!(
            (json["path"].as_str(), json["url"].as_str()),
            (Some(""), Some(""))
        );
    }
}

/// S-48, S-78: an avatar is a picture; phones and Macs ask for it in their sizes, and for no others.
#[tokio::test]
async fn an_avatar_comes_in_the_sizes_that_clients_ask_for() {
    let mut platform = own_platform(2, &[]).await;
    let address = platform.msfs_address("all");
    let msg = platform.msg_address("all");
    let answer = send(
        address,
        &put("/me.png", &picture(640, 320, ImageFormat::Png)),
    )
    .await;
    assert_eq!(answer.status, 201);
    let url = answer.header("location").unwrap().to_owned();
    let mut mac = Terminal::login(msg, 1, Mac).await;
    let request = ImChangeAvatarReq {
        user_id: 0,
        avatar_url: url.clone(),
        attach_data: None,
    };
    let changed: ImChangeAvatarRsp = mac.ask(Command::ChangeAvatarReq, &request).await;
    assert_eq!(changed.result_code, 0);
    let mut phone = Terminal::login(msg, 2, Ios).await;
    let request = ImUsersInfoReq {
        user_id: 0,
        user_id_list: vec![1],
        attach_data: None,
    };
    let known: ImUsersInfoRsp = phone.ask(Command::UsersInfoReq, &request).await;
    assert_eq!(known.user_info_list[0].avatar_url, url);
    let base = format!("http://{address}/");
    let avatar = path(&base, &url);
    let mut tags = Vec::new();
    for (side, expected) in [
        (32, (32, 16)),
        (100, (100, 50)),
        (200, (200, 100)),
        (310, (310, 155)),
    ] {
        let scaled = format!("{avatar}_{side}x{side}.jpg");
        let first = get(address, &scaled, &[]).await;
        assert_eq!(first.status, 200, "{scaled}");
        assert_eq!(first.header("content-type"), Some("image/jpeg"));
        assert_eq!(jpeg_size(&first.body), expected);
        // Made once: the same bytes with the same tag, and nothing to send to who has them.
        assert_eq!(get(address, &scaled, &[]).await.body, first.body);
        let tag = first.header("etag").unwrap();
        let has = get(address, &scaled, &[("If-None-Match", tag)]).await;
        assert_eq!((has.status, has.body.len()), (304, 0));
        assert!(!tags.contains(&tag.to_owned()));
        tags.push(tag.to_owned());
    }
    let metrics = im_e2e::gauges::Metrics::read(platform.process("all").unwrap());
    let made = metrics.await.unwrap().sum("im_msfs_scaled", "made");
    assert!((made - 4.0).abs() < 0.5, "{made} were made");
    for other in [
        "_33x33.jpg",
        "_100x200.jpg",
        "_1x1.jpg",
        "_4000x4000.jpg",
        "_100x100.png",
    ] {
        let answer = get(address, &format!("{avatar}{other}"), &[]).await;
        assert_eq!(answer.status, 404, "{other}");
    }
}
