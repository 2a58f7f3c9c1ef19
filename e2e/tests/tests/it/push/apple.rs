//! Apple's service as its documents have it: HTTP/2 over TLS, tokens or a certificate, reasons, GOAWAY.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::provider::{By, Heard, OK, Provider, Reply, pki};
use super::webhook::QUICK;
use super::*;

const TOPIC: &str = "com.example.chat";

/// A key for tokens, in a file, and what verifies them.
pub(super) fn key_file(dir: &std::path::Path) -> (String, Vec<u8>) {
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    let document = document.unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref());
    let path = dir.join("AuthKey_TEST.p8");
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(document.as_ref())
    );
    std::fs::write(&path, pem).unwrap();
    let public = key.unwrap().public_key().as_ref().to_vec();
    (path.display().to_string(), public)
}

/// Settings of the provider at this address, which speaks TLS.
fn settings(provider: &Provider) -> Vec<String> {
    let mut all = vec![
        format!("push.apns.url=\"https://{}\"", provider.address),
        format!("push.apns.topic=\"{TOPIC}\""),
        format!("trust.ca_file=\"{}\"", pki("ca.pem")),
    ];
    all.extend(QUICK.map(str::to_owned));
    all
}

async fn started(people: u32, settings: &[String]) -> Platform {
    let set: Vec<&str> = settings.iter().map(String::as_str).collect();
    own_platform(people, &set).await
}

/// Whether the token of a request is one of this key, made lately.
fn is_authorized(heard: &Heard, public: &[u8]) -> bool {
    let token = heard
        .header("authorization")
        .strip_prefix("bearer ")
        .unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (head, claims) = signed.split_once('.').unwrap();
    let part = |part: &str| -> serde_json::Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    assert_eq!(
        (&part(head)["alg"], &part(head)["kid"]),
        (&"ES256".into(), &"KEY".into())
    );
    assert_eq!(part(claims)["iss"], "TEAM");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert!(now.as_secs() - part(claims)["iat"].as_u64().unwrap() < 3_600);
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public);
    key.verify(signed.as_bytes(), &signature).is_ok()
}

fn with_key(provider: &Provider, key: &str) -> Vec<String> {
    let mut set = settings(provider);
    set.extend([
        format!("push.apns.key_file=\"{key}\""),
        "push.apns.key_id=KEY".to_owned(),
        "push.apns.team_id=TEAM".to_owned(),
    ]);
    set
}

/// S-75: one request with the device's token and the badge, as Apple wants it.
#[tokio::test]
async fn apple_is_told_with_a_token_over_one_connection() {
    let provider = Provider::start(By::Tls).await;
    let dir = tempfile::tempdir().unwrap();
    let (key, public) = key_file(dir.path());
    let mut platform = started(2, &with_key(&provider, &key)).await;
    register(&mut platform, "all", 2, Ios, &ios_token(2)).await;
    let mut ann = Terminal::login(platform.msg_address("all"), 1, Windows).await;
    for n in 1..=3 {
        ann.say(with_user(2), "hello").await;
        provider.requests(n).await;
    }
    let heard = provider.heard();
    let first = &heard[0];
    assert_eq!(first.version, hyper::Version::HTTP_2);
    assert_eq!(first.path, format!("/3/device/{}", ios_token(2)));
    assert!(is_authorized(first, &public));
    assert_eq!(first.header("apns-topic"), TOPIC);
    assert_eq!(first.header("apns-push-type"), "alert");
    assert_eq!(first.header("apns-priority"), "10");
    assert_eq!(first.header("apns-collapse-id"), "p1-2");
    assert!(first.header("apns-expiration").parse::<u64>().unwrap() > 0);
    let payload = first.json();
    assert_eq!(payload["aps"]["badge"], 1);
    assert_eq!(payload["aps"]["alert"]["body"], "您收到了一条消息");
    assert!(payload["custom"].is_string());
    assert!(heard.iter().all(|it| it.connection == 1));
    let tokens: Vec<&str> = heard.iter().map(|it| it.header("authorization")).collect();
    assert!(
        tokens.iter().all(|it| *it == tokens[0]),
        "one token serves for a while"
    );
}

