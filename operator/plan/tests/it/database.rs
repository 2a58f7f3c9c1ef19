//! A database on a server, which several db-proxies share.

use im_config::{ImdConfig, MysqlTls};
use im_operator_plan::{Desired, ReferenceKind, Role};
use serde_json::{Value, json};

use crate::support::{built, child, cluster, resolve, validate};

fn said(mysql: &Value, replicas: i32) -> Value {
    json!({
        "database": {"type": "MySQL", "mysql": mysql},
        "roles": {"dbProxy": {"replicas": replicas}},
    })
}

fn plain() -> Value {
    json!({"host": "db.example.com", "passwordSecret": {"name": "db", "key": "chat"}})
}

fn whole() -> Value {
    json!({
        "host": "db.example.com", "port": 3307, "database": "chat", "user": "chat",
        "passwordSecret": {"name": "db"},
        "tls": {"mode": "VerifyIdentity", "ca": {"configMapName": "roots"}, "clientSecretName": "client"},
        "cidrs": ["192.0.2.0/24"],
    })
}

fn with(mysql: &Value, replicas: i32) -> Desired {
    built(&resolve(said(mysql, replicas)))
}

fn config(desired: &Desired, role: &str) -> ImdConfig {
    let map = child(desired, "ConfigMap", &format!("demo-{role}")).unwrap();
    toml::from_str(map["data"]["imd.toml"].as_str().unwrap()).unwrap()
}

fn set(desired: &Desired) -> Value {
    child(desired, "StatefulSet", "demo-db-proxy").unwrap()["spec"].clone()
}

#[test]
fn several_pods_share_it_and_none_has_a_volume_that_outlives_it() {
    let desired = with(&plain(), 2);
    let set = set(&desired);
    assert_eq!(set["replicas"], 2);
    assert_eq!(set["podManagementPolicy"], "Parallel");
    assert!(set["volumeClaimTemplates"].is_null(), "{set:#}");
    let pod = &set["template"];
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    assert!(volumes.contains(&json!({"name": "data", "emptyDir": {}})));
    let safe = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";
    assert_eq!(pod["metadata"]["annotations"][safe], "tmp,data");
    let budget = |desired: &Desired| child(desired, "PodDisruptionBudget", "demo-db-proxy");
    assert_eq!(budget(&desired).unwrap()["spec"]["maxUnavailable"], 1);
    assert_eq!(budget(&with(&plain(), 1)), None, "there is none for one");
    assert!(resolve(said(&plain(), 1)).data_is_durable());
}

