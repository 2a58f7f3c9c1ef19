//! Push as a role of an ImCluster (S-75): a webhook is told of a message to somebody who is away.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use im_codec::Command;
use im_core::ClientType;
use im_e2e::terminal::{Terminal, with_user};
use im_e2e_kube::layout::NODE_IP;
use im_e2e_kube::wait::{LATER, until};
use im_proto_teamtalk::login::{ImDeviceTokenReq, ImDeviceTokenRsp};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::installation::{Installation, cluster, small};
use crate::optional::{http, others, switch_off};

/// What signs.
const SECRET: &str = "a secret of these tests";

/// Longest request that the webhook reads, bytes.
const LONGEST: usize = 64 << 10;

/// A request of the webhook.
struct Heard {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.iter();
        let found = headers.find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// Whether it is signed as Standard Webhooks say.
    fn is_signed(&self) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let (id, time) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let signed = [format!("{id}.{time}.").as_bytes(), &self.body].concat();
        let expected = format!("v1,{}", STANDARD.encode(hmac::sign(&key, &signed)));
        !id.is_empty() && self.header("webhook-signature") == expected
    }
}

/// Reads one request and takes it.
async fn hear(stream: TcpStream) -> anyhow::Result<Heard> {
    let mut stream = BufReader::new(stream);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        ensure!(headers.len() < 100, "too many headers");
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let mut heard = Heard {
        headers,
        body: Vec::new(),
    };
    let length: usize = heard.header("content-length").parse()?;
    ensure!(length <= LONGEST, "{length} bytes");
    heard.body.resize(length, 0);
    stream.read_exact(&mut heard.body).await?;
    let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    stream.get_mut().write_all(answer).await?;
    Ok(heard)
}

/// A webhook on the node, outside of all pods.
async fn webhook() -> anyhow::Result<(SocketAddr, mpsc::Receiver<Heard>)> {
    let listener = TcpListener::bind((NODE_IP, 0)).await?;
    let address = listener.local_addr()?;
    let (heard, hearing) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            match hear(stream).await {
                Ok(request) => {
                    if heard.send(request).await.is_err() {
                        return;
                    }
                }
                Err(error) => println!("the webhook did not understand: {error:#}"),
            }
        }
    });
    Ok((address, hearing))
}

/// Where clients are sent.
async fn msg(installation: &Installation) -> anyhow::Result<SocketAddr> {
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
async fn told(hearing: &mut mpsc::Receiver<Heard>) -> Value {
    let heard = timeout(LATER, hearing.recv()).await.unwrap().unwrap();
    assert!(heard.is_signed(), "{:?}", heard.headers);
    serde_json::from_slice(&heard.body).unwrap()
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

    let (webhook, mut hearing) = webhook().await.unwrap();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hooks"},
        "stringData": {"secret": SECRET},
    });
    installation.namespace.apply(&secret.to_string()).unwrap();
    let requests = json!({"requests": {"cpu": "10m", "memory": "32Mi"}});
    let push = json!({
        "replicas": 2,
        "resources": requests,
        "webhook": {"url": format!("http://{webhook}/im"), "secretName": "hooks"},
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
    let notice = told(&mut hearing).await;
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
        while told(&mut hearing).await["badge"] != badge {}
    }
    switch_off(&installation, &[("push", "push")]).await;
    assert_eq!(others(&installation).await, before);
}
