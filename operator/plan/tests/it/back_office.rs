//! The HTTP API as a role: one of db-proxy's administrators, over the network.

use im_config::ImdConfig;
use im_operator_plan::{Desired, Resolved, Role, Templates, build};
use serde_json::{Value, json};

use crate::support::{built, child, cluster, owner, resolve, stored, templates, validate};

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
fn it_calls_db_proxy_as_an_administrator_and_takes_reports_of_who_has_the_secret() {
    let desired = with(json!({}));
    let pod = pod(&desired);
    assert_eq!(secrets(&pod), ["demo-internal", "demo-admin"]);
    assert_eq!(
        pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"],
        5
    );
    let config = config(&desired);
    let host = "demo-db-proxy.chat.svc.cluster.local:10601";
    assert_eq!(config.http_api.db_proxy, host);
    let file = config.http_api.admin_secret_file.unwrap();
    assert_eq!(file.to_str(), Some("/run/imcluster/admin/secret"));
    let file = config.secret_file.unwrap();
    assert_eq!(file.to_str(), Some("/run/imcluster/secret/secret"));
    assert_eq!(config.http_api.monitor_listen, "[::]:8410");
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

/// Where it runs is told by the EndpointSlices of a Service, which all roles look for from the beginning: each
/// finds every replica, so does http-api itself.
#[test]
fn every_role_reports_to_every_replica_of_it() {
    let roles = json!({"httpApi": {"replicas": 2}, "file": {}, "msfs": {}, "push": {}});
    let desired = built(&resolve(json!({"roles": roles})));
    let service = child(&desired, "Service", "demo-http-api-monitor").unwrap()["spec"].clone();
    assert_eq!(service["clusterIP"], "None");
    let port = json!([{"name": "monitor", "port": 8410, "protocol": "TCP",
        "targetPort": "monitor", "appProtocol": "tcp"}]);
    assert_eq!(service["ports"], port);
    for role in desired.revisions.keys() {
        let map = child(&desired, "ConfigMap", &format!("demo-{role}")).unwrap();
        let file: ImdConfig = toml::from_str(map["data"]["imd.toml"].as_str().unwrap()).unwrap();
        let peers = file.peers.http_api;
        assert_eq!(
            peers,
            ["kubernetes:demo-http-api-monitor:monitor"],
            "{role}"
        );
        assert!(file.secret_file.is_some(), "{role}");
    }
    assert_eq!(desired.revisions.len(), 8);
}

/// Pods of an operator that knew of no Monitor: none is replaced, neither at the operator's upgrade nor when the
/// role comes, and each reports once something else replaces it.
#[test]
fn pods_that_do_not_report_are_not_replaced_for_it() {
    let mut revisions = stored(&built(&resolve(json!({}))));
    for revision in &mut revisions {
        let config = &mut revision.data.as_mut().unwrap().0["config"];
        let lines = config.as_str().unwrap().lines();
        let older: Vec<_> = lines
            .filter(|line| !line.starts_with("http_api ="))
            .collect();
        *config = json!(older.join("\n"));
    }
    let reports = |spec: Value| -> Vec<bool> {
        let templates = Templates::from_revisions(&revisions);
        let desired = build::build(&resolve(spec), &owner(), &templates);
        let file = |role: &&str| {
            let map = child(&desired, "ConfigMap", &format!("demo-{role}")).unwrap();
            map["data"]["imd.toml"]
                .as_str()
                .unwrap()
                .contains("monitor")
        };
        ["db-proxy", "route", "msg", "login"]
            .iter()
            .map(file)
            .collect()
    };
    assert_eq!(reports(json!({})), [false; 4]);
    assert_eq!(reports(json!({"roles": {"httpApi": {}}})), [false; 4]);
    let trigger = json!({"restartTrigger": "now"});
    assert_eq!(reports(json!({"operation": trigger})), [true; 4]);
}

/// The administrators' port is opened where somebody is to come, and closed again.
#[test]
fn switching_it_on_changes_nothing_of_others_but_the_policy_of_db_proxy_and_who_may_find_peers() {
    let (off, on) = (built(&resolve(json!({}))), with(json!({"replicas": 2})));
    let mut others = templates(&on);
    others.retain(|it| it["spec"]["serviceAccountName"] != "demo-http-api");
    assert_eq!(templates(&off), others);
    for planned in &off.children {
        let (kind, name) = (planned.child.kind(), planned.child.name());
        assert!(!name.contains("http-api"), "{kind} {name}");
        let before = planned.child.to_json().unwrap();
        let is_door = (kind, name) == ("NetworkPolicy", "demo-db-proxy");
        let changes = is_door || kind == "RoleBinding";
        let same = child(&on, kind, name).unwrap() == before;
        assert_eq!(same, !changes, "{kind} {name}");
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
    let mounted = ["demo-internal", "demo-admin", "chat-tls"];
    assert_eq!(secrets(&pod(&desired)), mounted);
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
        "http_api.monitor_listen",
        "peers.http_api",
    ] {
        let said = json!({"httpApi": {"config": {key: "x"}}});
        let errors = validate(&cluster(json!({"roles": said}))).unwrap_err();
        let line = errors[0].to_string();
        assert!(line.ends_with("is set by the operator"), "{line}");
    }
}
