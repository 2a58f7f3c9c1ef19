//! Who may reach whom.

use im_operator_plan::Settings;
use serde_json::{Value, json};

use crate::support::{built, child, cluster, of_kind, resolve};

/// Whether the policies let pods of one role reach a port of another.
fn allowed(spec: &Value, from: &str, to: &str, port: i64) -> bool {
    let desired = built(&resolve(spec.clone()));
    let policy = |role: &str| child(&desired, "NetworkPolicy", &format!("demo-{role}")).unwrap();
    let names = |rule: &Value, key: &str, role: &str| match rule[key].as_array() {
        None => true,
        Some(peers) => peers
            .iter()
            .any(|peer| peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == role),
    };
    let with_port = |rule: &Value| {
        let ports = rule["ports"].as_array().unwrap();
        ports.iter().any(|entry| entry["port"] == port)
    };
    let any = |rules: &Value, key: &str, role: &str| {
        let mut rules = rules.as_array().into_iter().flatten();
        rules.any(|rule| with_port(rule) && names(rule, key, role))
    };
    any(&policy(from)["spec"]["egress"], "to", to)
        && any(&policy(to)["spec"]["ingress"], "from", from)
}

#[test]
fn roles_reach_what_they_dial_and_nothing_else() {
    let ports = [("login", 8100), ("route", 8200), ("db-proxy", 10600)];
    let dialled = [
        ("msg", "login"),
        ("msg", "route"),
        ("msg", "db-proxy"),
        ("db-proxy", "route"),
    ];
    for from in ["login", "msg", "route", "db-proxy"] {
        for (to, port) in ports {
            let expected = dialled.contains(&(from, to));
            assert_eq!(
                allowed(&json!({}), from, to, port),
                expected,
                "{from} to {to}"
            );
        }
        assert!(!allowed(&json!({}), from, "msg", 9090), "{from} to metrics");
        assert!(
            !allowed(&json!({}), from, "db-proxy", 10601),
            "{from} to the administrators' port"
        );
    }
}

