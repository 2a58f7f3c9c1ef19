//! Google's service as its documents have it: OAuth for a service account, errors with their codes.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::provider::{By, Heard, OK, Provider, Reply};
use super::webhook::QUICK;
use super::*;

const SENT: &str = "/v1/projects/chat-test/messages:send";
const GRANTED: Reply = Reply::Status(200, r#"{"access_token":"granted","expires_in":3600}"#);

/// The file of a service account that asks this provider for tokens, and what verifies what it signs.
fn account(dir: &std::path::Path, provider: &Provider) -> (String, Vec<u8>) {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = key.as_der().unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    let account = serde_json::json!({
        "type": "service_account",
        "project_id": "chat-test",
        "private_key_id": "KEY",
        "private_key": pem,
        "client_email": "push@chat-test.example",
        "token_uri": format!("http://{}/token", provider.address),
    });
    let path = dir.join("account.json");
    std::fs::write(&path, account.to_string()).unwrap();
    (
        path.display().to_string(),
        key.public_key().as_ref().to_vec(),
    )
}

/// Whether the request for a token is signed by the account.
fn is_signed(heard: &Heard, public: &[u8]) -> bool {
    let form = String::from_utf8(heard.body.clone()).unwrap();
    let (grant, assertion) = form.split_once("&assertion=").unwrap();
    assert_eq!(
        grant,
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"
    );
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let (_, claims) = signed.split_once('.').unwrap();
    let claims = URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["iss"], "push@chat-test.example");
    assert_eq!(
        claims["scope"],
        "https://www.googleapis.com/auth/firebase.messaging"
    );
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public);
    key.verify(signed.as_bytes(), &signature).is_ok()
}

#[tokio::test]
async fn google_is_told_as_a_service_account_and_what_it_says_is_heeded() {
    let provider = Provider::start(By::Tcp).await;
    let dir = tempfile::tempdir().unwrap();
    let (account, public) = account(dir.path(), &provider);
    provider.answers(|heard| (heard.path == "/token").then_some(GRANTED));
    let mut set = vec![
        format!("push.fcm.url=\"http://{}\"", provider.address),
        format!("push.fcm.service_account_file=\"{account}\""),
    ];
    set.extend(QUICK.map(str::to_owned));
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    let mut platform = own_platform(3, &set).await;
    register(&mut platform, "all", 2, Android, "android-2").await;
    register(&mut platform, "all", 3, Android, "android-3").await;
    let mut ann = Terminal::login(platform.msg_address("all"), 1, Windows).await;

    ann.say(with_user(2), "hello").await;
    let heard = provider.requests(2).await;
    assert!(is_signed(&heard[0], &public));
    assert_eq!(heard[1].path, SENT);
    assert_eq!(heard[1].header("authorization"), "Bearer granted");
    let message = &heard[1].json()["message"];
    assert_eq!(message["token"], "android-2");
    assert_eq!(message["notification"]["body"], "您收到了一条消息");
    assert_eq!(message["android"]["collapse_key"], "p1-2");
    assert!(message["data"]["custom"].is_string());

    // Busy, then the token is not good any more: a new one is asked for.
    provider.next(&[
        Reply::Slower(503, "0"),
        Reply::Status(401, r#"{"error":{"status":"UNAUTHENTICATED"}}"#),
        OK,
    ]);
    ann.say(with_user(2), "hello").await;
    let heard = provider.requests(6).await;
    let paths: Vec<&str> = heard.iter().skip(2).map(|it| it.path.as_str()).collect();
    assert_eq!(paths, [SENT, SENT, "/token", SENT]);

    let gone = r#"{"error":{"status":"NOT_FOUND","details":[{"errorCode":"UNREGISTERED"}]}}"#;
    provider.next(&[Reply::Status(404, gone)]);
    ann.say(with_user(3), "gone").await;
    provider.requests(7).await;
    ann.say(with_user(2), "fence").await;
    provider.requests(8).await;
    ann.say(with_user(3), "nobody hears of this").await;
    ann.say(with_user(2), "the last one").await;
    let heard = provider.requests(9).await;
    assert_eq!(heard[8].json()["message"]["token"], "android-2");
}
