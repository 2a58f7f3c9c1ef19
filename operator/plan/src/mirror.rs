//! The mirror: addresses and load of the msg servers, for people and programs other than ours.
//!
//! It is made of EndpointSlices that kube-proxy ignores, so that a change of load wakes no node.

use std::collections::BTreeMap;

use im_operator_api::{IpFamily, labels};
use k8s_openapi::api::core::v1::{ObjectReference, Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use serde_json::json;

use crate::object::{Owner, metadata, put, tag};
use crate::services::{port, with_families};
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
    /// Addresses of its pod, at most one of each family.
    pub ips: Vec<String>,
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
        spec: Some(with_families(
            cluster,
            ServiceSpec {
                cluster_ip: Some("None".to_owned()),
                ports: Some(vec![port("client", cluster.spec.roles.msg.ports.client)]),
                ..ServiceSpec::default()
            },
        )),
        ..Service::default()
    }
}

/// The slices, for servers in any order; those of a pod with addresses of both families are in slices of
/// either. Load is shown in steps of `load.mirrorBucketPercent`, so that two results differ only when a step
/// or an address has changed. A server keeps its step of `shown` until it has left it by half a step: load
/// at a boundary changes nothing.
pub fn slices(
    cluster: &Resolved,
    owner: &Owner,
    servers: &[Mirrored],
    shown: &Steps,
) -> Vec<EndpointSlice> {
    let steps = steps(cluster, servers, shown);
    let mut servers: Vec<_> = servers.iter().collect();
    servers.sort_by(|a, b| a.pod.cmp(&b.pod));
    let mut slices = Vec::new();
    for family in [IpFamily::V4, IpFamily::V6] {
        let of_family: Vec<_> = servers
            .iter()
            .filter_map(|server| Some((*server, address(server, family)?)))
            .collect();
        let chunks = of_family.chunks(SLICE).enumerate();
        slices.extend(
            chunks.map(|(number, servers)| slice(cluster, owner, number, servers, family, &steps)),
        );
    }
    slices
}

/// The step of load in which each server is shown, by UID of its pod.
pub type Steps = BTreeMap<String, u32>;

/// The steps that follow those that are shown.
pub fn steps(cluster: &Resolved, servers: &[Mirrored], shown: &Steps) -> Steps {
    let step = u32::try_from(cluster.spec.load.mirror_bucket_percent)
        .unwrap_or(10)
        .max(1);
    let of_server = |server: &Mirrored| {
        let percent = server.load_percent?;
        // In halves of a percent.
        let stays = |old: &u32| {
            let (from, to) = (2 * old * step, 2 * (old + 1) * step);
            (from.saturating_sub(step)..to + step).contains(&(2 * percent))
        };
        let old = shown.get(&server.uid).copied().filter(stays);
        Some((server.uid.clone(), old.unwrap_or(percent / step)))
    };
    servers.iter().filter_map(of_server).collect()
}

fn address(server: &Mirrored, family: IpFamily) -> Option<&str> {
    let mut ips = server.ips.iter().map(String::as_str);
    ips.find(|ip| !ip.is_empty() && ip.contains(':') == (family == IpFamily::V6))
}

fn slice(
    cluster: &Resolved,
    owner: &Owner,
    number: usize,
    servers: &[(&Mirrored, &str)],
    family: IpFamily,
    steps: &Steps,
) -> EndpointSlice {
    let name = names::mirror_slice(&cluster.name, family, number);
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
    let loads = loads(servers, steps);
    tag(&mut metadata.annotations, labels::LOAD, loads);
    EndpointSlice {
        metadata,
        address_type: family.as_str().to_owned(),
        endpoints: servers
            .iter()
            .map(|(server, ip)| endpoint(cluster, server, ip))
            .collect(),
        ports: Some(vec![EndpointPort {
            name: Some("client".to_owned()),
            port: Some(cluster.spec.roles.msg.ports.client),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        }]),
    }
}

fn endpoint(cluster: &Resolved, server: &Mirrored, ip: &str) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_owned()],
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
fn loads(servers: &[(&Mirrored, &str)], steps: &Steps) -> String {
    let entries = servers.iter().map(|(server, _)| {
        let mut entry = json!({});
        if let Some((host, port)) = server
            .endpoint
            .as_deref()
            .and_then(|endpoint| endpoint.rsplit_once(':'))
        {
            put(&mut entry, "host", json!(host.trim_matches(['[', ']'])));
            put(&mut entry, "port", json!(port.parse::<u16>().unwrap_or(0)));
        }
        if let Some(step) = steps.get(&server.uid) {
            put(&mut entry, "b", json!(step));
        }
        (server.uid.clone(), entry)
    });
    serde_json::Value::Object(entries.collect()).to_string()
}
