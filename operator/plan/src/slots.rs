//! Slots: addresses, each of which leads to one msg pod while it is bound, and to any otherwise.
//!
//! Clients reconnect to the address that they know, so a slot that no pod needs stays for a while.

use im_operator_api::{ExternalType, labels};
use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use crate::object::{Owner, metadata, some, tag};
use crate::services::{policy_name, port, with_families};
use crate::{Resolved, Role, names};

/// Placeholders of host names and annotations.
pub(crate) const PLACEHOLDERS: [&str; 3] = ["{slot}", "{cluster}", "{namespace}"];

/// The Service of a slot. A bound one leads to the pod with the slot's label, ready or not; an
/// unbound one to any msg pod.
pub fn service(cluster: &Resolved, owner: &Owner, index: u32, bound: bool) -> Service {
    let msg = &cluster.spec.roles.msg;
    let external = &msg.external;
    let name = names::slot(&cluster.name, index);
    let mut metadata = metadata(cluster, owner, name, Some(Role::MSG));
    tag(&mut metadata.labels, labels::SLOT, index.to_string());
    let annotations = external.annotations.iter();
    metadata.annotations = some(
        annotations
            .map(|(key, value)| (key.clone(), fill(cluster, value, index)))
            .collect(),
    );
    let mut selector = Some(cluster.selector(Role::MSG));
    if bound {
        tag(&mut selector, labels::SLOT, index.to_string());
    }
    let mut client = port("client", msg.ports.client);
    let mut spec = ServiceSpec {
        type_: Some("ClusterIP".to_owned()),
        publish_not_ready_addresses: Some(true),
        selector,
        ..ServiceSpec::default()
    };
    let policy = Some(policy_name(external.external_traffic_policy).to_owned());
    match external.kind {
        ExternalType::None => {}
        ExternalType::NodePort => {
            let base = external.node_port.clone().unwrap_or_default().base_port;
            client.node_port = (base > 0).then(|| base.saturating_add_unsigned(index));
            spec.type_ = Some("NodePort".to_owned());
            spec.external_traffic_policy = policy;
        }
        ExternalType::LoadBalancer => {
            let balancer = external.load_balancer.clone().unwrap_or_default();
            if balancer.base_port > 0 {
                client.port = balancer.base_port.saturating_add_unsigned(index);
            }
            spec.type_ = Some("LoadBalancer".to_owned());
            spec.external_traffic_policy = policy;
            spec.load_balancer_class = some(balancer.class);
            spec.load_balancer_source_ranges = some(balancer.source_ranges);
            spec.allocate_load_balancer_node_ports = Some(balancer.allocate_node_ports);
        }
    }
    spec.ports = Some(vec![client]);
    Service {
        metadata,
        spec: Some(with_families(cluster, spec)),
        ..Service::default()
    }
}

/// `host:port` that clients of a slot are told, from its Service as the API server shows it; `None`
/// as long as it is not known. `node` is the address of a node that clients can reach; it is needed for
/// type NodePort without a host template.
pub fn address(
    cluster: &Resolved,
    index: u32,
    service: &Service,
    node: Option<&str>,
) -> Option<String> {
    let external = &cluster.spec.roles.msg.external;
    let spec = service.spec.as_ref()?;
    let client = spec
        .ports
        .as_ref()?
        .iter()
        .find(|port| port.name.as_deref() == Some("client"))?;
    let template =
        (!external.host_template.is_empty()).then(|| fill(cluster, &external.host_template, index));
    let (host, port) = match external.kind {
        ExternalType::None => {
            let ip = spec.cluster_ip.clone();
            (ip.filter(|ip| !ip.is_empty() && ip != "None")?, client.port)
        }
        ExternalType::NodePort => {
            let port = client.node_port.filter(|port| *port > 0)?;
            (template.or_else(|| node.map(str::to_owned))?, port)
        }
        ExternalType::LoadBalancer => {
            let status = service.status.as_ref()?.load_balancer.as_ref()?;
            let ingress = status.ingress.as_ref()?.first()?;
            let seen = ingress.ip.clone().or_else(|| ingress.hostname.clone())?;
            (template.unwrap_or(seen), client.port)
        }
    };
    let port = match external.advertised_port {
        0 => port,
        advertised => advertised,
    };
    // IPv6 addresses need brackets before a port.
    Some(if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    })
}

fn fill(cluster: &Resolved, text: &str, index: u32) -> String {
    text.replace("{slot}", &index.to_string())
        .replace("{cluster}", &cluster.name)
        .replace("{namespace}", &cluster.namespace)
}