#[tokio::test]
async fn a_certificate_does_instead_of_a_token() {
    let provider = Provider::start(By::Mutual).await;
    let mut set = settings(&provider);
    set.extend([
        format!("push.apns.certificate_file=\"{}\"", pki("client.pem")),
        format!(
            "push.apns.certificate_key_file=\"{}\"",
            pki("client.key.pem")
        ),
    ]);
    let mut platform = started(2, &set).await;
    register(&mut platform, "all", 2, Ios, &ios_token(2)).await;
    let mut ann = Terminal::login(platform.msg_address("all"), 1, Windows).await;
    ann.say(with_user(2), "hello").await;
    let heard = provider.requests(1).await;
    assert_eq!(heard[0].header("authorization"), "");
    assert_eq!(heard[0].header("apns-topic"), TOPIC);
}

#[tokio::test]
async fn what_apple_says_is_heeded() {
    let provider = Provider::start(By::Tls).await;
    let dir = tempfile::tempdir().unwrap();
    let (key, _) = key_file(dir.path());
    let mut platform = started(4, &with_key(&provider, &key)).await;
    for user in [2, 3, 4] {
        register(&mut platform, "all", user, Ios, &ios_token(user as u8)).await;
    }
    let mut ann = Terminal::login(platform.msg_address("all"), 1, Windows).await;
    // Throttled, then told to come with another token, then taken.
    let expired = Reply::Status(403, r#"{"reason":"ExpiredProviderToken"}"#);
    provider.next(&[
        Reply::Status(429, r#"{"reason":"TooManyRequests"}"#),
        expired,
        OK,
    ]);
    ann.say(with_user(2), "hello").await;
    let heard = provider.requests(3).await;
    assert!(heard.iter().all(|it| it.path.ends_with(&ios_token(2))));
    // Told to go away in between: the next one goes over another connection.
    provider.go_away();
    ann.say(with_user(2), "hello").await;
    let heard = provider.requests(4).await;
    assert!(heard[3].connection > heard[2].connection);
    // Two devices are gone, each in its way; a bad payload is not the device's fault.
    provider.next(&[Reply::Status(
        410,
        r#"{"reason":"Unregistered","timestamp":1}"#,
    )]);
    ann.say(with_user(3), "gone").await;
    provider.requests(5).await;
    provider.next(&[Reply::Status(400, r#"{"reason":"BadDeviceToken"}"#)]);
    ann.say(with_user(4), "bad").await;
    provider.requests(6).await;
    provider.next(&[Reply::Status(400, r#"{"reason":"PayloadEmpty"}"#)]);
    ann.say(with_user(2), "refused").await;
    provider.requests(7).await;
    for user in [3, 4, 2] {
        ann.say(with_user(user), "who is left").await;
    }
    let heard = provider.requests(8).await;
    assert!(heard[7].path.ends_with(&ios_token(2)));
    assert_eq!(provider.heard().len(), 8);
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_told_nothing() {
    let provider = Provider::start(By::Tls).await;
    let dir = tempfile::tempdir().unwrap();
    let (key, _) = key_file(dir.path());
    let set: Vec<String> = with_key(&provider, &key)
        .into_iter()
        .filter(|it| !it.starts_with("trust."))
        .collect();
    let mut platform = started(2, &set).await;
    register(&mut platform, "all", 2, Ios, &ios_token(2)).await;
    let mut ann = Terminal::login(platform.msg_address("all"), 1, Windows).await;
    ann.say(with_user(2), "hello").await;
    let refused = async {
        while !platform
            .process("all")
            .unwrap()
            .log()
            .contains("a provider does not take notices")
        {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WAIT, refused)
        .await
        .expect("it is told in the log");
    assert_eq!(provider.heard().len(), 0);
}
