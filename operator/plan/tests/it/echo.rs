//! What follows from a row of the table of roles, shown with a role that only tests have.

use std::sync::LazyLock;

use im_config::table::leaves;
use im_operator_api::{Common, ImClusterSpec, Pdb, Section};
use im_operator_plan::{Child, Desired, KnownRoles, Resolved, Role, Settings, Stage, validate};
use serde_json::{Value, json};

use crate::support::{built, child, cluster, of_kind, templates};
use crate::table::{ECHO, WITH_ECHO};

static COMMON: LazyLock<Common> = LazyLock::new(Common::default);
static PDB: LazyLock<Pdb> = LazyLock::new(Pdb::default);

/// An installation that has the role: two pods.
fn with(spec: &ImClusterSpec, role: Role) -> Option<Section<'_>> {
    if role != ECHO {
        return spec.section(role);
    }
    Some(Section {
        replicas: 2,
        ports: Vec::new(),
        pdb: &PDB,
        service: None,
        common: &COMMON,
        optional: None,
    })
}

fn resolved(section: for<'a> fn(&'a ImClusterSpec, Role) -> Option<Section<'a>>) -> Resolved {
    let known = KnownRoles {
        table: WITH_ECHO,
        section,
    };
    validate::validate_with(&cluster(json!({})), &Settings::default(), known).unwrap()
}

fn on() -> Desired {
    built(&resolved(with))
}

/// The role is known, but the installation does not have it.
fn off() -> Desired {
    built(&resolved(ImClusterSpec::section))
}

fn file(desired: &Desired, role: &str) -> toml::Table {
    let map = child(desired, "ConfigMap", &format!("demo-{role}")).unwrap();
    toml::from_str(map["data"]["imd.toml"].as_str().unwrap()).unwrap()
}

fn policy(desired: &Desired, role: &str) -> Value {
    child(desired, "NetworkPolicy", &format!("demo-{role}")).unwrap()["spec"].clone()
}

/// A rule for this port, with these roles at the other end.
fn rule(key: &str, roles: &[&str], port: u16) -> Value {
    let peer = |role: &&str| {
        json!({"podSelector": {"matchLabels": {
            "app.kubernetes.io/component": role,
            "app.kubernetes.io/instance": "demo",
            "app.kubernetes.io/name": "im",
        }}})
    };
    let peers: Vec<_> = roles.iter().map(peer).collect();
    json!({key: peers, "ports": [{"port": port, "protocol": "TCP"}]})
}

fn has(rules: &Value, rule: &Value) -> bool {
    rules.as_array().unwrap().contains(rule)
}

#[test]
fn a_role_of_thirty_lines_gets_pods_with_ports_and_probes() {
    let row = include_str!("../../../../services/role/tests/table/echo.rs");
    assert!(row.lines().count() <= 30);
    let deployment = child(&on(), "Deployment", "demo-echo").unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(pod["serviceAccountName"], "demo-echo");
    assert_eq!(pod["automountServiceAccountToken"], true);
    let container = &pod["containers"][0];
    assert_eq!(container["name"], "echo");
    assert_eq!(container["args"][0], "echo");
    let port =
        |name: &str, port: u16| json!({"name": name, "containerPort": port, "protocol": "TCP"});
    assert_eq!(
        container["ports"],
        json!([
            port("client", 8900),
            port("grpc", 8901),
            port("metrics", 9090)
        ])
    );
    assert_eq!(container["startupProbe"]["failureThreshold"], 30);
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "metrics", "{probe}");
    }
    for kind in ["ServiceAccount", "PodDisruptionBudget"] {
        assert!(child(&on(), kind, "demo-echo").is_some(), "{kind}");
    }
}

#[test]
fn a_role_of_thirty_lines_gets_services_for_clients_and_for_other_roles() {
    let ports = |name: &str| {
        let spec = child(&on(), "Service", name).unwrap()["spec"].clone();
        assert_eq!(
            spec["selector"]["app.kubernetes.io/component"], "echo",
            "{name}"
        );
        let is_headless = spec["clusterIP"] == "None";
        (is_headless, spec["ports"].clone())
    };
    let port = |name: &str, port: u16| {
        json!([{"name": name, "port": port, "protocol": "TCP", "targetPort": name,
            "appProtocol": "tcp"}])
    };
    assert_eq!(ports("demo-echo"), (false, port("client", 8900)));
    assert_eq!(ports("demo-echo-peer"), (true, port("grpc", 8901)));
}

