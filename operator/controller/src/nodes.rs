//! Addresses of nodes, for slots of type NodePort without a host template.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node as KubeNode;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tokio::time::Instant;
use tracing::warn;

use crate::msg::address::Node;

/// How long a reading is good for.
const AGE: Duration = Duration::from_secs(60);

/// The nodes as last read. They are read only while some cluster needs them.
#[derive(Debug, Default)]
pub(crate) struct Nodes(Mutex<Option<(Instant, Vec<Node>)>>);

impl Nodes {
    /// The nodes, at most a minute old, sorted by name. A failed read leaves the last ones.
    pub(crate) async fn read(&self, client: &Client) -> Vec<Node> {
        let last = self.lock().clone();
        if let Some((at, nodes)) = &last
            && at.elapsed() < AGE
        {
            return nodes.clone();
        }
        let api: Api<KubeNode> = Api::all(client.clone());
        match api.list(&ListParams::default()).await {
            Ok(list) => {
                let mut nodes: Vec<Node> = list.items.into_iter().filter_map(node).collect();
                nodes.sort_by(|a, b| a.name.cmp(&b.name));
                *self.lock() = Some((Instant::now(), nodes.clone()));
                nodes
            }
            Err(error) => {
                warn!(%error, "nodes cannot be read");
                last.map(|(_, nodes)| nodes).unwrap_or_default()
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Vec<Node>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn node(node: KubeNode) -> Option<Node> {
    let name = node.name_any();
    let addresses = node.status?.addresses?;
    let address = ["ExternalIP", "InternalIP"].iter().find_map(|kind| {
        addresses
            .iter()
            .find(|address| address.type_ == *kind)
            .map(|address| address.address.clone())
    })?;
    Some(Node { name, address })
}
