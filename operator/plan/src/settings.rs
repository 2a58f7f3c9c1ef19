//! What the operator itself was told.

use std::collections::BTreeMap;

use im_operator_api::labels;

/// Ports at which API servers are usually found: that of the Service, and those of kubeadm and most
/// others, minikube and MicroK8s.
pub const API_SERVER_PORTS: [u16; 4] = [443, 6443, 8443, 16_443];

/// Settings of the operator that influence what it builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Image repository of an ImCluster that names none.
    pub image_repository: String,
    /// Whether the operator may read nodes, and so can tell clients the addresses of nodes.
    pub node_access: bool,
    /// Version of the operator; it changes no pod.
    pub operator_version: String,
    /// Namespace of the operator: from there it reads the load that login servers know.
    pub operator_namespace: String,
    /// Ports at which API servers are reached, before and after a Service's translation.
    pub api_server_ports: Vec<u16>,
    /// Address ranges of API servers and of their Service; empty: anywhere.
    pub api_server_cidrs: Vec<String>,
    /// Labels of the operator's pods.
    pub operator_labels: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image_repository: "imcluster/imd".to_owned(),
            node_access: false,
            operator_version: env!("CARGO_PKG_VERSION").to_owned(),
            operator_namespace: "imcluster-system".to_owned(),
            api_server_ports: API_SERVER_PORTS.to_vec(),
            api_server_cidrs: Vec::new(),
            operator_labels: BTreeMap::from([(labels::NAME.to_owned(), "im-operator".to_owned())]),
        }
    }
}
