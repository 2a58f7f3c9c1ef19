//! NetworkPolicies: everything is denied but what the roles need.
//!
//! | to | from |
//! |---|---|
//! | listeners for clients | `clientCidrs`, or everywhere |
//! | listeners for roles | the roles that have a link to them, or report there |
//! | listeners for administrators | the roles that administer, where the installation has one; db-proxy's own pods, where they share a database |
//! | metrics of every role | monitoring namespaces |
//! | metrics of a role that tells the load | operator, which reads it there |
//!
//! Listeners and links are those of the table of roles. What it says of an optional role stands in the
//! policies of the others whether the installation has that role or not, but for what administrators reach.
//!
//! Probes come from the node, which NetworkPolicies always let in. Roles that dial others or report to them also
//! reach the API server, which no selector can name: at the ports and in the address ranges that the
//! operator was told. A role that proves its public URL also gets out at the port of it, and one that keeps
//! what people send in a bucket at the port of its service, push at those of its providers, db-proxy at that of
//! a filter and of a database on a server. Every pod may ask DNS.

use std::collections::BTreeMap;

use im_role::{Listener, Reach};
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::object::{Owner, label_selector, metadata, some};
use crate::{Resolved, Role, config, database, filter, names, push};

const DNS: i32 = 53;
/// The port of URLs with HTTPS that name none.
pub(crate) const HTTPS: i32 = 443;

/// The policy that denies every pod of the installation what no other allows.
pub(crate) fn default_deny(cluster: &Resolved, owner: &Owner) -> NetworkPolicy {
    let mut selector = cluster.labels();
    selector.remove(im_operator_api::labels::MANAGED_BY);
    NetworkPolicy {
        metadata: metadata(cluster, owner, names::default_deny(&cluster.name), None),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(label_selector(selector)),
            policy_types: Some(both()),
            ..NetworkPolicySpec::default()
        }),
    }
}

/// The policy of a role's pods.
pub(crate) fn of_role(cluster: &Resolved, owner: &Owner, role: Role) -> NetworkPolicy {
    let name = names::component(&cluster.name, role);
    NetworkPolicy {
        metadata: metadata(cluster, owner, name, Some(role)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(label_selector(cluster.selector(role))),
            policy_types: Some(both()),
            ingress: some(ingress(cluster, role)),
            egress: some(egress(cluster, role)),
        }),
    }
}

fn both() -> Vec<String> {
    vec!["Ingress".to_owned(), "Egress".to_owned()]
}

fn ingress(cluster: &Resolved, role: Role) -> Vec<NetworkPolicyIngressRule> {
    let mut rules = Vec::new();
    let client: Vec<_> = role
        .ports()
        .filter(|listener| listener.reach == Reach::Clients)
        .map(|listener| tcp(cluster.port(role, listener)))
        .collect();
    if !client.is_empty() {
        rules.push(NetworkPolicyIngressRule {
            from: some(clients(cluster)),
            ports: Some(client),
        });
    }
    for listener in role.ports() {
        let callers = cluster.known.table.callers_of(role, listener.name);
        if !callers.is_empty() {
            let peers = callers.into_iter().map(|caller| pods(cluster, caller));
            rules.push(NetworkPolicyIngressRule {
                from: Some(peers.collect()),
                ports: Some(vec![tcp(cluster.port(role, listener))]),
            });
        }
    }
    for listener in administrators_ports(role) {
        let callers = cluster.known.table.administrators_of(role).into_iter();
        let callers = callers.filter(|caller| cluster.section(*caller).is_some());
        let callers = callers.chain(tools(cluster, role));
        let peers: Vec<_> = callers.map(|caller| pods(cluster, caller)).collect();
        if !peers.is_empty() {
            rules.push(NetworkPolicyIngressRule {
                from: Some(peers),
                ports: Some(vec![tcp(listener.port.into())]),
            });
        }
    }
    let mut readers = Vec::new();
    if cluster.spec.observability.metrics.enabled {
        readers.push(monitoring(cluster));
    }
    if role.kubernetes.tells_load {
        readers.push(operator(cluster));
    }
    if !readers.is_empty() {
        rules.push(NetworkPolicyIngressRule {
            from: Some(readers),
            ports: Some(vec![tcp(cluster.spec.observability.metrics.port)]),
        });
    }
    rules
}

fn egress(cluster: &Resolved, role: Role) -> Vec<NetworkPolicyEgressRule> {
    let mut rules = vec![NetworkPolicyEgressRule {
        to: None,
        ports: Some(vec![udp(DNS), tcp(DNS)]),
    }];
    for (peer, listener) in cluster.known.table.peers_of(role) {
        if let Some(listener) = peer.listener(listener) {
            rules.push(NetworkPolicyEgressRule {
                to: Some(vec![pods(cluster, peer)]),
                ports: Some(vec![tcp(cluster.port(peer, listener))]),
            });
        }
    }
    for peer in role.administers.into_iter().chain(tools(cluster, role)) {
        rules.extend(
            administrators_ports(peer).map(|listener| NetworkPolicyEgressRule {
                to: Some(vec![pods(cluster, peer)]),
                ports: Some(vec![tcp(listener.port.into())]),
            }),
        );
    }
    if config::has_peers(cluster, role) {
        rules.push(NetworkPolicyEgressRule {
            to: some(blocks(&cluster.settings.api_server_cidrs)),
            ports: Some(
                (cluster.settings.api_server_ports.iter())
                    .map(|port| tcp(i32::from(*port)))
                    .collect(),
            ),
        });
    }
    rules.extend(bucket(cluster, role));
    rules.extend(providers(cluster, role));
    rules.extend(judge(cluster, role));
    rules.extend(server(cluster, role));
    if let Some(port) = proved(cluster, role) {
        // Where a public URL leads nobody knows before: it is for whoever names it.
        rules.push(NetworkPolicyEgressRule {
            to: None,
            ports: Some(vec![tcp(port)]),
        });
    }
    let extra = &cluster.spec.networking.network_policy.extra_egress;
    rules.extend(extra.iter().cloned());
    rules
}

