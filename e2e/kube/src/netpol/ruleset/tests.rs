use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};

use super::ruleset;

fn pod(namespace: &str, app: &str, ip: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": app, "namespace": namespace, "labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "ports": [
            {"name": "http", "containerPort": 8080},
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
        ]}]},
        "status": {"phase": "Running", "podIP": ip},
    }))
    .unwrap()
}

fn policy(spec: Value) -> NetworkPolicy {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "one"},
        "spec": spec,
    }))
    .unwrap()
}

/// Pods `a` and `b` in the namespace `one`, `c` in `two`, which has the label `team=x`.
fn rules(specs: &[Value]) -> String {
    let pods = [
        pod("one", "a", "10.0.0.1"),
        pod("one", "b", "10.0.0.2"),
        pod("two", "c", "10.0.0.3"),
    ];
    let namespaces = [("one", "y"), ("two", "x")].map(|(name, team)| {
        serde_json::from_value::<Namespace>(json!({
            "metadata": {"name": name, "labels": {"team": team}},
        }))
        .unwrap()
    });
    let policies: Vec<NetworkPolicy> = specs.iter().cloned().map(policy).collect();
    ruleset(&policies, &pods, &namespaces)
}

/// The rules of a chain, but for the first (a pod reaches itself) and the last (`drop`).
fn chain(rules: &str, name: &str) -> Option<Vec<String>> {
    let (_, rest) = rules.split_once(&format!("chain {name} {{\n"))?;
    let (body, _) = rest
        .split_once("}\nchain")
        .or_else(|| rest.split_once("}\n}"))?;
    let lines: Vec<String> = body.lines().map(str::to_owned).collect();
    assert_eq!(lines.last().map(String::as_str), Some("drop"));
    Some(lines[1..lines.len() - 1].to_vec())
}

const A_IN: &str = "ingress_10_0_0_1";
const A_OUT: &str = "egress_10_0_0_1";

#[test]
fn without_policies_nothing_is_dropped() {
    assert!(!rules(&[]).contains("drop"));
}

#[test]
fn default_deny_isolates_every_pod_of_its_namespace_only() {
    let text = rules(&[json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})]);
    assert_eq!(chain(&text, A_IN), Some(vec![]));
    assert_eq!(chain(&text, A_OUT), Some(vec![]));
    assert!(text.contains("ip daddr 10.0.0.2 jump ingress_10_0_0_2"));
    assert!(!text.contains("10_0_0_3"));
}

#[test]
fn a_policy_isolates_only_the_directions_it_names() {
    let text = rules(&[json!({"podSelector": {"matchLabels": {"app": "a"}}})]);
    assert_eq!(chain(&text, A_IN), Some(vec![]));
    assert_eq!(chain(&text, A_OUT), None);
    let text = rules(&[json!({
        "podSelector": {"matchLabels": {"app": "a"}},
        "policyTypes": ["Egress"],
    })]);
    assert_eq!(chain(&text, A_IN), None);
    assert_eq!(chain(&text, A_OUT), Some(vec![]));
}

#[test]
fn an_empty_rule_allows_everything_and_absent_peers_every_address() {
    let text = rules(&[json!({"podSelector": {}, "ingress": [{}]})]);
    assert_eq!(chain(&text, A_IN), Some(vec!["return".to_owned()]));
    let text = rules(&[json!({
        "podSelector": {},
        "ingress": [{"ports": [{"port": 80}, {"port": 90, "endPort": 95, "protocol": "UDP"}]}],
    })]);
    let expected = ["tcp dport 80 return", "udp dport 90-95 return"];
    assert_eq!(chain(&text, A_IN).unwrap(), expected);
}

#[test]
fn selectors_choose_pods_here_in_other_namespaces_and_in_both() {
    let from = |peer: Value| {
        let text = rules(&[json!({"podSelector": {}, "ingress": [{"from": [peer]}]})]);
        chain(&text, A_IN).unwrap()
    };
    assert_eq!(
        from(json!({"podSelector": {}})),
        ["ip saddr { 10.0.0.1, 10.0.0.2 } return"]
    );
    assert_eq!(
        from(json!({"namespaceSelector": {"matchLabels": {"team": "x"}}})),
        ["ip saddr { 10.0.0.3 } return"]
    );
    let expression = json!({"key": "app", "operator": "NotIn", "values": ["a", "b"]});
    assert_eq!(
        from(json!({
            "namespaceSelector": {},
            "podSelector": {"matchExpressions": [expression]},
        })),
        ["ip saddr { 10.0.0.3 } return"]
    );
    // A selector that chooses no pod allows nothing.
    assert!(from(json!({"podSelector": {"matchLabels": {"app": "z"}}})).is_empty());
}

#[test]
fn address_blocks_leave_out_their_exceptions() {
    let text = rules(&[json!({
        "podSelector": {"matchLabels": {"app": "a"}},
        "policyTypes": ["Egress"],
        "egress": [{
            "to": [
                {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.2.0.0/16"]}},
                {"ipBlock": {"cidr": "fd00::/8"}},
            ],
            "ports": [{"port": 5}],
        }],
    })]);
    assert_eq!(
        chain(&text, A_OUT).unwrap(),
        ["ip daddr 10.0.0.0/8 ip daddr != 10.1.0.0/16 ip daddr != 10.2.0.0/16 tcp dport 5 return"]
    );
}

#[test]
fn named_ports_are_those_of_the_destination() {
    let text = rules(&[json!({
        "podSelector": {"matchLabels": {"app": "a"}},
        "ingress": [{"ports": [{"port": "http"}, {"port": "absent"}]}],
        "egress": [{
            "to": [{"podSelector": {"matchLabels": {"app": "b"}}}],
            "ports": [{"port": "dns", "protocol": "UDP"}],
        }],
        "policyTypes": ["Ingress", "Egress"],
    })]);
    assert_eq!(chain(&text, A_IN).unwrap(), ["tcp dport 8080 return"]);
    let out = chain(&text, A_OUT).unwrap();
    let to_b = "ip daddr { 10.0.0.2 } ip daddr 10.0.0.2 udp dport 53 return".to_owned();
    assert!(out.contains(&to_b), "{out:?}");
    // Both conditions hold only for pods that are selected and have the port.
    assert!(
        out.iter()
            .all(|rule| rule.starts_with("ip daddr { 10.0.0.2 }"))
    );
}

#[test]
fn policies_add_up() {
    let text = rules(&[
        json!({"podSelector": {}, "ingress": [{"ports": [{"port": 1}]}]}),
        json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [{"ports": [{"port": 2}]}]}),
    ]);
    assert_eq!(
        chain(&text, A_IN).unwrap(),
        ["tcp dport 1 return", "tcp dport 2 return"]
    );
    assert_eq!(
        chain(&text, "ingress_10_0_0_2").unwrap(),
        ["tcp dport 1 return"]
    );
}

#[test]
fn ended_pods_and_pods_of_the_node_are_left_out() {
    let deny = policy(json!({"podSelector": {}}));
    let mut ended = pod("one", "a", "10.0.0.1");
    ended.status.as_mut().unwrap().phase = Some("Succeeded".to_owned());
    let mut of_node = pod("one", "b", "10.0.0.2");
    of_node.spec.as_mut().unwrap().host_network = Some(true);
    assert!(!ruleset(&[deny], &[ended, of_node], &[]).contains("drop"));
}
