//! What operators and back offices do with an ImCluster: they see every pod and cordon one (S-101), and let a
//! server of their own judge messages (S-68).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::{Context, ensure};
use im_codec::Command;
use im_core::ClientType::{Mac, Windows};
use im_e2e::terminal::{Terminal, text_message, text_of, with_user};
use im_e2e_kube::layout::NODE_IP;
use im_e2e_kube::testing;
use im_e2e_kube::wait::{LATER, until};
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;

use crate::back_office::{certificate, https_to, token};
use crate::installation::{Installation, NAME, cluster, small, with, with_operator};
use crate::notices::msg;
use crate::receiver::{Answer, Receiver, secret};

/// One server of http-api, and how it is asked.
struct Api {
    at: SocketAddr,
    tls: TlsConnector,
    token: String,
}

impl Api {
    /// Every replica by itself.
    async fn of_each_replica(
        installation: &Installation,
        tls: &TlsConnector,
        token: &str,
    ) -> anyhow::Result<Vec<Self>> {
        let pods = installation.pods("http-api").await?;
        let each = pods.iter().map(|pod| -> anyhow::Result<Self> {
            Ok(Self {
                at: SocketAddr::new(testing::address(pod)?.parse()?, 8400),
                tls: tls.clone(),
                token: token.to_owned(),
            })
        });
        each.collect()
    }

    async fn ask(&self, line: &str) -> anyhow::Result<Value> {
        let head = format!("{line} HTTP/1.1\r\nAuthorization: Bearer {}", self.token);
        let (status, answer) = https_to(self.at, &self.tls, &head, "").await?;
        ensure!(status == 200, "{line}: {status} {answer}");
        Ok(answer)
    }

    /// The servers that report to it, by name.
    async fn servers(&self) -> anyhow::Result<BTreeMap<String, Value>> {
        let answer = self.ask("GET /api/v1/servers?limit=100").await?;
        let items = answer["items"].as_array().context("servers")?.iter();
        let named = items.map(|it| Some((it["name"].as_str()?.to_owned(), it.clone())));
        named.collect::<Option<_>>().context("names")
    }

    /// Waits until it knows a server as it is wanted.
    async fn sees(&self, server: &str, what: &str, is: impl Fn(&Value) -> bool) {
        let what = format!("{} to see that {server} {what}", self.at);
        until(&what, LATER, async || {
            let servers = self.servers().await.ok()?;
            is(&servers.get(server)?["msg"]).then_some(())
        })
        .await
        .unwrap();
    }
}

/// The server of a pod: a msg server has its name, others have it between their role and a port.
fn is_server_of(server: &Value, pod: &str) -> bool {
    let (name, role) = (server["name"].as_str(), server["role"].as_str());
    let (name, role) = (name.unwrap_or_default(), role.unwrap_or_default());
    name == pod || name.starts_with(&format!("{role}-{pod}-"))
}

/// A filter on the node that denies what has a word in it.
async fn filter() -> anyhow::Result<Receiver> {
    Receiver::start(|heard| {
        let asked = heard.json();
        let judge = |message: &Value| {
            let text = message["text"].as_str().unwrap_or_default();
            let denied = text.contains("veto") || !heard.is_signed();
            let verdict = if denied { "deny" } else { "allow" };
            json!({"id": message["id"], "verdict": verdict})
        };
        let messages = asked["messages"].as_array().into_iter().flatten();
        Answer::Json(json!({"verdicts": messages.map(judge).collect::<Vec<_>>()}))
    })
    .await
}

/// Every role there is, two servers of the HTTP API, and a filter.
fn everything(filter: SocketAddr) -> Value {
    let role = json!({"resources": {"requests": {"cpu": "10m", "memory": "32Mi"}}});
    let kept = with(role.clone(), &json!({"drain": {"maxSeconds": 5}}));
    let api = json!({"replicas": 2, "tls": {"secretName": "api-tls"}});
    let named = json!({
        "url": format!("http://{filter}/judge"),
        "secretName": "judge",
        "cidrs": [format!("{NODE_IP}/32")],
    });
    let more = json!({
        "roles": {
            "file": kept, "msfs": kept, "push": role,
            "httpApi": with(role.clone(), &api),
            "dbProxy": {"filter": named, "config": {"db_proxy.filter.on_failure": "deny"}},
        },
        "storage": {"blobs": {"volume": {"size": "1Gi"}}},
    });
    with(small(), &more)
}

