//! The webhook, and with it all that every provider has in common.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::provider::{By, Heard, OK, Provider, Reply};
use super::*;

/// Settings under which a test need not wait long.
pub(super) const QUICK: [&str; 6] = [
    "push.attempt_timeout=2s",
    "push.gather=10ms",
    "push.flush_interval=50ms",
    "push.retry_min=50ms",
    "push.retry_max=500ms",
    "push.pause=200ms",
];

/// Settings of the webhook; the secret lies in this folder.
pub(crate) fn settings(provider: &Provider, dir: &std::path::Path) -> Vec<String> {
    let secret = dir.join("webhook-secret");
    std::fs::write(&secret, SECRET).unwrap();
    let mut all = vec![
        format!("push.webhook.url=\"http://{}/im\"", provider.address),
        format!("push.webhook.secret_file=\"{}\"", secret.display()),
    ];
    all.extend(QUICK.map(str::to_owned));
    all
}

/// A platform of one process with a webhook.
pub(super) async fn with_webhook(
    people: u32,
    provider: &Provider,
    more: &[&str],
) -> (Platform, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut set = settings(provider, dir.path());
    set.extend(more.iter().map(|it| (*it).to_owned()));
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    (own_platform(people, &set).await, dir)
}

/// Whether a request is signed by this secret.
pub(crate) fn is_signed(heard: &Heard, secret: impl AsRef<[u8]>) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref());
    let (id, time) = (
        heard.header("webhook-id"),
        heard.header("webhook-timestamp"),
    );
    let signed = [format!("{id}.{time}.").as_bytes(), &heard.body].concat();
    let expected = format!("v1,{}", STANDARD.encode(hmac::sign(&key, &signed).as_ref()));
    let mut signatures = heard.header("webhook-signature").split(' ');
    !id.is_empty() && signatures.any(|signature| signature == expected)
}

/// S-75: a client registers a token, goes offline, gets a message: one signed request.
#[tokio::test]
async fn somebody_offline_is_told_of_a_message_once_and_somebody_online_is_not() {
    let provider = Provider::start(By::Tcp).await;
    let (mut platform, _dir) = with_webhook(4, &provider, &[]).await;
    register(&mut platform, "all", 2, Ios, &ios_token(2)).await;
    let mut online = Terminal::login(platform.msg_address("all"), 3, Android).await;
    set_token(&mut online, "android-3").await;
    let mut ann = Terminal::login(platform.msg_address("all"), 1, Windows).await;
    ann.say(with_user(3), "you are here").await;
    ann.say(with_user(2), "a very private text").await;
    let heard = provider.requests(1).await;
    assert!(is_signed(&heard[0], SECRET));
    assert_eq!(heard[0].path, "/im");
    let told = heard[0].json();
    assert_eq!(told["user_id"], 2);
    assert_eq!(told["client_type"], "ios");
    assert_eq!(told["token"], ios_token(2));
    assert_eq!(told["badge"], 1);
    assert_eq!(told["alert"], "您收到了一条消息", "neither name nor text");
    let custom = told["payload"]["custom"].as_str().unwrap();
    let custom: serde_json::Value = serde_json::from_str(custom).unwrap();
    assert_eq!(
        (&custom["from_id"], &custom["msg_type"]),
        (&1.into(), &1.into())
    );
    assert_eq!(told["payload"]["aps"]["sound"], "bingbong.aiff");
    // A later notice comes behind whatever was on its way.
    ann.say(with_user(2), "one more").await;
    let heard = provider.requests(2).await;
    assert_eq!(heard[1].json()["badge"], 2);
    let users: Vec<_> = heard
        .iter()
        .map(|it| it.json()["user_id"].clone())
        .collect();
    assert_eq!(users, [2, 2]);
    let body = String::from_utf8(heard[0].body.clone()).unwrap();
    assert!(!body.contains("private"), "{body}");
}

#[tokio::test]
async fn a_preview_shows_name_and_text_cut_at_a_character() {
    let provider = Provider::start(By::Tcp).await;
    let (mut platform, _dir) = with_webhook(
        2,
        &provider,
        &["push.preview=text", "push.preview_bytes=12B"],
    )
    .await;
    register(&mut platform, "all", 2, Ios, &ios_token(2)).await;
    let mut ann = Terminal::login(platform.msg_address("all"), 1, Windows).await;
    ann.say(with_user(2), "好好好好").await;
    let told = provider.requests(1).await[0].json();
    let alert = told["alert"].as_str().unwrap();
    let (name, text) = alert.split_once(':').unwrap();
    assert!(!name.is_empty());
    assert!(
        text.ends_with("...") && text.trim_end_matches('.').chars().all(|c| c == '好'),
        "{alert}"
    );
    assert!(alert.len() <= 12 + 3);
}

/// What a provider says decides: again, never, forget the device.
#[tokio::test]
async fn a_notice_is_tried_again_until_it_is_taken_and_a_device_that_is_gone_is_forgotten() {
    let provider = Provider::start(By::Tcp).await;
    let (mut platform, _dir) = with_webhook(3, &provider, &[]).await;
    register(&mut platform, "all", 2, Ios, &ios_token(2)).await;
    register(&mut platform, "all", 3, Ios, &ios_token(3)).await;
    let mut ann = Terminal::login(platform.msg_address("all"), 1, Windows).await;
    provider.next(&[Reply::Status(503, ""), Reply::Slower(429, "1"), OK]);
    ann.say(with_user(2), "again").await;
    let heard = provider.requests(3).await;
    let ids: Vec<&str> = heard.iter().map(|it| it.header("webhook-id")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "one notice: {ids:?}");
    assert!(heard.iter().all(|it| is_signed(it, SECRET)));
    let sent = |n: usize| -> u32 { heard[n].header("webhook-timestamp").parse().unwrap() };
    assert!(sent(2) > sent(1), "it was told to wait a second");

    provider.next(&[Reply::Status(410, "")]);
    ann.say(with_user(2), "to a device that is gone").await;
    provider.requests(4).await;
    // Messages are looked at in order: what came for the other one was decided later.
    provider.next(&[Reply::Status(400, "")]);
    ann.say(with_user(3), "refused").await;
    provider.requests(5).await;
    ann.say(with_user(2), "nobody hears of this").await;
    ann.say(with_user(3), "the last one").await;
    let heard = provider.requests(6).await;
    let users: Vec<_> = heard
        .iter()
        .skip(4)
        .map(|it| it.json()["user_id"].clone())
        .collect();
    assert_eq!(users, [3, 3]);
}

#[tokio::test]
async fn every_device_of_a_person_is_told_and_one_that_signed_out_is_not() {
    let provider = Provider::start(By::Tcp).await;
    let (mut platform, _dir) = with_webhook(2, &provider, &[]).await;
    register(&mut platform, "all", 2, Ios, &ios_token(1)).await;
    register(&mut platform, "all", 2, Android, "android").await;
    let mut tablet = Terminal::login(platform.msg_address("all"), 2, Ios).await;
    set_token(&mut tablet, &ios_token(3)).await;
    sign_out(&mut tablet).await;
    gone(&platform, 2);
    let mut ann = Terminal::login(platform.msg_address("all"), 1, Windows).await;
    ann.say(with_user(2), "to both").await;
    let heard = provider.requests(2).await;
    let mut tokens: Vec<String> = heard
        .iter()
        .map(|it| it.json()["token"].as_str().unwrap().to_owned())
        .collect();
    tokens.sort();
    assert_eq!(tokens, [ios_token(1), "android".to_owned()]);
}
