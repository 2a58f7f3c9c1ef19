//! From slices to endpoints.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};

use crate::Endpoint;

/// An endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Identity of the pod; it differs between two pods of one name.
    pub(super) uid: String,
    name: String,
    ip: IpAddr,
    port: u16,
    is_ending: bool,
}

impl Found {
    pub(super) fn into_endpoint(self) -> Endpoint {
        Endpoint {
            name: self.name,
            address: std::net::SocketAddr::new(self.ip, self.port).to_string(),
        }
    }

    /// Of two endpoints of one pod, or of one name, the lesser one is taken: a pod that stays, then
    /// IPv4, then the lower address, so that the choice does not depend on the order of slices.
    fn rank(&self) -> (bool, IpAddr, u16) {
        (self.is_ending, self.ip, self.port)
    }
}

/// All pods with this port, each once, by name. Pods that are going away are kept only when `listed`
/// has their identity.
pub(super) fn merge<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
    port: &str,
    listed: &HashSet<String>,
) -> Vec<Found> {
    let mut by_name: BTreeMap<String, Found> = BTreeMap::new();
    let found = slices
        .filter_map(|slice| Some((slice, number(slice, port)?)))
        .flat_map(|(slice, port)| {
            let endpoints = slice.endpoints.iter();
            endpoints.filter_map(move |endpoint| found(endpoint, port))
        })
        .filter(|found| !found.is_ending || listed.contains(&found.uid));
    for found in found {
        match by_name.get(&found.name) {
            Some(known) if known.rank() <= found.rank() => {}
            _ => drop(by_name.insert(found.name.clone(), found)),
        }
    }
    by_name.into_values().collect()
}

/// The number of a named port, where the slice has it.
fn number(slice: &EndpointSlice, name: &str) -> Option<u16> {
    let mut ports = slice.ports.iter().flatten();
    let port = ports.find(|port| port.name.as_deref() == Some(name))?;
    port.port.and_then(|port| u16::try_from(port).ok())
}

fn found(endpoint: &SliceEndpoint, port: u16) -> Option<Found> {
    // Further addresses mean nothing, and names instead of addresses are not ours.
    let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    let target = endpoint.target_ref.as_ref();
    let name = target.and_then(|target| target.name.clone());
    let name = name.unwrap_or_else(|| std::net::SocketAddr::new(ip, port).to_string());
    let uid = target.and_then(|target| target.uid.clone());
    let conditions = endpoint.conditions.as_ref();
    Some(Found {
        uid: uid.unwrap_or_else(|| name.clone()),
        name,
        ip,
        port,
        is_ending: conditions.and_then(|conditions| conditions.terminating) == Some(true),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(family: &str, endpoints: &[Value]) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"name": "s"},
            "addressType": family,
            "ports": [{"name": "http", "port": 1}, {"name": "grpc", "port": 8200}],
            "endpoints": endpoints,
        }))
        .unwrap()
    }

    fn pod(name: &str, uid: &str, ip: &str) -> Value {
        json!({"addresses": [ip], "targetRef": {"kind": "Pod", "name": name, "uid": uid}})
    }

    fn with(mut pod: Value, ready: bool, serving: bool, terminating: bool) -> Value {
        pod["conditions"] = json!({"ready": ready, "serving": serving, "terminating": terminating});
        pod
    }

    fn merged(slices: &[EndpointSlice], listed: &[&str]) -> Vec<(String, String)> {
        let listed = listed.iter().map(|&uid| uid.to_owned()).collect();
        merge(slices.iter(), "grpc", &listed)
            .into_iter()
            .map(Found::into_endpoint)
            .map(|endpoint| (endpoint.name, endpoint.address))
            .collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|&(name, address)| (name.to_owned(), address.to_owned()))
            .collect()
    }

    #[test]
    fn pods_are_named_and_dialed_at_the_named_port_in_both_families() {
        let slices = [
            slice(
                "IPv4",
                &[pod("b", "2", "10.0.0.2"), pod("a", "1", "10.0.0.1")],
            ),
            slice("IPv6", &[pod("c", "3", "fd00::3")]),
        ];
        assert_eq!(
            merged(&slices, &[]),
            pairs(&[
                ("a", "10.0.0.1:8200"),
                ("b", "10.0.0.2:8200"),
                ("c", "[fd00::3]:8200")
            ])
        );
    }

    #[test]
    fn a_pod_that_is_not_ready_yet_is_dialed_since_links_make_it_ready() {
        let pod = with(pod("a", "1", "10.0.0.1"), false, false, false);
        assert_eq!(
            merged(&[slice("IPv4", &[pod])], &[]),
            pairs(&[("a", "10.0.0.1:8200")])
        );
    }

    #[test]
    fn a_pod_that_goes_away_stays_where_it_was_listed_and_is_not_taken_up() {
        let ending = |serving| with(pod("a", "1", "10.0.0.1"), false, serving, true);
        for serving in [true, false] {
            let slices = [slice("IPv4", &[ending(serving)])];
            assert_eq!(merged(&slices, &[]), []);
            assert_eq!(merged(&slices, &["1"]), pairs(&[("a", "10.0.0.1:8200")]));
        }
        assert_eq!(merged(&[slice("IPv4", &[])], &["1"]), []);
    }

    #[test]
    fn a_pod_in_two_slices_counts_once_whatever_their_order() {
        let mut slices = [
            slice("IPv6", &[pod("a", "1", "fd00::1")]),
            slice("IPv4", &[pod("a", "1", "10.0.0.1")]),
            slice("IPv4", &[pod("a", "1", "10.0.0.1")]),
        ];
        for _ in 0..3 {
            slices.rotate_left(1);
            assert_eq!(merged(&slices, &[]), pairs(&[("a", "10.0.0.1:8200")]));
        }
    }

    #[test]
    fn the_successor_of_a_pod_takes_its_name_over() {
        let old = with(pod("db-0", "1", "10.0.0.1"), false, true, true);
        let new = pod("db-0", "2", "10.0.0.9");
        let mut slices = [slice("IPv4", &[old]), slice("IPv4", &[new])];
        for _ in 0..2 {
            slices.reverse();
            assert_eq!(merged(&slices, &["1"]), pairs(&[("db-0", "10.0.0.9:8200")]));
        }
    }

    #[test]
    fn what_cannot_be_dialed_is_left_out() {
        let nameless = json!({"addresses": ["10.0.0.7"]});
        let no_address = json!({"addresses": []});
        let host = json!({"addresses": ["db.example.com"]});
        let slices = [slice("IPv4", &[nameless, no_address, host])];
        assert_eq!(
            merged(&slices, &[]),
            pairs(&[("10.0.0.7:8200", "10.0.0.7:8200")])
        );
        let mut other = slice("IPv4", &[pod("a", "1", "10.0.0.1")]);
        other.ports = None;
        assert_eq!(merged(&[other], &[]), []);
    }
}
