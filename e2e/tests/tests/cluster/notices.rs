//! Push as a role of an ImCluster (S-75): a webhook is told of a message to somebody who is away.

use std::net::SocketAddr;

use anyhow::Context;
use im_codec::Command;
use im_core::ClientType;
use im_e2e::terminal::{Terminal, with_user};
use im_e2e_kube::layout::NODE_IP;
use im_e2e_kube::wait::{LATER, until};
use im_proto_teamtalk::login::{ImDeviceTokenReq, ImDeviceTokenRsp};
use serde_json::{Value, json};

use crate::installation::{Installation, cluster, small};
use crate::optional::{http, others, switch_off};
use crate::receiver::{Answer, Receiver, secret};

/// A webhook on the node, which takes everything.
async fn webhook() -> anyhow::Result<Receiver> {
    Receiver::start(|_| Answer::NoContent).await
}

/// Where clients are sent.
pub(crate) async fn msg(installation: &Installation) -> anyhow::Result<SocketAddr> {
    let login = installation.url().await?;
    let login = login.strip_prefix("http://").context("a URL")?.parse()?;
    let (_, body) = http(login, "GET /msg_server", &[]).await?;
    let told: Value = serde_json::from_slice(&body)?;
    let text = |key: &str| told[key].as_str().context("an address").map(str::to_owned);
    Ok(SocketAddr::new(
        text("priorIP")?.parse()?,
        text("port")?.parse()?,
    ))
}

/// A phone of somebody registers its token, and goes.
async fn leave_a_phone(installation: &Installation, user: u32, token: &str) {
    let at = msg(installation).await.unwrap();
    let mut phone = Terminal::login(at, user, ClientType::Ios).await;
    let request = ImDeviceTokenReq {
        user_id: 0,
        device_token: token.to_owned(),
        client_type: None,
        attach_data: None,
    };
    let _: ImDeviceTokenRsp = phone.ask(Command::DeviceTokenReq, &request).await;
    drop(phone);
    let pod = format!("{}-db-proxy-0", installation.name);
    let name = format!("u{user}");
    let list = [
        "/imd", "admin", "session", "list", "--json", "--user", &name,
    ];
    until(&format!("{name} to be away"), LATER, async || {
        let listed = installation.namespace.exec(&pod, &list).ok()?;
        let listed: Value = serde_json::from_str(&listed).ok()?;
        listed.as_array()?.is_empty().then_some(())
    })
    .await
    .unwrap();
}

/// Somebody writes to the person with the phone.
async fn say(installation: &Installation, text: &str) {
    let at = msg(installation).await.unwrap();
    let mut ann = Terminal::login(at, 1, ClientType::Windows).await;
    ann.say(with_user(2), text).await;
}

/// The next notice.
async fn told(webhook: &mut Receiver) -> Value {
    let heard = webhook.next().await.unwrap();
    assert!(heard.is_signed(), "{:?}", heard.headers);
    heard.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_of_a_message_to_somebody_away_and_no_other_pod_notices() {
    let cluster = cluster().await.unwrap();
    let Some(_) = cluster.node("push, which tells a webhook on the node") else {
        return;
    };
    let installation = Installation::on(&cluster, "notices", small(), 2)
        .await
        .unwrap();
    let before = others(&installation).await;
    let token = "02".repeat(32);
    leave_a_phone(&installation, 2, &token).await;
    // Unread, and not told: there was no push yet.
    say(&installation, "a very private text").await;

    let mut webhook = webhook().await.unwrap();
    installation.namespace.apply(&secret("hooks")).unwrap();
    let requests = json!({"requests": {"cpu": "10m", "memory": "32Mi"}});
    let push = json!({
        "replicas": 2,
        "resources": requests,
        "webhook": {"url": format!("http://{}/im", webhook.address), "secretName": "hooks"},
        "providerCidrs": [format!("{NODE_IP}/32")],
    });
    installation
        .patch(&json!({"roles": {"push": push}}))
        .unwrap();
    installation.ready().await.unwrap();
    assert_eq!(others(&installation).await, before);
    let logs = [
        "logs",
        "-l",
        "app.kubernetes.io/component=push",
        "--tail=-1",
    ];
    until("a push server to hold the name", LATER, async || {
        let logs = installation.namespace.kubectl(&logs).ok()?;
        logs.contains("holds its name").then_some(())
    })
    .await
    .unwrap();
    say(&installation, "one more private text").await;
    let notice = told(&mut webhook).await;
    assert_eq!(notice["user_id"], 2);
    assert_eq!(notice["token"], token);
    assert!(!notice.to_string().contains("private"), "{notice}");
    assert_eq!(notice["badge"], 2, "unread messages");

    // Whichever pod works: it goes, and another one, which stood by or came, goes on.
    let pods = installation.pods("push").await.unwrap();
    assert_eq!(pods.len(), 2);
    for (pod, badge) in pods.iter().zip([3, 4]) {
        let name = pod.metadata.name.clone().unwrap();
        let delete = ["delete", "pod", &name, "--wait=false"];
        installation.namespace.kubectl(&delete).unwrap();
        say(&installation, "and on").await;
        // At least once: an earlier one may come again.
        while told(&mut webhook).await["badge"] != badge {}
    }
    switch_off(&installation, &[("push", "push")]).await;
    assert_eq!(others(&installation).await, before);
}
