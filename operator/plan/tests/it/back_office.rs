//! The HTTP API as a role: one of db-proxy's administrators, over the network.

use im_config::ImdConfig;
use im_operator_plan::{Desired, Resolved, Role};
use serde_json::{Value, json};

use crate::support::{built, child, cluster, resolve, templates, validate};

fn resolved(said: Value) -> Resolved {
    resolve(json!({"roles": {"httpApi": said}}))
}

fn with(said: Value) -> Desired {
    built(&resolved(said))
}

fn config(desired: &Desired) -> ImdConfig {
    let map = child(desired, "ConfigMap", "demo-http-api").unwrap();
    toml::from_str(map["data"]["imd.toml"].as_str().unwrap()).unwrap()
}

fn pod(desired: &Desired) -> Value {
    let deployment = child(desired, "Deployment", "demo-http-api").unwrap();
    deployment["spec"]["template"]["spec"].clone()
}

/// Names of the Secrets that a pod mounts.
fn secrets(pod: &Value) -> Vec<&str> {
    let volumes = pod["volumes"].as_array().unwrap().iter();
    let names = volumes.filter_map(|it| it["secret"]["secretName"].as_str());
    names.collect()
}

/// The ports of db-proxy at which a role is let in, and those of db-proxy that it may leave for.
fn ports(desired: &Desired, role: &str) -> (Vec<i64>, Vec<i64>) {
    let of = |policy: &str, rules: &str, key: &str, other: &str| {
        let policy = child(desired, "NetworkPolicy", &format!("demo-{policy}")).unwrap();
        let rules = policy["spec"][rules].as_array().unwrap().clone();
        let names = |rule: &&Value| {
            let peers = rule[key].as_array().into_iter().flatten();
            let label = "app.kubernetes.io/component";
            let mut labels = peers.map(|peer| &peer["podSelector"]["matchLabels"][label]);
            labels.any(|it| it == other)
        };
        let found = rules.iter().filter(names);
        let ports = found.flat_map(|rule| rule["ports"].as_array().unwrap());
        ports.map(|it| it["port"].as_i64().unwrap()).collect()
    };
    (
        of("db-proxy", "ingress", "from", role),
        of(role, "egress", "to", "db-proxy"),
    )
}

#[test]
fn it_calls_db_proxy_as_an_administrator_and_has_no_other_secret_and_no_token() {
    let desired = with(json!({}));
    let pod = pod(&desired);
    assert_eq!(secrets(&pod), ["demo-admin"]);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(
        pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"],
        5
    );
    let config = config(&desired);
    let host = "demo-db-proxy.chat.svc.cluster.local:10601";
    assert_eq!(config.http_api.db_proxy, host);
    let file = config.http_api.admin_secret_file.unwrap();
    assert_eq!(file.to_str(), Some("/run/imcluster/admin/secret"));
    assert_eq!(config.secret_file, None);
    assert_eq!(ports(&desired, "http-api"), (vec![10_601], vec![10_601]));
    assert_eq!(ports(&desired, "msg"), (vec![10_600], vec![10_600]));
    let service = child(&desired, "Service", "demo-http-api").unwrap()["spec"].clone();
    assert_eq!(service["type"], "ClusterIP");
    assert_eq!(service["ports"][0]["port"], 8400);
    assert!(service["publishNotReadyAddresses"].is_null());
}

#[test]
fn several_pods_have_a_budget_and_a_service_as_it_is_asked_for() {
    let service =
        json!({"type": "NodePort", "nodePorts": {"http": 30840}, "annotations": {"a": "b"}});
    let desired = with(json!({"replicas": 2, "service": service}));
    assert!(child(&desired, "PodDisruptionBudget", "demo-http-api").is_some());
    let service = child(&desired, "Service", "demo-http-api").unwrap();
    assert_eq!(service["spec"]["ports"][0]["nodePort"], 30840);
    assert_eq!(service["metadata"]["annotations"], json!({"a": "b"}));
}

/// The administrators' port is opened where somebody is to come, and closed again.
#[test]
fn switching_it_on_changes_nothing_of_others_but_the_policy_of_db_proxy() {
    let (off, on) = (built(&resolve(json!({}))), with(json!({})));
    let mut others = templates(&on);
    others.retain(|it| it["spec"]["serviceAccountName"] != "demo-http-api");
    assert_eq!(templates(&off), others);
    for planned in &off.children {
        let (kind, name) = (planned.child.kind(), planned.child.name());
        assert!(!name.contains("http-api"), "{kind} {name}");
        let before = planned.child.to_json().unwrap();
        let is_door = (kind, name) == ("NetworkPolicy", "demo-db-proxy");
        let same = child(&on, kind, name).unwrap() == before;
        assert_eq!(same, !is_door, "{kind} {name}");
        assert!(!is_door || !before.to_string().contains("10601"));
    }
    for (role, revision) in &off.revisions {
        assert_eq!(on.revisions[role], *revision, "{role}");
    }
}

#[test]
fn its_certificate_is_a_secret_of_somebody_else() {
    let cluster = resolved(json!({"tls": {"secretName": "chat-tls"}}));
    let desired = built(&cluster);
    let config = config(&desired).http_api;
    let certificate = config.certificate_file.unwrap();
    assert_eq!(certificate.to_str(), Some("/run/imcluster/tls/tls.crt"));
    let key = config.key_file.unwrap();
    assert_eq!(key.to_str(), Some("/run/imcluster/tls/tls.key"));
    assert_eq!(secrets(&pod(&desired)), ["demo-admin", "chat-tls"]);
    let references = cluster.references();
    assert_eq!(references.len(), 1);
    assert_eq!(references[0].name, "chat-tls");
    assert_eq!(references[0].field, "spec.roles.httpApi.tls.secretName");
    let keys: Vec<&str> = references[0].keys().collect();
    assert_eq!(keys, ["tls.crt", "tls.key"]);
    // A mesh is not to read what is ciphered.
    let service = child(&desired, "Service", "demo-http-api").unwrap();
    assert_eq!(service["spec"]["ports"][0]["appProtocol"], "https");
    let plain = child(&with(json!({})), "Service", "demo-http-api").unwrap();
    assert!(plain["spec"]["ports"][0]["appProtocol"].is_null());
    assert!(with(json!({})).revisions[&Role::HTTP_API] != desired.revisions[&Role::HTTP_API]);
}

#[test]
fn one_that_can_take_no_token_has_a_hint() {
    let hints = |said: Value| resolved(said).hints;
    let found = hints(json!({}));
    assert!(
        found.len() == 1 && found[0].starts_with("spec.roles.httpApi: tokens are refused"),
        "{found:?}"
    );
    let none: [&str; 0] = [];
    assert_eq!(hints(json!({"tls": {"secretName": "x"}})), none);
    let proxies = json!({"http_api.trusted_proxies": "[\"10.0.0.0/8\"]"});
    assert_eq!(hints(json!({"config": proxies})), none);
}

#[test]
fn what_the_operator_decides_is_not_for_config() {
    for key in [
        "http_api.db_proxy",
        "http_api.certificate_file",
        "http_api.enabled",
    ] {
        let said = json!({"httpApi": {"config": {key: "x"}}});
        let errors = validate(&cluster(json!({"roles": said}))).unwrap_err();
        let line = errors[0].to_string();
        assert!(line.ends_with("is set by the operator"), "{line}");
    }
}
