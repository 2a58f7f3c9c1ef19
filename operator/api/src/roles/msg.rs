//! The role msg, and how its clients reach it.

use std::collections::BTreeMap;

use im_role::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TrafficPolicy, port};
use crate::{Common, Drain, Pdb, Rebalance, schema};

/// The role msg.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Msg {
    /// Pods.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// Ports.
    pub ports: MsgPorts,
    /// What one pod takes.
    pub capacity: Capacity,
    /// How the number of pods changes.
    pub autoscaling: Autoscaling,
    /// How pods are replaced.
    pub update: Update,
    /// How a pod that goes lets its clients go.
    pub drain: Drain,
    /// When clients are spread anew.
    pub rebalance: Rebalance,
    /// How clients reach each pod.
    pub external: External,
    /// How many pods may be evicted at a time.
    pub pdb: Pdb,
    /// What every role has.
    #[serde(flatten)]
    pub common: Common,
}

impl Default for Msg {
    fn default() -> Self {
        Self {
            replicas: 3,
            ports: MsgPorts::default(),
            capacity: Capacity::default(),
            autoscaling: Autoscaling::default(),
            update: Update::default(),
            drain: Drain::default(),
            rebalance: Rebalance::default(),
            external: External::default(),
            pdb: Pdb::default(),
            common: Common::default(),
        }
    }
}

/// Ports of msg.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MsgPorts {
    /// Clients.
    #[schemars(range(min = 1024, max = 65535))]
    pub client: i32,
}

impl Default for MsgPorts {
    fn default() -> Self {
        Self {
            client: port(Role::MSG, "client"),
        }
    }
}

/// What one msg pod takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Capacity {
    /// Client connections of one pod; further ones are closed at once.
    #[schemars(range(min = 100, max = 2_000_000))]
    pub max_connections: i32,
    /// Part of `maxConnections` above which other pods are preferred, percent.
    #[schemars(range(min = 10, max = 100))]
    pub soft_limit_percent: i32,
    /// Client connections that one pod takes in per second; further ones wait.
    #[schemars(range(min = 1, max = 100_000))]
    pub accept_per_second: i32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            max_connections: 20_000,
            soft_limit_percent: 85,
            accept_per_second: 500,
        }
    }
}

/// How the number of msg pods changes. A smaller one is carried out while the connections of all are
/// known, and at most 85 % of what the pods that stay take; the emptiest go first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Autoscaling {
    /// Pods that let their clients go at a time because fewer are wanted.
    #[schemars(range(min = 1, max = 100))]
    pub max_scale_in_pods: i32,
}

impl Default for Autoscaling {
    fn default() -> Self {
        Self {
            max_scale_in_pods: 1,
        }
    }
}

/// How msg pods are replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.maxSurge > 0 || self.maxUnavailable > 0",
    "message": "maxSurge and maxUnavailable cannot both be 0: no pod could ever be replaced",
}]))]
pub struct Update {
    /// Pods beyond `replicas` while pods are replaced.
    #[schemars(range(min = 0, max = 100))]
    pub max_surge: i32,
    /// Pods that may be missing while pods are replaced.
    #[schemars(range(min = 0, max = 100))]
    pub max_unavailable: i32,
    /// A new pod counts when it has been ready this long.
    #[schemars(range(min = 0, max = 3600))]
    pub min_ready_seconds: i32,
    /// A replacement without progress for this long is reported as stuck.
    #[schemars(range(min = 10, max = 86400))]
    pub progress_deadline_seconds: i32,
}

impl Default for Update {
    fn default() -> Self {
        Self {
            max_surge: 1,
            max_unavailable: 0,
            min_ready_seconds: 10,
            progress_deadline_seconds: 7200,
        }
    }
}

/// How clients reach each msg pod. `type` says which members count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.nodePort) || self.type == 'NodePort'",
        "message": "nodePort needs external type NodePort",
    },
    {
        "rule": "!has(self.loadBalancer) || self.type == 'LoadBalancer'",
        "message": "loadBalancer needs external type LoadBalancer",
    },
    {
        "rule": "size(self.hostTemplate) == 0 || self.type != 'None'",
        "message": "hostTemplate needs an external type",
    },
    {
        "rule": "self.advertisedPort == 0 || self.type != 'None'",
        "message": "advertisedPort needs an external type",
    },
    {
        "rule": "self.externalTrafficPolicy == 'Cluster' || self.type != 'None'",
        "message": "externalTrafficPolicy Local needs an external type",
    },
]))]
pub struct External {
    /// How.
    #[serde(rename = "type")]
    pub kind: ExternalType,
    /// Host that clients are told, such as `msg-{slot}.chat.example.com`; empty: as observed.
    /// Placeholders: `{slot}`, `{cluster}`, `{namespace}`.
    #[schemars(length(max = 253), regex(pattern = r"^[A-Za-z0-9{}.:_-]*$"))]
    pub host_template: String,
    /// Port that clients are told; 0: as observed.
    #[schemars(range(min = 0, max = 65535))]
    pub advertised_port: i32,
    /// Whether traffic from outside may be passed on to pods of other nodes. With Local, an address
    /// whose pod has moved to another node may lead nowhere.
    pub external_traffic_policy: TrafficPolicy,
    /// Annotations of each slot's Service. Placeholders as in `hostTemplate`.
    #[schemars(schema_with = "schema::texts")]
    pub annotations: BTreeMap<String, String>,
    /// An address that no pod needs any more is given back when its last use is this long ago: its
    /// Service is deleted. Until then it leads to any msg pod.
    #[schemars(range(min = 10, max = 31_536_000))]
    pub slot_grace_seconds: i32,
    /// Details of type NodePort; absent: the defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_port: Option<NodePort>,
    /// Details of type LoadBalancer; absent: the defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancer>,
}

impl Default for External {
    fn default() -> Self {
        Self {
            kind: ExternalType::default(),
            host_template: String::new(),
            advertised_port: 0,
            external_traffic_policy: TrafficPolicy::default(),
            annotations: BTreeMap::new(),
            slot_grace_seconds: 3600,
            node_port: None,
            load_balancer: None,
        }
    }
}

/// Ways to reach each msg pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExternalType {
    /// Inside the cluster only.
    #[default]
    None,
    /// A port of every node, one for each slot.
    NodePort,
    /// A load balancer for each slot.
    LoadBalancer,
}

/// Details of type NodePort.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodePort {
    /// Slot n has port `basePort` + n; 0: Kubernetes chooses.
    #[schemars(range(min = 0, max = 65535))]
    pub base_port: i32,
}

/// Details of type LoadBalancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancer {
    /// Class of the load balancers; empty: the default one.
    #[schemars(length(max = 253))]
    pub class: String,
    /// Addresses that the load balancers let in; empty: all.
    #[schemars(schema_with = "schema::cidrs")]
    pub source_ranges: Vec<String>,
    /// Whether each Service also has a port of every node. Many load balancers need one: without it
    /// they show an address that nobody serves.
    pub allocate_node_ports: bool,
    /// Slot n has port `basePort` + n, so that all slots can share one address; 0: each has the port
    /// of msg at an address of its own.
    #[schemars(range(min = 0, max = 65535))]
    pub base_port: i32,
}

impl Default for LoadBalancer {
    fn default() -> Self {
        Self {
            class: String::new(),
            source_ranges: Vec::new(),
            allocate_node_ports: true,
            base_port: 0,
        }
    }
}