#[test]
fn everything_else_is_denied_for_every_pod() {
    let deny = child(
        &built(&resolve(json!({}))),
        "NetworkPolicy",
        "demo-default-deny",
    )
    .unwrap();
    let labels = json!({"app.kubernetes.io/name": "im", "app.kubernetes.io/instance": "demo"});
    assert_eq!(deny["spec"]["podSelector"]["matchLabels"], labels);
    assert_eq!(deny["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(
        (&deny["spec"]["ingress"], &deny["spec"]["egress"]),
        (&Value::Null, &Value::Null)
    );
    let off = built(&resolve(
        json!({"networking": {"networkPolicy": {"enabled": false}}}),
    ));
    assert!(of_kind(&off, "NetworkPolicy").is_empty());
}

#[test]
fn clients_come_from_where_the_specification_says() {
    let rule = |spec: Value, role: &str| {
        let policy = child(
            &built(&resolve(spec)),
            "NetworkPolicy",
            &format!("demo-{role}"),
        )
        .unwrap();
        policy["spec"]["ingress"][0].clone()
    };
    for role in ["msg", "login"] {
        assert_eq!(rule(json!({}), role)["from"], Value::Null);
        let spec = json!({"networking": {"networkPolicy": {"clientCidrs": ["192.0.2.0/24"]}}});
        assert_eq!(
            rule(spec, role)["from"],
            json!([{"ipBlock": {"cidr": "192.0.2.0/24"}}])
        );
    }
}

/// Servers of before, which report to nobody, do not find anybody either, unless they dial.
#[test]
fn only_those_that_dial_or_report_reach_the_api_server() {
    for (version, those) in [
        ("0.1.0", &["msg", "db-proxy", "login", "route"][..]),
        ("0.0.9", &["msg", "db-proxy"]),
    ] {
        let desired = built(&resolve(json!({"version": version})));
        for role in ["msg", "db-proxy", "login", "route"] {
            let policy = child(&desired, "NetworkPolicy", &format!("demo-{role}")).unwrap();
            let egress = policy["spec"]["egress"].as_array().unwrap();
            let reaches = egress.iter().any(|rule| rule["ports"][0]["port"] == 443);
            assert_eq!(reaches, those.contains(&role), "{version} {role}");
        }
    }
}

/// Whoever comes finds the doors open, and is let in by its name alone.
#[test]
fn every_role_reaches_the_monitor_of_http_api_and_nothing_else_of_it() {
    let spec = json!({"roles": {
        "httpApi": {"ports": {"monitor": 8411}}, "file": {}, "msfs": {}, "push": {}}});
    for from in [
        "login", "msg", "route", "db-proxy", "file", "msfs", "push", "http-api",
    ] {
        assert!(allowed(&spec, from, "http-api", 8411), "{from}");
        assert!(!allowed(&spec, from, "http-api", 8410), "{from}");
        assert!(!allowed(&spec, from, "http-api", 9090), "{from}");
    }
    let desired = built(&resolve(json!({})));
    let policy = child(&desired, "NetworkPolicy", "demo-route").unwrap();
    let egress = policy["spec"]["egress"].to_string();
    assert!(
        egress.contains("8410") && egress.contains("http-api"),
        "{egress}"
    );
}

#[test]
fn the_operator_reads_load_at_login_only() {
    let desired = built(&resolve(
        json!({"observability": {"metrics": {"enabled": false}}}),
    ));
    for role in ["login", "msg", "route", "db-proxy"] {
        let policy = child(&desired, "NetworkPolicy", &format!("demo-{role}")).unwrap();
        let text = policy["spec"]["ingress"].to_string();
        assert_eq!(text.contains("imcluster-system"), role == "login", "{role}");
    }
}

#[test]
fn all_roles_may_read_endpoint_slices_and_nothing_else() {
    let desired = built(&resolve(json!({})));
    let role = child(&desired, "Role", "demo-discovery").unwrap();
    assert_eq!(
        role["rules"],
        json!([{
            "apiGroups": ["discovery.k8s.io"],
            "resources": ["endpointslices"],
            "verbs": ["get", "list", "watch"],
        }])
    );
    let binding = child(&desired, "RoleBinding", "demo-discovery").unwrap();
    let subjects = binding["subjects"].as_array().unwrap().iter();
    let names: Vec<_> = subjects
        .map(|subject| subject["name"].as_str().unwrap())
        .collect();
    let all = ["demo-db-proxy", "demo-route", "demo-msg", "demo-login"];
    assert_eq!(names, all);
}

/// minikube listens at 8443 and MicroK8s at 16443; whoever knows the address says it.
#[test]
fn roles_that_dial_reach_the_api_server_where_the_operator_was_told_that_it_is() {
    let egress = |settings: &Settings, role: &str| {
        let resolved = im_operator_plan::validate::validate(&cluster(json!({})), settings);
        let desired = built(&resolved.unwrap());
        let policy = child(&desired, "NetworkPolicy", &format!("demo-{role}")).unwrap();
        policy["spec"]["egress"].as_array().unwrap().clone()
    };
    let rule = |ports: &[i64], to: Value| {
        let ports = ports
            .iter()
            .map(|port| json!({"port": port, "protocol": "TCP"}));
        let mut rule = json!({"ports": ports.collect::<Vec<_>>()});
        if !to.is_null() {
            rule["to"] = to;
        }
        rule
    };
    let usual = rule(&[443, 6443, 8443, 16443], Value::Null);
    let told = Settings {
        api_server_ports: vec![7443],
        api_server_cidrs: vec!["192.0.2.7/32".to_owned()],
        ..Settings::default()
    };
    let narrow = rule(&[7443], json!([{"ipBlock": {"cidr": "192.0.2.7/32"}}]));
    for role in ["msg", "db-proxy", "route"] {
        assert!(
            egress(&Settings::default(), role).contains(&usual),
            "{role}"
        );
        let found = egress(&told, role);
        assert!(
            found.contains(&narrow) && !found.contains(&usual),
            "{role}: {found:?}"
        );
    }
}
