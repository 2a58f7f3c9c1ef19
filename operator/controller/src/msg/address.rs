//! The address of a slot: what clients of its pod are told.

use im_operator_api::{External, ExternalType, ImCluster, TrafficPolicy};
use kube::ResourceExt;

use crate::cache::views::{PodView, ServiceView};

/// Name of the clients' port in a slot's Service.
const CLIENT_PORT: &str = "client";

/// A node as far as addresses go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// ExternalIP, or InternalIP where there is none.
    pub(crate) address: String,
}

/// How addresses of slots are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses<'a> {
    pub(crate) cluster: &'a ImCluster,
    /// Sorted by name; empty where nodes may not be read.
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
        let external = &self.cluster.spec.roles.msg.external;
        let (_, port, node_port) = service
            .ports
            .iter()
            .find(|(name, ..)| name == CLIENT_PORT)
            .or_else(|| service.ports.first())?;
        let (host, port) = match external.kind {
            ExternalType::None => (service.cluster_ip.clone()?, *port),
            ExternalType::NodePort => {
                let port = (*node_port)?;
                let host = self
                    .template(index, external)
                    .or_else(|| self.node(index, external, pod))?;
                (host, port)
            }
            ExternalType::LoadBalancer => {
                let observed = service.ingress.clone()?;
                (self.template(index, external).unwrap_or(observed), *port)
            }
        };
        let port = match external.advertised_port {
            0 => port,
            port => port,
        };
        Some(if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        })
    }

    fn template(&self, index: u32, external: &External) -> Option<String> {
        let template = &external.host_template;
        (!template.is_empty()).then(|| {
            template
                .replace("{slot}", &index.to_string())
                .replace("{cluster}", &self.cluster.name_any())
                .replace("{namespace}", &self.cluster.namespace().unwrap_or_default())
        })
    }

    /// A node whose port leads to the pod. What the pod advertises stays while its node is there,
    /// so that adding nodes moves nobody.
    fn node(&self, index: u32, external: &External, pod: Option<&PodView>) -> Option<String> {
        if external.external_traffic_policy == TrafficPolicy::Local {
            let node = pod?.node.as_deref()?;
            let found = self.nodes.iter().find(|it| it.name == node)?;
            return Some(found.address.clone());
        }
        let told = pod
            .and_then(|pod| {
                pod.annotations
                    .get(im_operator_api::labels::EXTERNAL_ENDPOINT)
            })
            .and_then(|endpoint| endpoint.rsplit_once(':'))
            .map(|(host, _)| host.trim_matches(['[', ']']));
        let node = self
            .nodes
            .iter()
            .find(|node| told == Some(node.address.as_str()))
            .or_else(|| {
                let index = usize::try_from(index).ok()?;
                self.nodes.get(index.checked_rem(self.nodes.len())?)
            })?;
        Some(node.address.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use im_operator_api::ImClusterSpec;

    fn cluster(kind: ExternalType, template: &str, port: i32) -> ImCluster {
        let mut spec = ImClusterSpec::default();
        spec.roles.msg.external.kind = kind;
        template.clone_into(&mut spec.roles.msg.external.host_template);
        spec.roles.msg.external.advertised_port = port;
        let mut cluster = ImCluster::new("demo", spec);
        cluster.metadata.namespace = Some("chat".to_owned());
        cluster
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
            })
            .into()
    }

    fn check(cluster: &ImCluster, nodes: &[Node], pod: Option<&PodView>, expected: Option<&str>) {
        let addresses = Addresses { cluster, nodes };
        assert_eq!(addresses.of(1, &service(), pod).as_deref(), expected);
    }

    #[test]
    fn each_type_has_its_address() {
        check(
            &cluster(ExternalType::None, "", 0),
            &[],
            None,
            Some("10.1.0.7:8000"),
        );
        check(&cluster(ExternalType::NodePort, "", 0), &[], None, None);
        check(
            &cluster(ExternalType::NodePort, "", 0),
            &nodes(),
            None,
            Some("b.nodes:30007"),
        );
        let named = cluster(
            ExternalType::NodePort,
            "msg-{slot}.{cluster}.{namespace}.example",
            443,
        );
        check(&named, &[], None, Some("msg-1.demo.chat.example:443"));
        check(
            &cluster(ExternalType::LoadBalancer, "", 0),
            &[],
            None,
            Some("198.51.100.1:8000"),
        );
    }

    #[test]
    fn a_told_node_stays_while_it_exists_and_local_traffic_needs_the_pods_node() {
        let mut pod = PodView {
            node: Some("a".to_owned()),
            ..PodView::default()
        };
        let key = im_operator_api::labels::EXTERNAL_ENDPOINT.to_owned();
        pod.annotations.insert(key, "a.nodes:30007".to_owned());
        let mut cluster = cluster(ExternalType::NodePort, "", 0);
        check(&cluster, &nodes(), Some(&pod), Some("a.nodes:30007"));
        pod.annotations.clear();
        check(&cluster, &nodes(), Some(&pod), Some("b.nodes:30007"));
        cluster.spec.roles.msg.external.external_traffic_policy = TrafficPolicy::Local;
        check(&cluster, &nodes(), Some(&pod), Some("a.nodes:30007"));
        check(&cluster, &nodes(), None, None);
    }
}
