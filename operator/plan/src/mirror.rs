//! The mirror: addresses and load of the msg servers, for people and programs other than ours.
//!
//! It is made of EndpointSlices that kube-proxy ignores, so that a change of load wakes no node.

use im_operator_api::labels;
use k8s_openapi::api::core::v1::{ObjectReference, Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use serde_json::json;

use crate::object::{Owner, metadata, put, tag};
use crate::services::port;
use crate::{Resolved, Role, names};

/// Endpoints of one slice, as many as Kubernetes itself takes.
const SLICE: usize = 100;

/// A msg server as the mirror shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// Name of its pod.
    pub pod: String,
    /// UID of its pod.
    pub uid: String,
    /// Address of its pod.
    pub ip: String,
    /// Node of its pod.
    pub node: Option<String>,
    /// Whether it is handed out.
    pub ready: bool,
    /// `host:port` that clients are told.
    pub endpoint: Option<String>,
    /// Connections by capacity, percent; `None` when not known.
    pub load_percent: Option<u32>,
}

/// The Service that the slices belong to. It selects nothing.
pub fn service(cluster: &Resolved, owner: &Owner) -> Service {
    let name = names::mirror(&cluster.name);
    Service {
        metadata: metadata(cluster, owner, name, Some(Role::MSG)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            ports: Some(vec![port("client", cluster.spec.roles.msg.ports.client)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// The slices, for servers in any order. Load is shown in steps of `load.mirrorBucketPercent`, so that
/// two results differ only when a step or an address has changed. Pods of another address family than
/// the first are left out.
pub fn slices(cluster: &Resolved, owner: &Owner, servers: &[Mirrored]) -> Vec<EndpointSlice> {
    let mut servers: Vec<_> = servers
        .iter()
        .filter(|server| !server.ip.is_empty())
        .collect();
    servers.sort_by(|a, b| a.pod.cmp(&b.pod));
    let is_v6 = servers
        .first()
        .is_some_and(|server| server.ip.contains(':'));
    servers.retain(|server| server.ip.contains(':') == is_v6);
    servers
        .chunks(SLICE)
        .enumerate()
        .map(|(number, servers)| slice(cluster, owner, number, servers, is_v6))
        .collect()
}

fn slice(
    cluster: &Resolved,
    owner: &Owner,
    number: usize,
    servers: &[&Mirrored],
    is_v6: bool,
) -> EndpointSlice {
    let name = names::mirror_slice(&cluster.name, number);
    let mut metadata = metadata(cluster, owner, name, Some(Role::MSG));
    for (key, value) in [
        ("kubernetes.io/service-name", names::mirror(&cluster.name)),
        (
            "endpointslice.kubernetes.io/managed-by",
            labels::MANAGER.to_owned(),
        ),
        ("service.kubernetes.io/headless", String::new()),
    ] {
        tag(&mut metadata.labels, key, value);
    }
    let loads = loads(cluster, servers);
    tag(&mut metadata.annotations, labels::LOAD, loads);
    EndpointSlice {
        metadata,
        address_type: if is_v6 { "IPv6" } else { "IPv4" }.to_owned(),
        endpoints: servers
            .iter()
            .map(|server| endpoint(cluster, server))
            .collect(),
        ports: Some(vec![EndpointPort {
            name: Some("client".to_owned()),
            port: Some(cluster.spec.roles.msg.ports.client),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        }]),
    }
}

fn endpoint(cluster: &Resolved, server: &Mirrored) -> Endpoint {
    Endpoint {
        addresses: vec![server.ip.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(server.ready),
            ..EndpointConditions::default()
        }),
        node_name: server.node.clone(),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            name: Some(server.pod.clone()),
            namespace: Some(cluster.namespace.clone()),
            uid: Some(server.uid.clone()),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

/// Public address and step of load by pod UID.
fn loads(cluster: &Resolved, servers: &[&Mirrored]) -> String {
    let step = u32::try_from(cluster.spec.load.mirror_bucket_percent)
        .unwrap_or(10)
        .max(1);
    let entries = servers.iter().map(|server| {
        let mut entry = json!({});
        if let Some((host, port)) = server
            .endpoint
            .as_deref()
            .and_then(|endpoint| endpoint.rsplit_once(':'))
        {
            put(&mut entry, "host", json!(host.trim_matches(['[', ']'])));
            put(&mut entry, "port", json!(port.parse::<u16>().unwrap_or(0)));
        }
        if let Some(percent) = server.load_percent {
            put(&mut entry, "b", json!(percent / step));
        }
        (server.uid.clone(), entry)
    });
    serde_json::Value::Object(entries.collect()).to_string()
}