/// Everybody reports to each replica, and what one is asked the other one sees.
async fn cordon_over_the_api(installation: &Installation, tls: &TlsConnector) {
    let token = token(installation, &["ops:read", "ops:write"]).unwrap();
    let replicas = Api::of_each_replica(installation, tls, &token).await;
    let replicas = replicas.unwrap();
    assert_eq!(replicas.len(), 2);
    let pods: BTreeSet<String> = { installation.pod_ids().await.unwrap() }
        .into_keys()
        .collect();
    assert_eq!(pods.len(), 10, "{pods:?}");
    for api in &replicas {
        let what = format!("every pod to report to {}", api.at);
        until(&what, LATER, async || {
            let servers = api.servers().await.ok()?;
            let reports = |pod: &String| servers.values().any(|it| is_server_of(it, pod));
            let missing: Vec<_> = pods.iter().filter(|pod| !reports(pod)).collect();
            (missing.is_empty() && servers.len() == pods.len()).then_some(())
        })
        .await
        .unwrap();
        let topology = api.ask("GET /api/v1/topology").await.unwrap();
        let roles = topology["roles"].as_array().unwrap().iter();
        let counts = roles.map(|it| (it["role"].as_str().unwrap(), it["servers"].as_u64()));
        let counts: BTreeMap<_, _> = counts.collect();
        for role in ["db-proxy", "route", "login", "file", "msfs", "push"] {
            assert_eq!(counts[role], Some(1), "{topology}");
        }
        assert_eq!([counts["msg"], counts["http-api"]], [Some(2), Some(2)]);
    }
    let msg = installation.pods("msg").await.unwrap();
    let mut names = msg.iter().filter_map(|pod| pod.metadata.name.clone());
    let (cordoned, open) = (names.next().unwrap(), names.next().unwrap());
    let order = |verb: &str| format!("POST /api/v1/servers/{cordoned}:{verb}");
    let answer = replicas[0].ask(&order("cordon")).await.unwrap();
    assert_eq!(answer["cordoned"], true);
    replicas[1]
        .sees(&cordoned, "is cordoned", |it| it["cordoned"] == true)
        .await;
    let (client, _events) = installation.client_again(1).await.unwrap();
    replicas[1]
        .sees(&open, "has the session", |it| it["sessions"] == 1)
        .await;
    replicas[1]
        .sees(&cordoned, "has none", |it| it["sessions"] == 0)
        .await;
    client.close().await;
    replicas[1].ask(&order("uncordon")).await.unwrap();
    replicas[0]
        .sees(&cordoned, "is open", |it| it["cordoned"] == false)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pod_reports_to_each_http_api_and_a_filter_denies_until_it_is_taken_away() {
    let cluster = cluster().await.unwrap();
    let Some(_) = cluster.node("a filter on the node") else {
        return;
    };
    let mut filter = filter().await.unwrap();
    let namespace = with_operator(&cluster, "operations", &[]).await.unwrap();
    let (tls_secret, tls) = certificate("api-tls").unwrap();
    namespace.apply(&tls_secret.to_string()).unwrap();
    let spec = everything(filter.address);
    let installation = Installation::apply_to(namespace, NAME, &spec).unwrap();
    // The pod of db-proxy waits for what signs.
    let message = installation
        .reason("Degraded", "SecretMissing")
        .await
        .unwrap();
    let said = "Secret judge, which spec.roles.dbProxy.filter.secretName names, does not exist";
    assert!(message.starts_with(said), "{message}");
    installation.namespace.apply(&secret("judge")).unwrap();
    installation.ready().await.unwrap();
    installation.import(2).unwrap();
    cordon_over_the_api(&installation, &tls).await;

    let at = msg(&installation).await.unwrap();
    let mut ann = Terminal::login(at, 1, Windows).await;
    let mut ben = Terminal::login(at, 2, Mac).await;
    let veto = || text_message(1, with_user(2), "a veto");
    let denied = ann.send(Command::MsgData, &veto()).await;
    // What comes behind it is acknowledged, so the veto has been heard.
    assert_eq!(ann.say(with_user(2), "hello").await.msg_id, 1);
    let frames = ann.settle().await;
    assert!(
        frames.iter().all(|it| it.header.seq != denied),
        "{frames:?}"
    );
    assert_eq!(text_of(&ben.message().await), "hello");
    assert!(filter.next().await.unwrap().is_signed());
    drop((ann, ben));

    // Without it they go on, and no pod but that of db-proxy has noticed.
    let mut before = installation.pod_ids().await.unwrap();
    let fields = json!({"filter": null, "config": null});
    installation
        .patch(&json!({"roles": {"dbProxy": fields}}))
        .unwrap();
    installation.ready().await.unwrap();
    let (client, _events) = installation.client_again(1).await.unwrap();
    client.close().await;
    let at = msg(&installation).await.unwrap();
    let mut ann = Terminal::login(at, 1, Windows).await;
    assert_eq!(ann.say(with_user(2), "a veto").await.msg_id, 2);
    let mut now = installation.pod_ids().await.unwrap();
    let store = format!("{NAME}-db-proxy-0");
    assert_ne!(now.remove(&store), before.remove(&store));
    assert_eq!(now, before);
}
