//! Slots and their addresses.

use im_operator_plan::slots::{address, service};
use k8s_openapi::api::core::v1::Service;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{built, child, cluster, of_kind, owner, resolve, validate};

fn external(external: Value) -> Value {
    json!({"roles": {"msg": {"external": external}}})
}

#[test]
fn an_unbound_slot_leads_to_every_msg_pod() {
    let cluster = resolve(json!({}));
    let selector = |bound| {
        service(&cluster, &owner(), 3, bound)
            .spec
            .unwrap()
            .selector
            .unwrap()
    };
    assert_eq!(selector(true)["imcluster.io/slot"], "3");
    assert!(!selector(false).contains_key("imcluster.io/slot"));
    assert_eq!(selector(false)["app.kubernetes.io/component"], "msg");
    for bound in [true, false] {
        let spec = service(&cluster, &owner(), 3, bound).spec.unwrap();
        assert_eq!(spec.publish_not_ready_addresses, Some(true));
    }
}

#[test]
fn binding_changes_nothing_but_the_selector() {
    for spec in [
        external(json!({})),
        external(json!({"type": "LoadBalancer"})),
    ] {
        let cluster = resolve(spec);
        let mut bound = service(&cluster, &owner(), 0, true);
        let unbound = service(&cluster, &owner(), 0, false);
        bound
            .spec
            .as_mut()
            .unwrap()
            .selector
            .clone_from(&unbound.spec.as_ref().unwrap().selector);
        assert_eq!(bound, unbound);
    }
}

/// The Service as the API server would show it.
fn shown(service: &Service, over: Value) -> Service {
    let mut value = serde_json::to_value(service).unwrap();
    for (key, part) in over.as_object().unwrap() {
        let target = &mut value[key];
        if target.is_null() {
            *target = json!({});
        }
        for (field, inner) in part.as_object().unwrap() {
            target[field] = inner.clone();
        }
    }
    Service::deserialize(value).unwrap()
}

fn told(spec: Value, over: Value, node: Option<&str>) -> Option<String> {
    let cluster = resolve(spec);
    let service = shown(&service(&cluster, &owner(), 2, true), over);
    address(&cluster, 2, &service, node)
}

#[test]
fn inside_the_cluster_the_address_is_that_of_the_service() {
    assert_eq!(told(json!({}), json!({}), None), None);
    let over = json!({"spec": {"clusterIP": "10.96.0.7"}});
    assert_eq!(
        told(json!({}), over, None).as_deref(),
        Some("10.96.0.7:8000")
    );
    let over = json!({"spec": {"clusterIP": "fd00::7"}});
    assert_eq!(
        told(json!({}), over, None).as_deref(),
        Some("[fd00::7]:8000")
    );
}

#[test]
fn a_node_port_has_the_host_of_the_template_or_of_a_node() {
    let spec =
        external(json!({"type": "NodePort", "hostTemplate": "m{slot}.{cluster}.{namespace}.org"}));
    let ports = json!({"spec": {"ports": [{"name": "client", "port": 8000, "nodePort": 30123}]}});
    assert_eq!(told(spec.clone(), json!({}), None), None);
    assert_eq!(
        told(spec, ports, None).as_deref(),
        Some("m2.demo.chat.org:30123")
    );
    let spec =
        external(json!({"type": "NodePort", "hostTemplate": "h", "nodePort": {"basePort": 30100}}));
    assert_eq!(told(spec, json!({}), None).as_deref(), Some("h:30102"));
    let mut cluster = resolve(external(
        json!({"type": "NodePort", "hostTemplate": "h", "nodePort": {"basePort": 30100}}),
    ));
    cluster.spec.roles.msg.external.host_template.clear();
    let service = service(&cluster, &owner(), 2, true);
    assert_eq!(address(&cluster, 2, &service, None), None);
    assert_eq!(
        address(&cluster, 2, &service, Some("192.0.2.9")).as_deref(),
        Some("192.0.2.9:30102")
    );
}

