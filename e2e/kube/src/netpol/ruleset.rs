//! NetworkPolicies and pods → the text of an nft table.
//!
//! Every pod that a policy selects gets a chain for each isolated direction; the chain returns for
//! what is allowed and drops the rest. A packet between two pods passes the chain of its source, then
//! the chain of its destination. Packets from the node itself are never looked at: they do not pass
//! the hooks below, as the kubelet's probes must get through.

use std::collections::BTreeSet;
use std::fmt::Write;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::select::{address, matches, pods};

/// Name of the table.
pub const TABLE: &str = "imcluster_netpol";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Egress,
    Ingress,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        }
    }

    /// The field with the address of the pod that the policy selects.
    fn own(self) -> &'static str {
        match self {
            Self::Egress => "ip saddr",
            Self::Ingress => "ip daddr",
        }
    }

    /// The field with the address of its peer.
    fn peer(self) -> &'static str {
        match self {
            Self::Egress => "ip daddr",
            Self::Ingress => "ip saddr",
        }
    }
}

/// What the API server knows.
struct World<'a> {
    policies: &'a [NetworkPolicy],
    pods: &'a [Pod],
    namespaces: &'a [Namespace],
}

/// The commands that put these policies into force, replacing earlier ones, in one transaction.
///
/// IPv6 is left out: the node's pods have none.
pub fn ruleset(policies: &[NetworkPolicy], pods: &[Pod], namespaces: &[Namespace]) -> String {
    let world = World {
        policies,
        pods,
        namespaces,
    };
    let mut chains = String::new();
    for direction in [Direction::Egress, Direction::Ingress] {
        world.direction(direction, &mut chains);
    }
    // The node itself receives packets for its own addresses: the API server's and the DNS server's.
    format!(
        "table ip {TABLE}\n\
         delete table ip {TABLE}\n\
         table ip {TABLE} {{\n\
         {chains}\
         chain forward {{\n\
         type filter hook forward priority 10; policy accept;\n\
         ct state established,related accept\n\
         jump egress\n\
         jump ingress\n\
         }}\n\
         chain input {{\n\
         type filter hook input priority 10; policy accept;\n\
         ct state established,related accept\n\
         jump egress\n\
         }}\n\
         }}\n"
    )
}

