//! NetworkPolicies are enforced: what they do not allow does not get through (S-08).

use std::collections::BTreeSet;

use im_e2e::people;
use im_e2e_kube::testing::{self, Cluster, TestNamespace, address, guest_pod};
use im_e2e_kube::wait::{LATER, until};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::installation::{Installation, cluster, small};

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

/// Administrators' tools: in the pod of db-proxy, and named by no pod.
const ADMIN: i32 = 10_601;

/// A port of a pod.
struct Port {
    address: String,
    /// `role/name of the port`.
    what: String,
}

/// The ports of all servers of an installation.
async fn ports(installation: &Installation) -> Vec<Port> {
    let mut found = Vec::new();
    for role in ["login", "msg", "route", "db-proxy"] {
        for pod in installation.pods(role).await.unwrap() {
            let ip = address(&pod).unwrap();
            let mut port = |name: &str, number: i32| {
                found.push(Port {
                    address: format!("{ip}:{number}"),
                    what: format!("{role}/{name}"),
                });
            };
            for container in &pod.spec.as_ref().unwrap().containers {
                for named in container.ports.iter().flatten() {
                    port(named.name.as_deref().unwrap(), named.container_port);
                }
            }
            if role == "db-proxy" {
                port("admin", ADMIN);
            }
        }
    }
    found
}

/// Which of these addresses the pod `client` reaches.
fn knock(from: &TestNamespace, addresses: &[&str]) -> BTreeSet<String> {
    let open = from.exec("client", &[&["/guest", "knock"], addresses].concat());
    open.unwrap().lines().map(str::to_owned).collect()
}

/// Lets the pods of a namespace reach login and msg servers of an installation, and nothing else; waits
/// until that holds.
async fn confine(from: &TestNamespace, installation: &Installation) {
    let namespace = installation.namespace.name();
    let component = "app.kubernetes.io/component";
    let only = policy(
        "login-and-msg",
        &json!({
            "podSelector": {},
            "policyTypes": ["Egress"],
            "egress": [{"to": [{
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "podSelector": {"matchExpressions": [
                    {"key": component, "operator": "In", "values": ["login", "msg"]},
                ]},
            }]}],
        }),
    );
    let args = ["get", "services", "kubernetes", "--namespace", "default"];
    let address = ["-o", "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}"];
    let api = testing::kubectl(&[&args[..], &address[..]].concat()).unwrap();
    assert_eq!(knock(from, &[&api]).len(), 1, "{api} is open before");
    from.apply(&only).unwrap();
    until("everything else is closed", LATER, async || {
        knock(from, &[&api]).is_empty().then_some(())
    })
    .await
    .unwrap();
}

/// What `imd check` says in a pod of this namespace: it logs two people in, and passes a message.
async fn check(from: &TestNamespace, installation: &Installation) -> String {
    let password = format!("--from-literal=password={}", people::PASSWORD);
    from.kubectl(&["create", "secret", "generic", "people", &password])
        .unwrap();
    let mut pod = guest_pod("check", &json!({"app": "check"}), &[]);
    let spec = &mut pod["spec"];
    spec["restartPolicy"] = "Never".into();
    spec["volumes"] = json!([{"name": "people", "secret": {"secretName": "people"}}]);
    let container = &mut spec["containers"][0];
    container["image"] = testing::image().into();
    container["command"] = json!(["/imd"]);
    let (first, second) = (people::name(1), people::name(2));
    let url = installation.url().await.unwrap();
    let password = ["--password-file", "/people/password"];
    container["args"] = json!([
        "check",
        first,
        second,
        "--server",
        url,
        password[0],
        password[1]
    ]);
    container["volumeMounts"] = json!([{"name": "people", "mountPath": "/people"}]);
    from.apply(&pod.to_string()).unwrap();
    let pods = from.api::<Pod>();
    let phase = until("the check ends", LATER, async || {
        let phase = pods.get("check").await.ok()?.status?.phase?;
        (phase == "Succeeded" || phase == "Failed").then_some(phase)
    })
    .await
    .unwrap();
    let said = from.kubectl(&["logs", "check"]).unwrap();
    assert_eq!(phase, "Succeeded", "{said}");
    said
}

/// S-08: of all ports of a real installation a pod of another namespace, as a client somewhere else,
/// reaches those for clients of login and msg, and no other, although all of them listen. They are enough:
/// where nothing but login and msg servers can be reached, two people log in, and one hears of the other.
#[tokio::test(flavor = "multi_thread")]
async fn clients_reach_their_ports_of_login_and_msg_and_no_other_and_need_no_other() {
    let cluster = cluster().await.unwrap();
    let installation = Installation::on(&cluster, "faces", small(), 2)
        .await
        .unwrap();
    let outside = cluster.namespace("outside").await.unwrap();
    let client = guest_pod("client", &json!({"app": "client"}), &["pause"]);
    outside.apply(&client.to_string()).unwrap();
    outside.ready("client").await.unwrap();
    let ports = ports(&installation).await;
    let addresses: Vec<&str> = ports.iter().map(|port| port.address.as_str()).collect();
    let open = knock(&outside, &addresses);
    let for_clients = ["login/client", "login/http", "msg/client"];
    for Port { address, what } in &ports {
        let is_open = open.contains(address);
        assert_eq!(is_open, for_clients.contains(&what.as_str()), "{what}");
    }
    let node = cluster.node("that all of them listen, as the node sees");
    for Port { address, what } in ports.iter().filter(|_| node.is_some()) {
        let knock = TcpStream::connect(address.as_str()).await;
        assert!(knock.is_ok(), "{what}: {knock:?}");
    }
    confine(&outside, &installation).await;
    let said = check(&outside, &installation).await;
    assert!(said.contains("message 1 from u1"), "{said}");
}
