//! The before-send filter of db-proxy: a server of somebody else, with a secret that is somebody else's too.

use im_config::ImdConfig;
use im_operator_plan::{Desired, Role};
use serde_json::{Value, json};

use crate::support::{built, child, cluster, resolve, validate};

fn said(filter: &Value) -> Value {
    json!({"roles": {"dbProxy": {"filter": filter}}})
}

fn with(filter: &Value) -> Desired {
    built(&resolve(said(filter)))
}

fn whole() -> Value {
    json!({
        "url": "http://filter.example.com:8080/judge?a=b",
        "secretName": "judge",
        "cidrs": ["192.0.2.0/24"],
        "trust": {"configMapName": "roots"},
    })
}

fn config(desired: &Desired, role: &str) -> ImdConfig {
    let map = child(desired, "ConfigMap", &format!("demo-{role}")).unwrap();
    toml::from_str(map["data"]["imd.toml"].as_str().unwrap()).unwrap()
}

fn egress(desired: &Desired, role: &str) -> Vec<Value> {
    let policy = child(desired, "NetworkPolicy", &format!("demo-{role}")).unwrap();
    policy["spec"]["egress"].as_array().unwrap().clone()
}

#[test]
fn db_proxy_is_told_of_it_with_the_secret_and_the_roots_that_the_specification_names() {
    let mut spec = said(&whole());
    spec["roles"]["dbProxy"]["config"] = json!({"db_proxy.filter.on_failure": "deny"});
    let cluster = resolve(spec);
    let desired = built(&cluster);
    let config = config(&desired, "db-proxy");
    let filter = config.db_proxy.filter;
    assert_eq!(filter.url, "http://filter.example.com:8080/judge?a=b");
    let text = |path: Option<std::path::PathBuf>| path.unwrap().to_str().unwrap().to_owned();
    let file = text(filter.secret_file);
    assert_eq!(file, "/run/imcluster/filter/secret");
    assert_eq!(filter.on_failure, im_config::OnFailure::Deny);
    assert_eq!(text(config.trust.ca_file), "/run/imcluster/trust/ca.crt");
    let set = child(&desired, "StatefulSet", "demo-db-proxy").unwrap();
    let pod = &set["spec"]["template"]["spec"];
    let volume = json!({"name": "filter", "secret": {
        "secretName": "judge", "defaultMode": 0o440, "items": [{"key": "secret", "path": "secret"}]}});
    assert!(pod["volumes"].as_array().unwrap().contains(&volume));
    let references = cluster.references();
    let fields: Vec<&str> = references.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.roles.dbProxy.filter.secretName",
            "spec.roles.dbProxy.filter.trust.configMapName",
        ]
    );
}

#[test]
fn the_policy_lets_db_proxy_out_to_it_and_nobody_else() {
    let usual = built(&resolve(json!({})));
    let ways = |filter: &Value, role: &str| {
        let mut found = egress(&with(filter), role);
        found.retain(|rule| !egress(&usual, role).contains(rule));
        found
    };
    let port = |port: i32| json!([{"port": port, "protocol": "TCP"}]);
    let to = json!([{"ipBlock": {"cidr": "192.0.2.0/24"}}]);
    let rule = json!({"to": to, "ports": port(8080)});
    assert_eq!(ways(&whole(), "db-proxy"), [rule]);
    for role in ["msg", "route", "login"] {
        assert_eq!(ways(&whole(), role), Vec::<Value>::new(), "{role}");
    }
    let anywhere = json!({"url": "https://filter.example.com/", "secretName": "judge"});
    assert_eq!(ways(&anywhere, "db-proxy"), [json!({"ports": port(443)})]);
}

/// The pod of db-proxy is the only one; its end is felt.
#[test]
fn it_changes_db_proxy_alone_and_its_ranges_not_even_that() {
    let (off, on) = (built(&resolve(json!({}))), with(&whole()));
    for (role, revision) in &off.revisions {
        let is_same = on.revisions[role] == *revision;
        assert_eq!(is_same, *role != Role::DB_PROXY, "{role}");
    }
    for planned in &off.children {
        let (kind, name) = (planned.child.kind(), planned.child.name());
        if !name.starts_with("demo-db-proxy") {
            let after = child(&on, kind, name).unwrap();
            assert_eq!(planned.child.to_json().unwrap(), after, "{kind} {name}");
        }
    }
    let revision = |filter: &Value| with(filter).revisions[&Role::DB_PROXY].clone();
    let mut other = whole();
    other["cidrs"] = json!([]);
    assert_eq!(revision(&other), on.revisions[&Role::DB_PROXY]);
    for (field, value) in [
        ("url", json!("http://filter.example.com:8080/")),
        ("secretName", json!("other")),
        ("trust", Value::Null),
    ] {
        let mut other = whole();
        other[field] = value;
        assert_ne!(revision(&other), on.revisions[&Role::DB_PROXY], "{field}");
    }
}

#[test]
fn what_cannot_work_is_refused_by_field() {
    let lines = |spec: Value| -> Vec<String> {
        let errors = validate(&cluster(spec)).unwrap_err();
        errors.iter().map(ToString::to_string).collect()
    };
    let mut narrow = whole();
    narrow["cidrs"] = json!(["192.0.2.0/24", "192.0.2.0/33"]);
    let found = lines(said(&narrow));
    let start = "spec.roles.dbProxy.filter.cidrs[1]: must be an address range";
    assert!(found.len() == 1 && found[0].starts_with(start), "{found:?}");
    let mut older = said(&whole());
    older["version"] = json!("0.0.9");
    let found = lines(older);
    let line = "spec.roles.dbProxy.filter: servers of version 0.0.9 ask no filter".to_owned();
    assert!(found.contains(&line), "{found:?}");
    for key in [
        "db_proxy.filter.url",
        "db_proxy.filter.secret_file",
        "trust.ca_file",
    ] {
        let config = json!({"roles": {"dbProxy": {"config": {key: "x"}}}});
        let found = lines(config);
        assert!(found[0].ends_with("is set by the operator"), "{found:?}");
    }
}
