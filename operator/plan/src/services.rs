//! Services of the roles.

use im_operator_api::{ServiceType, TrafficPolicy};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::object::{Owner, metadata, some};
use crate::{Resolved, Role, names};

/// The Services of all roles; those of slots and of the mirror are built apart.
pub(crate) fn all(cluster: &Resolved, owner: &Owner) -> Vec<Service> {
    let roles = &cluster.spec.roles;
    let name = |role| names::component(&cluster.name, role);
    vec![
        headless(
            cluster,
            owner,
            name(Role::DbProxy),
            Role::DbProxy,
            ("grpc", roles.db_proxy.ports.grpc),
        ),
        headless(
            cluster,
            owner,
            name(Role::Route),
            Role::Route,
            ("grpc", roles.route.ports.peer),
        ),
        headless(
            cluster,
            owner,
            name(Role::Msg),
            Role::Msg,
            ("client", roles.msg.ports.client),
        ),
        headless(
            cluster,
            owner,
            names::login_control(&cluster.name),
            Role::Login,
            ("control", roles.login.ports.control),
        ),
        login(cluster, owner),
    ]
}

/// A Service whose EndpointSlices tell which pods there are.
fn headless(
    cluster: &Resolved,
    owner: &Owner,
    name: String,
    role: Role,
    (port_name, number): (&str, i32),
) -> Service {
    Service {
        metadata: metadata(cluster, owner, name, Some(role)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            selector: Some(cluster.selector(role)),
            ports: Some(vec![port(port_name, number)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn login(cluster: &Resolved, owner: &Owner) -> Service {
    let login = &cluster.spec.roles.login;
    let service = &login.service;
    let name = names::component(&cluster.name, Role::Login);
    let mut metadata = metadata(cluster, owner, name, Some(Role::Login));
    metadata.annotations = some(service.annotations.clone());
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(type_name(service.kind).to_owned()),
            selector: Some(cluster.selector(Role::Login)),
            ports: Some(vec![
                port("client", login.ports.client),
                port("http", login.ports.http),
            ]),
            load_balancer_class: some(service.load_balancer_class.clone()),
            load_balancer_source_ranges: some(service.source_ranges.clone()),
            external_traffic_policy: (service.kind != ServiceType::ClusterIP)
                .then(|| policy_name(service.external_traffic_policy).to_owned()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
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

/// A port that leads to the container's port of the same name.
pub(crate) fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(name.to_owned())),
        ..ServicePort::default()
    }
}
