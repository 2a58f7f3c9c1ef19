//! NetworkPolicies are enforced: what they do not allow does not get through.

use im_e2e_kube::testing::{Cluster, TestNamespace, address, guest_pod};
use im_e2e_kube::wait::{LATER, until};
use serde_json::{Value, json};

/// A server and a client, both told apart by the label `app`.
async fn server_and_client(namespace: &TestNamespace) -> (String, String) {
    for (name, args) in [
        ("server", &["serve", "8080", "9090"][..]),
        ("client", &["pause"]),
    ] {
        let mut pod = guest_pod(name, &json!({"app": name}), args);
        pod["spec"]["containers"][0]["ports"] = json!([{"name": "http", "containerPort": 8080}]);
        namespace.apply(&pod.to_string()).unwrap();
    }
    namespace.ready("client").await.unwrap();
    let server = namespace.ready("server").await.unwrap();
    let ip = address(&server).unwrap();
    (format!("{ip}:8080"), format!("{ip}:9090"))
}

fn policy(name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": spec,
    })
    .to_string()
}

/// Waits until the client reaches the address, or until it does not.
async fn expect(namespace: &TestNamespace, address: &str, reached: bool) {
    let what = format!("the client reaches {address}: {reached}");
    until(&what, LATER, async || {
        let answer = namespace.exec("client", &["/guest", "get", address]);
        (answer.is_ok() == reached).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn ingress_is_closed_but_for_what_is_allowed() {
    let cluster = Cluster::connect().await.unwrap();
    let namespace = cluster.namespace("ingress").await.unwrap();
    let (http, metrics) = server_and_client(&namespace).await;
    expect(&namespace, &http, true).await;
    let deny = policy(
        "deny",
        &json!({"podSelector": {}, "policyTypes": ["Ingress"]}),
    );
    namespace.apply(&deny).unwrap();
    expect(&namespace, &http, false).await;
    // By name of the port, and only from the client.
    let allow = policy(
        "allow",
        &json!({
            "podSelector": {"matchLabels": {"app": "server"}},
            "ingress": [{
                "from": [{"podSelector": {"matchLabels": {"app": "client"}}}],
                "ports": [{"port": "http"}],
            }],
        }),
    );
    namespace.apply(&allow).unwrap();
    expect(&namespace, &http, true).await;
    expect(&namespace, &metrics, false).await;

    // The same client from another namespace is somebody else.
    let other = cluster.namespace("ingress-other").await.unwrap();
    other
        .apply(&guest_pod("client", &json!({"app": "client"}), &["pause"]).to_string())
        .unwrap();
    other.ready("client").await.unwrap();
    expect(&other, &http, false).await;
    let whole_namespace = policy(
        "allow-namespace",
        &json!({
            "podSelector": {"matchLabels": {"app": "server"}},
            "ingress": [{"from": [{"namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": other.name()},
            }}]}],
        }),
    );
    namespace.apply(&whole_namespace).unwrap();
    expect(&other, &http, true).await;
}

#[tokio::test]
async fn egress_is_closed_but_for_what_is_allowed() {
    let cluster = Cluster::connect().await.unwrap();
    let namespace = cluster.namespace("egress").await.unwrap();
    let (http, metrics) = server_and_client(&namespace).await;
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server"},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    namespace.apply(&service.to_string()).unwrap();
    expect(&namespace, "server:80", true).await;
    let client = json!({"matchLabels": {"app": "client"}});
    let deny = policy(
        "deny",
        &json!({"podSelector": client, "policyTypes": ["Egress"]}),
    );
    namespace.apply(&deny).unwrap();
    expect(&namespace, &http, false).await;
    // The pod behind the Service is allowed, the name of the Service cannot be looked up yet.
    let to_server = policy(
        "to-server",
        &json!({
            "podSelector": client,
            "policyTypes": ["Egress"],
            "egress": [{
                "to": [{"podSelector": {"matchLabels": {"app": "server"}}}],
                "ports": [{"port": 8080}],
            }],
        }),
    );
    namespace.apply(&to_server).unwrap();
    expect(&namespace, &http, true).await;
    expect(&namespace, &metrics, false).await;
    expect(&namespace, "server:80", false).await;
    let to_dns = policy(
        "to-dns",
        &json!({
            "podSelector": client,
            "policyTypes": ["Egress"],
            "egress": [{
                "to": [{
                    "namespaceSelector": {
                        "matchLabels": {"kubernetes.io/metadata.name": "kube-system"},
                    },
                    "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
                }],
                "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
            }],
        }),
    );
    namespace.apply(&to_dns).unwrap();
    expect(&namespace, "server:80", true).await;
}