/// The role to whose administrators' ports tools in pods of this one go: db-proxy's own, where any pod may be the one
/// that serves.
fn tools(cluster: &Resolved, role: Role) -> Option<Role> {
    database::of(cluster, role).map(|_| role)
}

/// The listeners of a role that are for administrators. Their ports are fixed.
fn administrators_ports(role: Role) -> impl Iterator<Item = &'static Listener> {
    let listeners = role.listeners.iter();
    listeners.filter(|listener| listener.reach == Reach::Administrators)
}

/// The port at which a role fetches a probe through its public URL, which only plain HTTP allows.
fn proved(cluster: &Resolved, role: Role) -> Option<i32> {
    let section = cluster.section(role)?;
    let url = section.optional?.public_url.as_str();
    url.starts_with("http://").then(|| port_of(url))?
}

/// The way to the service of the bucket, for a role that keeps blobs. Whose name stands before its port no
/// policy can say.
fn bucket(cluster: &Resolved, role: Role) -> Option<NetworkPolicyEgressRule> {
    let bucket = cluster.spec.storage.blobs.bucket()?;
    let port = match bucket.endpoint.as_str() {
        "" => HTTPS,
        endpoint => port_of(endpoint)?,
    };
    role.kubernetes.blobs.then(|| NetworkPolicyEgressRule {
        to: some(blocks(&bucket.cidrs)),
        ports: Some(vec![tcp(port)]),
    })
}

/// The way to the providers of push, and to who subscribed.
fn providers(cluster: &Resolved, role: Role) -> Option<NetworkPolicyEgressRule> {
    let section = cluster.section(role)?;
    let said = &section.optional?.push;
    let ports = push::ports(said).into_iter().map(tcp);
    (role == Role::PUSH).then(|| NetworkPolicyEgressRule {
        to: some(blocks(&said.provider_cidrs)),
        ports: Some(ports.collect()),
    })
}

/// The way to the before-send filter.
fn judge(cluster: &Resolved, role: Role) -> Option<NetworkPolicyEgressRule> {
    let filter = filter::of(cluster, role)?;
    Some(NetworkPolicyEgressRule {
        to: some(blocks(&filter.cidrs)),
        ports: Some(vec![tcp(port_of(&filter.url)?)]),
    })
}

/// The way to the database on a server.
fn server(cluster: &Resolved, role: Role) -> Option<NetworkPolicyEgressRule> {
    let mysql = database::of(cluster, role)?;
    Some(NetworkPolicyEgressRule {
        to: some(blocks(&mysql.cidrs)),
        ports: Some(vec![tcp(mysql.port)]),
    })
}

/// The port to which a URL leads.
pub(crate) fn port_of(url: &str) -> Option<i32> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?']).next()?;
    match host.rsplit_once(':') {
        // The colons of an IPv6 address without a port.
        Some((_, port)) if !port.ends_with(']') => port.parse().ok(),
        _ if scheme == "https" => Some(HTTPS),
        _ => Some(80),
    }
}

/// Where clients come from; empty means everywhere.
fn clients(cluster: &Resolved) -> Vec<NetworkPolicyPeer> {
    blocks(&cluster.spec.networking.network_policy.client_cidrs)
}

fn blocks(cidrs: &[String]) -> Vec<NetworkPolicyPeer> {
    let block = |cidr: &String| NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.clone(),
            except: None,
        }),
        ..NetworkPolicyPeer::default()
    };
    cidrs.iter().map(block).collect()
}

fn pods(cluster: &Resolved, role: Role) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(label_selector(cluster.selector(role))),
        ..NetworkPolicyPeer::default()
    }
}

/// Who reads metrics: pods of the named namespaces, or of the own one.
fn monitoring(cluster: &Resolved) -> NetworkPolicyPeer {
    let selector = &cluster
        .spec
        .networking
        .network_policy
        .monitoring_namespace_selector;
    NetworkPolicyPeer {
        pod_selector: Some(LabelSelector::default()),
        namespace_selector: some(selector.clone()),
        ip_block: None,
    }
}

fn operator(cluster: &Resolved) -> NetworkPolicyPeer {
    let namespace = BTreeMap::from([(
        "kubernetes.io/metadata.name".to_owned(),
        cluster.settings.operator_namespace.clone(),
    )]);
    NetworkPolicyPeer {
        pod_selector: Some(label_selector(cluster.settings.operator_labels.clone())),
        namespace_selector: Some(label_selector(namespace)),
        ip_block: None,
    }
}

fn tcp(port: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(port)),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    }
}

fn udp(port: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some("UDP".to_owned()),
        ..tcp(port)
    }
}
