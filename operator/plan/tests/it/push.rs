//! Push as a role: providers with credentials that belong to somebody else.

use im_config::{ImdConfig, PreviewKind, When};
use im_operator_plan::{Desired, Resolved, Role};
use serde_json::{Value, json};

use crate::support::{built, child, cluster, resolve, templates, validate};

fn resolved(said: Value) -> Resolved {
    resolve(json!({"roles": {"push": said}}))
}

fn with(said: Value) -> Desired {
    built(&resolved(said))
}

fn config(desired: &Desired) -> ImdConfig {
    let map = child(desired, "ConfigMap", "demo-push").unwrap();
    toml::from_str(map["data"]["imd.toml"].as_str().unwrap()).unwrap()
}

fn all() -> Value {
    json!({
        "when": "Original",
        "preview": "Text",
        "webhook": {"url": "http://hooks.example.com:8080/im?a=b", "secretName": "hooks"},
        "apns": {"topic": "com.example.chat", "keyId": "K1", "teamId": "T1", "secretName": "apple"},
        "fcm": {"secretName": "google"},
        "trust": {"configMapName": "roots"},
    })
}

fn text(path: Option<std::path::PathBuf>) -> String {
    path.unwrap().to_str().unwrap().to_owned()
}

#[test]
fn each_provider_is_told_with_the_credentials_of_its_secret() {
    let cluster = resolved(all());
    let config = config(&built(&cluster));
    let push = config.push;
    assert_eq!(
        (push.when, push.preview),
        (When::Original, PreviewKind::Text)
    );
    assert_eq!(push.webhook.url, "http://hooks.example.com:8080/im?a=b");
    let file = text(push.webhook.secret_file);
    assert_eq!(file, "/run/imcluster/webhook/secret");
    assert_eq!(push.apns.topic, "com.example.chat");
    assert_eq!(
        (push.apns.key_id.as_str(), push.apns.team_id.as_str()),
        ("K1", "T1")
    );
    assert_eq!(text(push.apns.key_file), "/run/imcluster/apns/key.p8");
    assert_eq!(push.apns.certificate_file, None);
    let file = text(push.fcm.service_account_file);
    assert_eq!(file, "/run/imcluster/fcm/serviceAccount.json");
    assert_eq!(text(config.trust.ca_file), "/run/imcluster/trust/ca.crt");
    let references = cluster.references();
    let fields: Vec<&str> = references.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.roles.push.webhook.secretName",
            "spec.roles.push.apns.secretName",
            "spec.roles.push.fcm.secretName",
            "spec.roles.push.trust.configMapName",
        ]
    );
    assert!(cluster.hints.is_empty(), "{:?}", cluster.hints);
}

#[test]
fn apple_is_shown_a_certificate_where_no_id_of_a_key_is_named() {
    let apns = json!({"topic": "com.example.chat", "secretName": "apple"});
    let apns = config(&with(json!({"apns": apns}))).push.apns;
    assert_eq!(text(apns.certificate_file), "/run/imcluster/apns/tls.crt");
    assert_eq!(
        text(apns.certificate_key_file),
        "/run/imcluster/apns/tls.key"
    );
    assert_eq!(apns.key_file, None);
}

#[test]
fn one_without_a_provider_runs_and_has_a_hint() {
    let cluster = resolved(json!({}));
    let said = "spec.roles.push: nobody is told, since no provider is configured";
    assert!(cluster.hints[0].starts_with(said), "{:?}", cluster.hints);
    assert!(!config(&built(&cluster)).push.has_provider());
    assert_eq!(cluster.references(), []);
}

