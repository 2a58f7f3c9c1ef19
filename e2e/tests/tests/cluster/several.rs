//! Scenario 8: several ImClusters and operators side by side; a new operator rolls nothing.

use im_e2e_kube::testing::{self, helm};
use im_e2e_kube::wait::{LATER, until};
use serde_json::json;

use crate::installation::{
    CHARTS, Installation, NAME, cluster, cluster_alone, install_operator, repository, small, with,
    with_operator,
};

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_in_one_namespace_do_not_meet() {
    let first = Installation::new("pair", small(), 2).await.unwrap();
    first
        .namespace
        .apply(&crate::installation::manifest("other", &small()).to_string())
        .unwrap();
    let name =
        |name: &str| ["get", "secret", name, "-o", "jsonpath={.data.secret}"].map(str::to_owned);
    until("the other one is ready", LATER, async || {
        let object = first.namespace.imcluster("other").await.ok()?;
        let conditions = object["status"]["conditions"].as_array()?;
        conditions
            .iter()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
            .then_some(())
    })
    .await
    .unwrap();
    let secret = |of: &str| {
        let args = name(&format!("{of}-internal"));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        first.namespace.kubectl(&args).unwrap()
    };
    assert_ne!(secret(NAME), secret("other"));
    // The other one has no people: they were imported into the first one only.
    first.client(1).await.unwrap().0.close().await;
    let args = ["delete", "imclusters", "other", "--wait"];
    first.namespace.kubectl(&args).unwrap();
    first.client(2).await.unwrap().0.close().await;
    first.ready().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_operator_serves_all_namespaces() {
    // It would look after namespaces of other tests.
    let cluster = cluster_alone().await.unwrap();
    let home = with_operator(&cluster, "wide", &["watch.allNamespaces=true"])
        .await
        .unwrap();
    let first = cluster.namespace("wide-a").await.unwrap();
    let second = cluster.namespace("wide-b").await.unwrap();
    let first = Installation::apply_to(first, NAME, &small()).unwrap();
    let second = Installation::apply_to(second, NAME, &small()).unwrap();
    first.ready().await.unwrap();
    second.ready().await.unwrap();
    for installation in [&first, &second] {
        installation.import(1).unwrap();
        installation.client(1).await.unwrap().0.close().await;
        let delete = ["delete", "imclusters", NAME, "--wait"];
        installation.namespace.kubectl(&delete).unwrap();
    }
    home.helm(&["uninstall", "im-operator", "--wait"]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn must_never_3_another_operator_rolls_no_pod() {
    let installation = Installation::new("upgrade", small(), 0).await.unwrap();
    let before = installation.pod_ids().await.unwrap();
    let servers = |pods: std::collections::BTreeMap<String, String>| {
        let mut pods = pods;
        pods.retain(|name, _| name.starts_with(NAME));
        pods
    };
    // Another version as far as Kubernetes can see: another pod, other settings.
    install_operator(
        &installation.namespace,
        &["podLabels.release=next", "concurrency=8"],
    )
    .unwrap();
    // It has looked at everything once it has done something.
    installation
        .patch(&json!({"load": {"mirror": "None"}}))
        .unwrap();
    installation.ready().await.unwrap();
    assert_eq!(
        servers(installation.pod_ids().await.unwrap()),
        servers(before.clone())
    );
    let namespace = ["--namespace", installation.namespace.name()];
    let rollback = ["rollback", "im-operator", "1", "--wait"];
    helm(&[&rollback[..], &namespace[..]].concat()).unwrap();
    installation.ready().await.unwrap();
    assert_eq!(
        servers(installation.pod_ids().await.unwrap()),
        servers(before)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn node_ports_are_told_to_clients_at_the_nodes_address() {
    let cluster = cluster().await.unwrap();
    let namespace = with_operator(&cluster, "ports", &["nodes.read=true"])
        .await
        .unwrap();
    let external = json!({"external": {"type": "NodePort"}, "replicas": 1});
    let spec = with(small(), &json!({"roles": {"msg": external}}));
    let installation = Installation::apply_to(namespace, NAME, &spec).unwrap();
    installation.ready().await.unwrap();
    installation.import(1).unwrap();
    let (client, _events) = installation.client(1).await.unwrap();
    let object = installation.object().await.unwrap();
    let slot = &object["status"]["slots"][0];
    let address = format!("{}:{}", slot["host"].as_str().unwrap(), slot["port"]);
    assert_eq!(client.server_address(), address, "{slot}");
    let args = [
        "get",
        "nodes",
        "-o",
        "jsonpath={.items[*].status.addresses[*].address}",
    ];
    let nodes = installation.namespace.kubectl(&args).unwrap();
    let of_node = nodes.split(' ').any(|node| slot["host"] == node);
    assert!(of_node, "{slot}: {nodes}");
    client.close().await;
}

/// Of two operators that watch a namespace, the one that came later touches nothing and says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_operator_over_a_namespace_is_idle_and_takes_over_when_the_first_is_gone() {
    let cluster = cluster().await.unwrap();
    let claims = ["extraArgs={--claim-duration-seconds=6}"];
    let namespace = with_operator(&cluster, "owned", &claims).await.unwrap();
    let installation = Installation::apply_to(namespace, NAME, &small()).unwrap();
    installation.ready().await.unwrap();
    let before = installation.pod_ids().await.unwrap();

    let home = cluster.namespace("second").await.unwrap();
    let name = installation.namespace.name().to_owned();
    let chart = format!("{CHARTS}/im-operator");
    let image = testing::operator_image();
    let (of_operator, tag) = image.rsplit_once(':').unwrap();
    let servers = testing::image();
    let values = [
        format!("image.repository={of_operator}"),
        format!("image.tag={tag}"),
        format!("servers.image.repository={}", repository(&servers)),
        format!("watch.namespaces={{{name}}}"),
        "replicas=1".to_owned(),
        claims[0].to_owned(),
    ];
    // It is not ready, so nobody waits for it.
    let mut args = vec!["install", "second", &chart];
    for value in &values {
        args.extend(["--set", value]);
    }
    home.helm(&args).unwrap();
    let note = format!("operator {name}/im-operator looks after namespace {name}");
    until(
        "the second operator says why it is idle",
        LATER,
        async || {
            let events = installation
                .namespace
                .kubectl(&["get", "events", "-o", "yaml"]);
            events.ok()?.contains(&note).then_some(())
        },
    )
    .await
    .unwrap();
    until("its readiness says the same", LATER, async || {
        let args = ["get", "events", "-o", "yaml"];
        let events = home.kubectl(&args).ok()?;
        events.contains("Readiness probe failed").then_some(())
    })
    .await
    .unwrap();
    assert_eq!(installation.pod_ids().await.unwrap(), before);

    installation
        .namespace
        .helm(&["uninstall", "im-operator", "--wait"])
        .unwrap();
    installation
        .patch(&json!({"roles": {"route": {"replicas": 2}}}))
        .unwrap();
    installation.ready().await.unwrap();
    assert_eq!(installation.pods("route").await.unwrap().len(), 2);
}
