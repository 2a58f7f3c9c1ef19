//! The address of a slot: what clients of its pod are told.

use im_operator_api::{ExternalType, TrafficPolicy, labels};
use im_operator_plan::{Resolved, slots};

use crate::cache::views::{PodView, ServiceView};

/// A node as far as addresses go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// ExternalIP, or InternalIP where there is none.
    pub(crate) address: String,
    /// It is ready, and not being deleted.
    pub(crate) ready: bool,
    /// It takes no new pods, or is about to be removed.
    pub(crate) leaving: bool,
    /// It takes no new pods.
    pub(crate) unschedulable: bool,
    /// Keys of its taints.
    pub(crate) taints: Vec<String>,
}

/// How addresses of slots are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses<'a> {
    pub(crate) cluster: &'a Resolved,
    /// Those that can be told, sorted by name; empty where nodes may not be read.
    pub(crate) nodes: &'a [Node],
}

impl Addresses<'_> {
    /// `host:port` of a slot once it is known.
    pub(crate) fn of(
        &self,
        index: u32,
        service: &ServiceView,
        pod: Option<&PodView>,
    ) -> Option<String> {
        let node = self.node(index, pod);
        slots::address(self.cluster, index, &service.as_service(), node)
    }

    /// A node whose port leads to the pod. What the pod advertises stays while its node is there,
    /// so that adding nodes moves nobody; nodes that are about to go are told nobody new, unless there
    /// are no others.
    fn node(&self, index: u32, pod: Option<&PodView>) -> Option<&str> {
        let external = &self.cluster.spec.roles.msg.external;
        if external.kind != ExternalType::NodePort {
            return None;
        }
        if external.external_traffic_policy == TrafficPolicy::Local {
            let name = pod?.node.as_deref()?;
            let node = self.nodes.iter().find(|node| node.name == name)?;
            return Some(&node.address);
        }
        let told = pod
            .and_then(|pod| pod.annotations.get(labels::EXTERNAL_ENDPOINT))
            .and_then(|endpoint| endpoint.rsplit_once(':'))
            .map(|(host, _)| host.trim_matches(['[', ']']));
        let node = self
            .nodes
            .iter()
            .find(|node| told == Some(node.address.as_str()))
            .or_else(|| {
                let staying: Vec<&Node> = self.nodes.iter().filter(|it| !it.leaving).collect();
                let index = usize::try_from(index).ok()?;
                let index_of = |count: usize| index.checked_rem(count);
                let staying = index_of(staying.len()).and_then(|it| staying.get(it).copied());
                staying.or_else(|| self.nodes.get(index_of(self.nodes.len())?))
            })?;
        Some(&node.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use im_operator_api::{ImCluster, ImClusterSpec};
    use im_operator_plan::{Settings, validate};

    fn cluster(
        kind: ExternalType,
        change: impl FnOnce(&mut im_operator_api::External),
    ) -> Resolved {
        let mut spec = ImClusterSpec {
            version: "1.0.0".to_owned(),
            ..ImClusterSpec::default()
        };
        spec.roles.msg.external.kind = kind;
        change(&mut spec.roles.msg.external);
        let mut cluster = ImCluster::new("demo", spec);
        cluster.metadata.namespace = Some("chat".to_owned());
        let settings = Settings {
            node_access: true,
            ..Settings::default()
        };
        validate::validate(&cluster, &settings).unwrap()
    }

    fn service() -> ServiceView {
        ServiceView {
            cluster_ip: Some("10.1.0.7".to_owned()),
            ports: vec![("client".to_owned(), 8000, Some(30_007))],
            ingress: Some("198.51.100.1".to_owned()),
            ..ServiceView::default()
        }
    }

    fn nodes() -> Vec<Node> {
        ["a", "b"]
            .map(|name| Node {
                name: name.to_owned(),
                address: format!("{name}.nodes"),
                ready: true,
                leaving: false,
                unschedulable: false,
                taints: Vec::new(),
            })
            .into()
    }

    fn check(cluster: &Resolved, nodes: &[Node], pod: Option<&PodView>, expected: Option<&str>) {
        let addresses = Addresses { cluster, nodes };
        assert_eq!(addresses.of(1, &service(), pod).as_deref(), expected);
    }

    #[test]
    fn each_type_has_its_address() {
        let inside = cluster(ExternalType::None, |_| ());
        check(&inside, &[], None, Some("10.1.0.7:8000"));
        let ports = cluster(ExternalType::NodePort, |_| ());
        check(&ports, &[], None, None);
        check(&ports, &nodes(), None, Some("b.nodes:30007"));
        let balancers = cluster(ExternalType::LoadBalancer, |_| ());
        check(&balancers, &[], None, Some("198.51.100.1:8000"));
    }

    #[test]
    fn a_told_node_stays_while_it_exists_and_local_traffic_needs_the_pods_node() {
        let mut pod = PodView {
            node: Some("a".to_owned()),
            ..PodView::default()
        };
        let key = labels::EXTERNAL_ENDPOINT.to_owned();
        pod.annotations
            .insert(key.clone(), "a.nodes:30007".to_owned());
        let ports = cluster(ExternalType::NodePort, |_| ());
        check(&ports, &nodes(), Some(&pod), Some("a.nodes:30007"));
        pod.annotations.clear();
        check(&ports, &nodes(), Some(&pod), Some("b.nodes:30007"));
        let mut leaving = nodes();
        leaving[1].leaving = true;
        check(&ports, &leaving, Some(&pod), Some("a.nodes:30007"));
        pod.annotations.insert(key, "b.nodes:30007".to_owned());
        check(&ports, &leaving, Some(&pod), Some("b.nodes:30007"));
        pod.annotations.clear();
        let local = cluster(ExternalType::NodePort, |external| {
            external.external_traffic_policy = TrafficPolicy::Local;
        });
        check(&local, &nodes(), Some(&pod), Some("a.nodes:30007"));
        check(&local, &nodes(), None, None);
    }
}