#[test]
fn it_follows_the_log_and_who_is_online_and_has_no_service() {
    let desired = with(json!({"replicas": 2}));
    let peers = config(&desired).peers;
    assert_eq!(peers.db_proxy, ["kubernetes:demo-db-proxy:grpc"]);
    assert_eq!(peers.route, ["kubernetes:demo-route:grpc"]);
    let deployment = child(&desired, "Deployment", "demo-push").unwrap();
    assert_eq!(deployment["spec"]["replicas"], 2, "the second stands by");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], true);
    let ports = pod["containers"][0]["ports"].as_array().unwrap();
    assert_eq!(ports.len(), 1, "metrics: {ports:?}");
    assert!(child(&desired, "Service", "demo-push").is_none());
    assert!(child(&desired, "PodDisruptionBudget", "demo-push").is_some());
    let binding = child(&desired, "RoleBinding", "demo-discovery").unwrap();
    let subjects = binding["subjects"].as_array().unwrap();
    assert!(subjects.iter().any(|it| it["name"] == "demo-push"));
}

#[test]
fn policies_let_it_out_to_its_providers_and_to_https_alone() {
    let egress = |said: Value| -> Vec<Value> {
        let policy = child(&with(said), "NetworkPolicy", "demo-push").unwrap();
        policy["spec"]["egress"].as_array().unwrap().clone()
    };
    // With no provider, it still delivers to who subscribed over the HTTP API.
    let mut inside = egress(json!({}));
    let https = json!({"ports": [{"port": 443, "protocol": "TCP"}]});
    assert_eq!(inside.pop(), Some(https));
    let ways = |said: Value| -> Vec<Value> {
        let mut found = egress(said);
        found.retain(|rule| !inside.contains(rule));
        found
    };
    let ports = |ports: &[i32]| -> Value {
        let ports = ports.iter();
        ports
            .map(|port| json!({"port": port, "protocol": "TCP"}))
            .collect()
    };
    assert_eq!(ways(all()), [json!({"ports": ports(&[443, 8080])})]);
    let webhook = json!({"url": "http://192.0.2.1?x", "secretName": "hooks"});
    let mut narrow = json!({"webhook": webhook});
    narrow["providerCidrs"] = json!(["192.0.2.0/24"]);
    let to = json!([{"ipBlock": {"cidr": "192.0.2.0/24"}}]);
    assert_eq!(
        ways(narrow),
        [json!({"to": to, "ports": ports(&[80, 443])})]
    );
    let fcm = json!({"secretName": "google", "url": "http://127.0.0.1:9999"});
    // The tokens come from elsewhere.
    assert_eq!(
        ways(json!({"fcm": fcm})),
        [json!({"ports": ports(&[443, 9999])})]
    );
}

#[test]
fn switching_it_on_changes_no_pod_no_file_and_no_policy_of_another() {
    let (off, on) = (built(&resolve(json!({}))), with(all()));
    let mut others = templates(&on);
    others.retain(|it| it["spec"]["serviceAccountName"] != "demo-push");
    assert_eq!(templates(&off), others);
    for planned in &off.children {
        let (kind, name) = (planned.child.kind(), planned.child.name());
        let before = planned.child.to_json().unwrap();
        let same = child(&on, kind, name).unwrap() == before;
        // It gets one subject more.
        assert!(same || kind == "RoleBinding", "{kind} {name}");
    }
    let mut other = all();
    let usual = on.revisions[&Role::PUSH].clone();
    other["providerCidrs"] = json!(["192.0.2.0/24"]);
    assert_eq!(with(other.clone()).revisions[&Role::PUSH], usual);
    other["preview"] = json!("Generic");
    assert_ne!(with(other).revisions[&Role::PUSH], usual);
}

#[test]
fn files_of_credentials_are_not_for_config() {
    for key in [
        "push.webhook.secret_file",
        "push.fcm.url",
        "trust.ca_file",
        "push.when",
    ] {
        let said = json!({"push": {"config": {key: "x"}}});
        let errors = validate(&cluster(json!({"roles": said}))).unwrap_err();
        let line = errors[0].to_string();
        assert!(line.ends_with("is set by the operator"), "{line}");
    }
}