impl World<'_> {
    /// The chains of all pods for one direction, and the chain that leads to them.
    fn direction(&self, direction: Direction, out: &mut String) {
        let name = direction.name();
        let mut isolated: Vec<(&str, &Pod, Vec<&NetworkPolicy>)> = Vec::new();
        for pod in self.pods {
            let policies = self.policies_of(pod, direction);
            if let (Some(ip), false) = (address(pod), policies.is_empty()) {
                isolated.push((ip, pod, policies));
            }
        }
        isolated.sort_by_key(|(ip, ..)| *ip);
        let mut leading = format!("chain {name} {{\n");
        for (ip, pod, policies) in isolated {
            let chain = format!("{name}_{}", ip.replace('.', "_"));
            _ = writeln!(leading, "{} {ip} jump {chain}", direction.own());
            _ = writeln!(out, "chain {chain} {{");
            // Nothing keeps a pod from itself, as through its own Service.
            _ = writeln!(out, "{} {ip} return", direction.peer());
            let rules: BTreeSet<String> = policies
                .iter()
                .flat_map(|policy| self.allowed(policy, pod, direction))
                .collect();
            for rule in rules {
                _ = writeln!(out, "{}", format!("{rule} return").trim_start());
            }
            out.push_str("drop\n}\n");
        }
        out.push_str(&leading);
        out.push_str("}\n");
    }

    /// The policies that isolate a pod in this direction.
    fn policies_of(&self, pod: &Pod, direction: Direction) -> Vec<&NetworkPolicy> {
        self.policies
            .iter()
            .filter(|policy| policy.namespace() == pod.namespace())
            .filter(|policy| {
                let Some(spec) = &policy.spec else {
                    return false;
                };
                let selector = spec.pod_selector.clone().unwrap_or_default();
                let named = |kind: &str| spec.policy_types.iter().flatten().any(|t| t == kind);
                let untyped = spec.policy_types.as_ref().is_none_or(Vec::is_empty);
                let applies = match direction {
                    Direction::Ingress => untyped || named("Ingress"),
                    Direction::Egress => {
                        named("Egress") || untyped && spec.egress.iter().flatten().next().is_some()
                    }
                };
                applies && matches(&selector, pod.labels())
            })
            .collect()
    }

    /// The conditions, each of which lets packets through.
    fn allowed(&self, policy: &NetworkPolicy, pod: &Pod, direction: Direction) -> Vec<String> {
        let home = policy.namespace().unwrap_or_default();
        let Some(spec) = &policy.spec else {
            return Vec::new();
        };
        let rules: Vec<(&[NetworkPolicyPeer], &[NetworkPolicyPort])> = match direction {
            Direction::Ingress => {
                let rules = spec.ingress.iter().flatten();
                rules
                    .map(|rule| (list(rule.from.as_ref()), list(rule.ports.as_ref())))
                    .collect()
            }
            Direction::Egress => {
                let rules = spec.egress.iter().flatten();
                rules
                    .map(|rule| (list(rule.to.as_ref()), list(rule.ports.as_ref())))
                    .collect()
            }
        };
        let mut allowed = Vec::new();
        for (peers, ports) in rules {
            let ports = self.port_conditions(ports, pod, direction);
            for peer in self.peer_conditions(&home, peers, direction) {
                for port in &ports {
                    allowed.push(format!("{peer} {port}").trim().to_owned());
                }
            }
        }
        allowed
    }

    fn peer_conditions(
        &self,
        home: &str,
        peers: &[NetworkPolicyPeer],
        direction: Direction,
    ) -> Vec<String> {
        // No list of peers means every address.
        if peers.is_empty() {
            return vec![String::new()];
        }
        let mut conditions = Vec::new();
        for peer in peers {
            if let Some(block) = &peer.ip_block {
                conditions.extend(block_condition(block, direction));
                continue;
            }
            let chosen = pods(
                home,
                self.namespaces,
                self.pods,
                peer.namespace_selector.as_ref(),
                peer.pod_selector.as_ref(),
            );
            let addresses: BTreeSet<&str> = chosen.into_iter().filter_map(address).collect();
            if !addresses.is_empty() {
                let addresses: Vec<&str> = addresses.into_iter().collect();
                let set = addresses.join(", ");
                conditions.push(format!("{} {{ {set} }}", direction.peer()));
            }
        }
        conditions
    }

    /// The port is always the destination's: for a name, each pod that has it counts.
    fn port_conditions(
        &self,
        ports: &[NetworkPolicyPort],
        own: &Pod,
        direction: Direction,
    ) -> Vec<String> {
        if ports.is_empty() {
            return vec![String::new()];
        }
        let mut conditions = Vec::new();
        for port in ports {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let nft = protocol.to_lowercase();
            match (&port.port, port.end_port) {
                (None, _) => conditions.push(format!("meta l4proto {nft}")),
                (Some(IntOrString::Int(first)), Some(last)) => {
                    conditions.push(format!("{nft} dport {first}-{last}"));
                }
                (Some(IntOrString::Int(number)), None) => {
                    conditions.push(format!("{nft} dport {number}"));
                }
                (Some(IntOrString::String(name)), _) => match direction {
                    Direction::Ingress => {
                        let numbers = named_ports(own, name, protocol);
                        conditions.extend(numbers.map(|n| format!("{nft} dport {n}")));
                    }
                    Direction::Egress => {
                        for pod in self.pods {
                            let Some(ip) = address(pod) else { continue };
                            let numbers = named_ports(pod, name, protocol);
                            conditions
                                .extend(numbers.map(|n| format!("ip daddr {ip} {nft} dport {n}")));
                        }
                    }
                },
            }
        }
        conditions
    }
}

fn list<T>(list: Option<&Vec<T>>) -> &[T] {
    list.map_or(&[], Vec::as_slice)
}

fn block_condition(block: &IPBlock, direction: Direction) -> Option<String> {
    let field = direction.peer();
    if block.cidr.contains(':') {
        return None;
    }
    // nft knows no prefix of length zero.
    let mut condition = match block.cidr.as_str() {
        "0.0.0.0/0" => String::new(),
        cidr => format!("{field} {cidr}"),
    };
    for except in block.except.iter().flatten() {
        _ = write!(condition, " {field} != {except}");
    }
    Some(condition)
}

fn named_ports<'a>(pod: &'a Pod, name: &'a str, protocol: &'a str) -> impl Iterator<Item = i32> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers
        .flat_map(|container| container.ports.iter().flatten())
        .filter(move |port| port.name.as_deref() == Some(name))
        .filter(move |port| port.protocol.as_deref().unwrap_or("TCP") == protocol)
        .map(|port| port.container_port)
}

#[cfg(test)]
mod tests;