/// The name by which a process counts is the pod's; tools in any pod find the one that serves.
#[test]
fn each_pod_has_its_name_and_the_way_to_all() {
    let pod = set(&with(&plain(), 2))["template"]["spec"]["containers"][0].clone();
    let name = json!({"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}});
    let server = "demo-db-proxy.chat.svc.cluster.local:10601";
    let env = json!([
        {"name": "IMD_STORE__NAME", "valueFrom": name},
        {"name": "IMD_ADMIN_SERVER", "value": server},
    ]);
    assert_eq!(pod["env"], env);
    let embedded = set(&built(&resolve(json!({}))));
    let embedded = &embedded["template"]["spec"]["containers"][0]["env"];
    assert!(embedded.is_null(), "{embedded}");
    let mut spec = said(&plain(), 2);
    spec["roles"]["httpApi"] = json!({});
    assert_eq!(
        config(&built(&resolve(spec)), "http-api").http_api.db_proxy,
        server
    );
}

#[test]
fn db_proxy_is_told_of_it_with_the_files_that_the_specification_names() {
    let mut spec = said(&whole(), 2);
    spec["roles"]["dbProxy"]["config"] = json!({"mysql.readers": "4"});
    let cluster = resolve(spec);
    let desired = built(&cluster);
    let told = config(&desired, "db-proxy");
    let url = "mysql://chat@db.example.com:3307/chat";
    assert_eq!(told.store.url.as_deref(), Some(url));
    assert_eq!(told.mysql.tls, MysqlTls::VerifyIdentity);
    assert_eq!(told.mysql.readers, 4);
    let file = |path: &str| Some(path.into());
    let folder = "/run/imcluster/database";
    assert_eq!(
        told.mysql.password_file,
        file(&format!("{folder}-password/password"))
    );
    assert_eq!(told.mysql.ca_file, file(&format!("{folder}-ca/ca.crt")));
    let client = format!("{folder}-client");
    assert_eq!(
        told.mysql.certificate_file,
        file(&format!("{client}/tls.crt"))
    );
    assert_eq!(told.mysql.key_file, file(&format!("{client}/tls.key")));
    let pod = &set(&desired)["template"]["spec"];
    let volume = json!({"name": "database-password", "secret": {
        "secretName": "db", "defaultMode": 0o440, "items": [{"key": "password", "path": "password"}]}});
    assert!(pod["volumes"].as_array().unwrap().contains(&volume));
    let references = cluster.references();
    let named: Vec<_> = references
        .iter()
        .map(|it| (it.kind, it.name.as_str(), it.field.as_str()))
        .collect();
    let of = "spec.database.mysql";
    let expected = [
        (ReferenceKind::Secret, "db", format!("{of}.passwordSecret")),
        (
            ReferenceKind::ConfigMap,
            "roots",
            format!("{of}.tls.ca.configMapName"),
        ),
        (
            ReferenceKind::Secret,
            "client",
            format!("{of}.tls.clientSecretName"),
        ),
    ];
    let expected = expected.each_ref();
    let expected = expected.map(|(kind, name, field)| (*kind, *name, field.as_str()));
    assert_eq!(named, expected);
    for role in ["msg", "route", "login"] {
        let other = config(&desired, role);
        assert_eq!(other.store, ImdConfig::default().store, "{role}");
        assert_eq!(other.mysql, ImdConfig::default().mysql, "{role}");
    }
}

#[test]
fn policies_let_db_proxy_out_to_it_and_its_tools_to_its_own_pods() {
    let usual = built(&resolve(json!({})));
    let ways = |desired: &Desired, role: &str, way: &str| -> Vec<Value> {
        let rules = |desired: &Desired| {
            let policy = child(desired, "NetworkPolicy", &format!("demo-{role}")).unwrap();
            policy["spec"][way].as_array().unwrap().clone()
        };
        let before = rules(&usual);
        let found = rules(desired).into_iter();
        found.filter(|rule| !before.contains(rule)).collect()
    };
    let port = |port: i32| json!([{"port": port, "protocol": "TCP"}]);
    let own = json!([{"podSelector": {"matchLabels": {
        "app.kubernetes.io/component": "db-proxy",
        "app.kubernetes.io/instance": "demo",
        "app.kubernetes.io/name": "im",
    }}}]);
    let to = json!([{"ipBlock": {"cidr": "192.0.2.0/24"}}]);
    let out = [
        json!({"to": own, "ports": port(10_601)}),
        json!({"to": to, "ports": port(3307)}),
    ];
    let desired = with(&whole(), 2);
    assert_eq!(ways(&desired, "db-proxy", "egress"), out);
    let into = [json!({"from": own, "ports": port(10_601)})];
    assert_eq!(ways(&desired, "db-proxy", "ingress"), into);
    for role in ["msg", "route", "login"] {
        for way in ["egress", "ingress"] {
            assert_eq!(ways(&desired, role, way), Vec::<Value>::new(), "{role}");
        }
    }
    let anywhere = ways(&with(&plain(), 1), "db-proxy", "egress");
    assert!(
        anywhere.contains(&json!({"ports": port(3306)})),
        "{anywhere:?}"
    );
}

/// Another number of pods, another budget and other ranges replace none; no other role hears of any of it.
#[test]
fn what_replaces_pods_of_db_proxy_is_what_they_are_told() {
    let off = built(&resolve(json!({})));
    let on = with(&whole(), 1);
    for (role, revision) in &off.revisions {
        let is_same = on.revisions[role] == *revision;
        assert_eq!(is_same, *role != Role::DB_PROXY, "{role}");
    }
    let revision = |desired: &Desired| desired.revisions[&Role::DB_PROXY].clone();
    let usual = revision(&on);
    assert_eq!(revision(&with(&whole(), 3)), usual);
    let mut budget = said(&whole(), 3);
    budget["roles"]["dbProxy"]["pdb"] = json!({"maxUnavailable": 2});
    assert_eq!(revision(&built(&resolve(budget))), usual);
    let changed = |field: &str, value: Value| {
        let mut other = whole();
        other[field] = value;
        revision(&with(&other, 1))
    };
    assert_eq!(changed("cidrs", json!([])), usual);
    for (field, value) in [
        ("host", json!("db2.example.com")),
        ("port", json!(3306)),
        ("database", json!("im")),
        ("user", json!("im")),
        ("passwordSecret", json!({"name": "other"})),
        ("tls", json!({"mode": "Required"})),
    ] {
        assert_ne!(changed(field, value), usual, "{field}");
    }
    // As an API server fills it in.
    let mut filled = plain();
    for (key, value) in [("port", json!(3306)), ("cidrs", json!([]))] {
        filled[key] = value;
    }
    filled["tls"] = json!({"mode": "Preferred", "clientSecretName": ""});
    assert_eq!(revision(&with(&filled, 1)), revision(&with(&plain(), 1)));
}

#[test]
fn what_cannot_work_is_refused_by_field() {
    let lines = |spec: Value| -> Vec<String> {
        let errors = validate(&cluster(spec)).unwrap_err();
        errors.iter().map(ToString::to_string).collect()
    };
    let mut wide = whole();
    wide["cidrs"] = json!(["192.0.2.0/33"]);
    let found = lines(said(&wide, 1));
    let start = "spec.database.mysql.cidrs[0]: must be an address range";
    assert!(found.len() == 1 && found[0].starts_with(start), "{found:?}");
    let mut older = said(&plain(), 1);
    older["version"] = json!("0.0.9");
    let line = "spec.database.mysql: servers of version 0.0.9 know no such database";
    assert!(lines(older).contains(&line.to_owned()));
    for key in [
        "store.url",
        "store.name",
        "mysql.password_file",
        "mysql.tls",
    ] {
        for database in [json!({}), said(&plain(), 1)["database"].clone()] {
            let config =
                json!({"database": database, "roles": {"dbProxy": {"config": {key: "x"}}}});
            let found = lines(config);
            assert!(found[0].ends_with("is set by the operator"), "{found:?}");
        }
    }
}