#[test]
fn a_role_of_thirty_lines_gets_a_configuration_file_with_its_listeners_and_peers() {
    let file = file(&on(), "echo");
    let text = |table: &str, key: &str| file[table][key].clone();
    assert_eq!(text("echo", "client_listen").as_str(), Some("[::]:8900"));
    assert_eq!(text("echo", "listen").as_str(), Some("[::]:8901"));
    assert_eq!(text("log", "filter").as_str(), Some("info"));
    let peers = text("peers", "db_proxy");
    assert_eq!(peers[0].as_str(), Some("kubernetes:demo-db-proxy:grpc"));
    let keys = leaves(&file);
    assert!(!keys.contains(&"peers.route".to_owned()), "{keys:?}");
}

#[test]
fn a_role_of_thirty_lines_gets_policies_and_may_find_those_that_it_dials() {
    let desired = on();
    let echo = policy(&desired, "echo");
    let clients = json!({"ports": [{"port": 8900, "protocol": "TCP"}]});
    assert!(has(&echo["ingress"], &clients), "{echo}");
    assert!(
        has(&echo["ingress"], &rule("from", &["msg"], 8901)),
        "{echo}"
    );
    assert!(
        has(&echo["egress"], &rule("to", &["db-proxy"], 10_600)),
        "{echo}"
    );
    let binding = child(&desired, "RoleBinding", "demo-discovery").unwrap();
    let subjects = binding["subjects"].as_array().unwrap();
    assert!(subjects.iter().any(|it| it["name"] == "demo-echo"));
}

#[test]
fn a_role_of_thirty_lines_is_rolled_out_between_those_that_it_dials_and_those_that_dial_it() {
    let cluster = resolved(with);
    let expected = [Role::DB_PROXY, Role::ROUTE, ECHO, Role::MSG, Role::LOGIN];
    assert_eq!(cluster.roles(), expected);
    let table = cluster.known.table;
    assert_eq!(table.waits_for(ECHO, true), [Role::DB_PROXY]);
    assert!(table.waits_for(Role::MSG, true).contains(&ECHO));
    let desired = built(&cluster);
    let workloads = desired
        .children
        .iter()
        .filter(|planned| matches!(planned.child, Child::StatefulSet(_) | Child::Deployment(_)));
    let stages: Vec<_> = workloads.map(|planned| planned.stage).collect();
    let planned = expected.into_iter().filter(|role| *role != Role::MSG);
    assert_eq!(stages, planned.map(Stage::Of).collect::<Vec<_>>());
}

#[test]
fn an_optional_role_that_an_installation_does_not_have_gets_nothing() {
    for kind in [
        "ServiceAccount",
        "ConfigMap",
        "Service",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Deployment",
    ] {
        let names = of_kind(&off(), kind).join(" ");
        assert!(!names.contains("echo"), "{kind}: {names}");
    }
}

/// Whoever dials it lists its Service, has a token to follow it, and may reach it, all from the beginning.
#[test]
fn switching_a_role_on_changes_no_pod_no_file_and_no_policy_of_another() {
    let (off, on) = (off(), on());
    let of_others = templates(&on);
    let of_others: Vec<_> = of_others
        .into_iter()
        .filter(|template| template["spec"]["serviceAccountName"] != "demo-echo")
        .collect();
    assert_eq!(templates(&off), of_others);
    for planned in &off.children {
        let (kind, name) = (planned.child.kind(), planned.child.name());
        let before = planned.child.to_json().unwrap();
        let after = child(&on, kind, name).unwrap();
        // It gets one subject more: whoever lists EndpointSlices.
        assert!(before == after || kind == "RoleBinding", "{kind} {name}");
    }
    let msg = file(&off, "msg");
    let peers = msg["peers"]["echo"][0].as_str();
    assert_eq!(peers, Some("kubernetes:demo-echo-peer:grpc"));
    let egress = policy(&off, "msg")["egress"].clone();
    assert!(has(&egress, &rule("to", &["echo"], 8901)), "{egress}");
    let ingress = policy(&off, "db-proxy")["ingress"].clone();
    assert!(
        has(&ingress, &rule("from", &["msg", "echo"], 10_600)),
        "{ingress}"
    );
}