#[test]
fn a_load_balancer_is_waited_for() {
    let spec = external(json!({"type": "LoadBalancer"}));
    assert_eq!(told(spec.clone(), json!({}), None), None);
    let ingress = |ingress: Value| json!({"status": {"loadBalancer": {"ingress": [ingress]}}});
    let ip = ingress(json!({"ip": "192.0.2.5"}));
    assert_eq!(
        told(spec.clone(), ip.clone(), None).as_deref(),
        Some("192.0.2.5:8000")
    );
    let host = ingress(json!({"hostname": "lb.example.com"}));
    assert_eq!(
        told(spec, host, None).as_deref(),
        Some("lb.example.com:8000")
    );
    let spec = external(
        json!({"type": "LoadBalancer", "hostTemplate": "{slot}.org", "advertisedPort": 443}),
    );
    assert_eq!(told(spec.clone(), json!({}), None), None);
    assert_eq!(told(spec, ip, None).as_deref(), Some("2.org:443"));
}

#[test]
fn load_balancers_have_ports_of_nodes_unless_they_are_told_to_need_none() {
    for (balancer, expected) in [
        (json!({}), true),
        (json!({"allocateNodePorts": false}), false),
    ] {
        let spec = external(json!({"type": "LoadBalancer", "loadBalancer": balancer}));
        let service = service(&resolve(spec), &owner(), 0, true);
        let allocated = service.spec.unwrap().allocate_load_balancer_node_ports;
        assert_eq!(allocated, Some(expected));
    }
}

/// As where a provider has one address, or takes a port of each node for a load balancer.
#[test]
fn slots_of_load_balancers_may_share_an_address_at_ports_of_their_own() {
    let spec = external(
        json!({"type": "LoadBalancer", "hostTemplate": "chat.example.com",
        "loadBalancer": {"basePort": 9000}}),
    );
    let cluster = resolve(spec.clone());
    for slot in [0, 2] {
        let spec = service(&cluster, &owner(), slot, true).spec.unwrap();
        let port = &spec.ports.unwrap()[0];
        assert_eq!(port.port, 9000 + i32::try_from(slot).unwrap());
        assert_eq!(serde_json::to_value(&port.target_port).unwrap(), "client");
    }
    let over = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    let found = told(spec, over, None);
    assert_eq!(found.as_deref(), Some("chat.example.com:9002"));
}

#[test]
fn ports_of_slots_that_share_an_address_end_at_the_last_port() {
    let wrong = |base: i32, advertised: i32| {
        let spec = json!({"roles": {"msg": {"replicas": 3, "external": {"type": "LoadBalancer",
            "advertisedPort": advertised, "loadBalancer": {"basePort": base}}}}});
        let errors = validate(&cluster(spec)).err().unwrap_or_default();
        errors.iter().map(ToString::to_string).collect::<String>()
    };
    // Three pods and one more.
    assert_eq!(wrong(65_532, 0), "");
    assert!(wrong(65_533, 0).contains("loadBalancer.basePort: 65533 leaves no ports for 4 slots"));
    assert!(wrong(9_000, 443).contains("advertisedPort"));
}

/// A mesh that guesses what a port carries waits for the client's first bytes.
#[test]
fn ports_but_that_of_http_say_that_they_carry_tcp() {
    let desired = built(&resolve(json!({})));
    let mut seen = 0;
    for name in of_kind(&desired, "Service") {
        let service = child(&desired, "Service", name).unwrap();
        for port in service["spec"]["ports"].as_array().unwrap() {
            let expected = if port["name"] == "http" {
                Value::Null
            } else {
                json!("tcp")
            };
            assert_eq!(port["appProtocol"], expected, "{name} {port}");
            seen += 1;
        }
    }
    assert!(seen >= 7, "{seen}");
    let slot = service(&resolve(json!({})), &owner(), 0, true);
    let port = &slot.spec.unwrap().ports.unwrap()[0];
    assert_eq!(port.app_protocol.as_deref(), Some("tcp"));
}
