//! Scenarios 3 and 6: pods, containers and parts of Kubernetes are killed or away while people chat
//! (S-28, S-31, S-34, S-85).

use std::collections::BTreeMap;
use std::time::Duration;

use im_e2e_kube::control::Control;
use im_e2e_kube::parts::Part;
use im_e2e_kube::wait::{LATER, until};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;

use crate::installation::{Installation, small, with};
use crate::scale::{RECOVERY, assert_good};

/// Two of everything that can be two.
fn doubled() -> serde_json::Value {
    with(
        small(),
        &json!({"roles": {"login": {"replicas": 2}, "route": {"replicas": 2}}}),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_and_killed_pods_of_each_role_lose_nothing() {
    let installation = Installation::new("kills", doubled(), 10).await.unwrap();
    let traffic = installation
        .traffic(10, Duration::from_millis(50))
        .await
        .unwrap();
    for component in ["login", "route", "msg", "db-proxy"] {
        traffic.progress(100, RECOVERY).await.unwrap();
        let pod = any_pod(&installation, component).await;
        installation
            .namespace
            .kubectl(&["delete", "pod", &pod, "--wait=false"])
            .unwrap();
        traffic.progress(300, RECOVERY).await.unwrap();
        installation.ready().await.unwrap();

        let pod = any_pod(&installation, component).await;
        installation
            .namespace
            .kubectl(&["delete", "pod", &pod, "--grace-period=0", "--force"])
            .unwrap();
        traffic.progress(300, RECOVERY).await.unwrap();
        installation.ready().await.unwrap();
    }
    let outcome = traffic.finish(RECOVERY).await.unwrap();
    println!("longest absence of a client: {:?}", outcome.absence);
    assert_good(&outcome);
}

async fn any_pod(installation: &Installation, component: &str) -> String {
    let what = format!("a pod of {component}");
    until(&what, LATER, async || {
        let pods = installation.pods(component).await.ok()?;
        let present = pods
            .into_iter()
            .find(|pod| pod.metadata.deletion_timestamp.is_none());
        present.map(|pod| pod.name_any())
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn evictions_are_held_back_by_the_disruption_budget() {
    let installation = Installation::new("evict", small(), 0).await.unwrap();
    let pods = installation.msg_pods(2).await.unwrap();
    let evict = |pod: &str| {
        let body = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": installation.namespace.name()},
        });
        let path = format!(
            "/api/v1/namespaces/{}/pods/{pod}/eviction",
            installation.namespace.name()
        );
        installation
            .namespace
            .kubectl_with_input(&["create", "--raw", &path, "-f", "-"], &body.to_string())
    };
    until("the budget allows one", LATER, async || {
        evict(&pods[0].name_any()).ok()
    })
    .await
    .unwrap();
    let refused = evict(&pods[1].name_any()).unwrap_err();
    let refused = format!("{refused:#}");
    assert!(refused.contains("disruption budget"), "{refused}");
    installation.msg_pods(2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_crashes_again_and_again_is_reported_and_the_others_work() {
    let installation = Installation::new("crash", small(), 10).await.unwrap();
    let traffic = installation
        .traffic(6, Duration::from_millis(50))
        .await
        .unwrap();
    // The override passes the operator's checks, and the program refuses it.
    let args = json!(["login", "--config", "/no/such/file.toml"]);
    let containers = json!({"spec": {"containers": [{"name": "login", "args": args}]}});
    installation
        .patch(&json!({"roles": {"login": {"podOverrides": containers}}}))
        .unwrap();
    let message = installation
        .reason("Degraded", "PodCrashLoop")
        .await
        .unwrap();
    assert!(message.contains("login"), "{message}");
    // What the program left for Kubernetes, and not the end of its log.
    let said = "exit code 64: read configuration file /no/such/file.toml: ";
    assert!(message.contains(said), "{message}");
    traffic.progress(200, RECOVERY).await.unwrap();
    let (client, _events) = installation.client(7).await.unwrap();
    client.close().await;
    let none = json!({"spec": null});
    installation
        .patch(&json!({"roles": {"login": {"podOverrides": none}}}))
        .unwrap();
    installation.ready().await.unwrap();
    assert_good(&traffic.finish(RECOVERY).await.unwrap());
}

/// How long something of Kubernetes is away.
fn absence() -> Duration {
    if std::env::var_os("IM_TORTURE").is_some() {
        Duration::from_mins(5)
    } else {
        Duration::from_secs(60)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn must_never_2_chat_goes_on_without_the_operator() {
    let installation = Installation::new("alone", small(), 10).await.unwrap();
    let traffic = installation
        .traffic(10, Duration::from_millis(50))
        .await
        .unwrap();
    let scale = |replicas: &str| {
        let args = ["scale", "deployment", "im-operator", "--replicas", replicas];
        installation.namespace.kubectl(&args).unwrap();
    };
    let pods = installation.pod_ids().await.unwrap();
    scale("0");
    chat_for(absence(), &traffic).await;
    assert_eq!(installation.pod_ids().await.unwrap(), pods);
    // A pod that dies is replaced without the operator.
    let pod = any_pod(&installation, "route").await;
    installation
        .namespace
        .kubectl(&["delete", "pod", &pod, "--wait=false"])
        .unwrap();
    traffic.progress(300, RECOVERY).await.unwrap();
    scale("1");
    installation.ready().await.unwrap();
    assert_good(&traffic.finish(RECOVERY).await.unwrap());
}

async fn chat_for(time: Duration, traffic: &im_e2e::traffic::Traffic) {
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        traffic.progress(100, RECOVERY).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_goes_on_without_the_api_server_and_etcd() {
    let cluster = crate::installation::cluster_alone().await.unwrap();
    let Some(node) = cluster.node("the API server and etcd are stopped") else {
        return;
    };
    let installation = Installation::on(&cluster, "noapi", small(), 10)
        .await
        .unwrap();
    let url = installation.url().await.unwrap();
    let traffic = installation
        .traffic(10, Duration::from_millis(50))
        .await
        .unwrap();
    let before = containers(&installation).await;
    away(node, Part::KubeApiserver, &traffic).await;
    api_answers(&installation).await;
    away(node, Part::Etcd, &traffic).await;
    api_answers(&installation).await;
    installation.ready().await.unwrap();
    traffic.progress(300, RECOVERY).await.unwrap();
    assert_eq!(url, installation.url().await.unwrap());
    assert_eq!(
        containers(&installation).await,
        before,
        "nothing was rolled or restarted"
    );
    assert_good(&traffic.finish(RECOVERY).await.unwrap());
}

async fn away(node: &Control, part: Part, traffic: &im_e2e::traffic::Traffic) {
    node.stop(part).await.unwrap();
    chat_for(absence(), traffic).await;
    node.start(part).await.unwrap();
}

async fn api_answers(installation: &Installation) {
    until("the API server answers", LATER, async || {
        installation.pod_ids().await.ok()
    })
    .await
    .unwrap();
}

/// Pods, the operator's included, and how often their containers were started.
async fn containers(installation: &Installation) -> BTreeMap<String, i32> {
    let of_operator = ListParams::default().labels("app.kubernetes.io/name=im-operator");
    let operators = installation.namespace.api::<Pod>();
    let operators = operators.list(&of_operator).await.unwrap().items;
    let mut found = restarts(&operators);
    found.extend(servers(installation).await);
    found
}

/// The same of the servers that are not about to go.
pub(crate) async fn servers(installation: &Installation) -> BTreeMap<String, i32> {
    restarts_of(installation, &["login", "msg", "route", "db-proxy"]).await
}

/// The same of the pods of these components.
pub(crate) async fn restarts_of(
    installation: &Installation,
    components: &[&str],
) -> BTreeMap<String, i32> {
    let mut all = Vec::new();
    for component in components {
        all.extend(installation.pods(component).await.unwrap());
    }
    all.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    restarts(&all)
}

fn restarts(pods: &[Pod]) -> BTreeMap<String, i32> {
    let mut found = BTreeMap::new();
    for pod in pods {
        let statuses = pod
            .status
            .iter()
            .flat_map(|status| &status.container_statuses);
        let restarts = statuses.flatten().map(|status| status.restart_count).sum();
        found.insert(pod.uid().unwrap_or_default(), restarts);
    }
    found
}
