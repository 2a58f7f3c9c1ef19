//! Services of the roles.

use im_operator_api::{ServiceType, TrafficPolicy};
use im_role::{Listener, Service as Kind, Told};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::object::{Owner, metadata, some};
use crate::{Resolved, Role, names};

/// The Services of a role by which others find its pods; that of the mirror is built apart.
pub(crate) fn behind(cluster: &Resolved, owner: &Owner, role: Role) -> Vec<Service> {
    let listeners = role.ports();
    let behind = listeners.filter(|it| matches!(it.service, Kind::Headless(_)));
    behind
        .map(|listener| headless(cluster, owner, role, listener))
        .collect()
}

/// A Service whose EndpointSlices tell which pods there are.
fn headless(cluster: &Resolved, owner: &Owner, role: Role, listener: &Listener) -> Service {
    let name = names::behind(&cluster.name, role, listener.name);
    Service {
        metadata: metadata(cluster, owner, name, Some(role)),
        spec: Some(with_families(
            cluster,
            ServiceSpec {
                cluster_ip: Some("None".to_owned()),
                selector: Some(cluster.selector(role)),
                ports: Some(vec![port(listener.name, cluster.port(role, listener))]),
                ..ServiceSpec::default()
            },
        )),
        ..Service::default()
    }
}

/// The Service of a role for clients; `None` for one without such ports. Those of slots are built apart.
pub(crate) fn front(cluster: &Resolved, owner: &Owner, role: Role) -> Option<Service> {
    let section = cluster.section(role)?;
    let service = section.service.cloned().unwrap_or_default();
    let listeners = role.ports().filter(|it| it.service == Kind::Front);
    let said = section.optional;
    let takes_https = said.is_some_and(|said| !said.tls.secret_name.is_empty());
    let ports: Vec<_> = listeners
        .map(|listener| {
            let port = port(listener.name, section.port(listener));
            ServicePort {
                node_port: service.node_ports.get(listener.name).copied(),
                app_protocol: if takes_https {
                    Some("https".to_owned())
                } else {
                    port.app_protocol
                },
                ..port
            }
        })
        .collect();
    if ports.is_empty() {
        return None;
    }
    let name = names::component(&cluster.name, role);
    let mut metadata = metadata(cluster, owner, name, Some(role));
    metadata.annotations = some(service.annotations);
    let spec = ServiceSpec {
        type_: Some(type_name(service.kind).to_owned()),
        selector: Some(cluster.selector(role)),
        ports: Some(ports),
        load_balancer_class: some(service.load_balancer_class),
        load_balancer_source_ranges: some(service.source_ranges),
        external_traffic_policy: (service.kind != ServiceType::ClusterIP)
            .then(|| policy_name(service.external_traffic_policy).to_owned()),
        // What clients are told of is reached while it proves that it is, and while it lets them go.
        publish_not_ready_addresses: (role.kubernetes.told != Told::Nothing).then_some(true),
        ..ServiceSpec::default()
    };
    Some(Service {
        metadata,
        spec: Some(with_families(cluster, spec)),
        ..Service::default()
    })
}

/// Puts the families of addresses into a Service.
pub(crate) fn with_families(cluster: &Resolved, spec: ServiceSpec) -> ServiceSpec {
    let networking = &cluster.spec.networking;
    let families = networking.ip_families.iter();
    ServiceSpec {
        ip_family_policy: Some(networking.ip_family_policy.as_str().to_owned()),
        ip_families: some(families.map(|it| it.as_str().to_owned()).collect()),
        ..spec
    }
}

pub(crate) const fn type_name(kind: ServiceType) -> &'static str {
    match kind {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    }
}

pub(crate) const fn policy_name(policy: TrafficPolicy) -> &'static str {
    match policy {
        TrafficPolicy::Cluster => "Cluster",
        TrafficPolicy::Local => "Local",
    }
}

/// A port that leads to the container's port of the same name. A mesh that does not know what it carries
/// waits for the client to speak first, unless it is told.
pub(crate) fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        protocol: Some("TCP".to_owned()),
        app_protocol: (name != "http").then(|| "tcp".to_owned()),
        target_port: Some(IntOrString::String(name.to_owned())),
        ..ServicePort::default()
    }
}
