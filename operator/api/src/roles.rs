//! The roles of an installation.

mod msg;

use std::collections::BTreeMap;

use im_role::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::optional::{self, OptionalRole};
use crate::{Common, Filter, Pdb, schema};

pub use msg::*;

/// The usual number of a port.
fn port(role: Role, listener: &str) -> i32 {
    role.listener(listener)
        .map_or(0, |listener| listener.port.into())
}

/// The roles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Roles {
    /// Tells clients which msg server to use.
    pub login: Login,
    /// Holds the connections of clients.
    pub msg: Msg,
    /// Passes messages between msg servers, and knows who is present.
    pub route: Route,
    /// Stores everything durable.
    pub db_proxy: DbProxy,
    /// Roles that an installation can do without, by their fields: those that are named.
    #[serde(flatten, deserialize_with = "optional::specified")]
    #[schemars(schema_with = "optional::spec_schema")]
    pub optional: BTreeMap<String, OptionalRole>,
}

impl Roles {
    /// What is said of an optional role; `None` for one that is not named.
    pub fn optional(&self, role: Role) -> Option<&OptionalRole> {
        self.optional.get(role.field)
    }
}

/// The role login.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Login {
    /// Pods.
    #[schemars(range(min = 0, max = 100))]
    pub replicas: i32,
    /// How msg servers are handed out.
    pub assignment: Assignment,
    /// Ports.
    pub ports: LoginPorts,
    /// How clients reach it.
    pub service: ClientService,
    /// How many pods may be evicted at a time.
    pub pdb: Pdb,
    /// What every role has.
    #[serde(flatten)]
    pub common: Common,
}

impl Default for Login {
    fn default() -> Self {
        Self {
            replicas: 2,
            assignment: Assignment::default(),
            ports: LoginPorts::default(),
            service: ClientService::default(),
            pdb: Pdb::default(),
            common: Common::default(),
        }
    }
}

/// How msg servers are handed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Assignment {
    /// A hand-out counts until the msg server reports a session more, or this long.
    #[schemars(range(min = 1, max = 300))]
    pub reservation_seconds: i32,
}

impl Default for Assignment {
    fn default() -> Self {
        Self {
            reservation_seconds: 30,
        }
    }
}

/// Ports of login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LoginPorts {
    /// Clients, binary protocol.
    #[schemars(range(min = 1024, max = 65535))]
    pub client: i32,
    /// Clients, HTTP.
    #[schemars(range(min = 1024, max = 65535))]
    pub http: i32,
    /// Reports of msg servers.
    #[schemars(range(min = 1024, max = 65535))]
    pub control: i32,
}

impl Default for LoginPorts {
    fn default() -> Self {
        Self {
            client: port(Role::LOGIN, "client"),
            http: port(Role::LOGIN, "http"),
            control: port(Role::LOGIN, "control"),
        }
    }
}

/// The Service of a role for clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "size(self.loadBalancerClass) == 0 || self.type == 'LoadBalancer'",
        "message": "loadBalancerClass needs service type LoadBalancer",
    },
    {
        "rule": "size(self.sourceRanges) == 0 || self.type == 'LoadBalancer'",
        "message": "sourceRanges needs service type LoadBalancer",
    },
    {
        "rule": "size(self.nodePorts) == 0 || self.type != 'ClusterIP'",
        "message": "nodePorts needs service type NodePort or LoadBalancer",
    },
    {
        "rule": "self.externalTrafficPolicy == 'Cluster' || self.type != 'ClusterIP'",
        "message": "externalTrafficPolicy Local needs service type NodePort or LoadBalancer",
    },
]))]
pub struct ClientService {
    /// Type of the Service.
    #[serde(rename = "type")]
    pub kind: ServiceType,
    /// Annotations of the Service.
    #[schemars(schema_with = "schema::texts")]
    pub annotations: BTreeMap<String, String>,
    /// Class of the load balancer; empty: the default one.
    #[schemars(length(max = 253))]
    pub load_balancer_class: String,
    /// Addresses that the load balancer lets in; empty: all.
    #[schemars(schema_with = "schema::cidrs")]
    pub source_ranges: Vec<String>,
    /// Whether traffic from outside may be passed on to pods of other nodes.
    pub external_traffic_policy: TrafficPolicy,
    /// Ports of every node, by the name of the port that each leads to; Kubernetes chooses those that are
    /// not named.
    #[schemars(schema_with = "schema::ports")]
    pub node_ports: BTreeMap<String, i32>,
}

/// Types of Services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// Reached inside the cluster only.
    #[default]
    ClusterIP,
    /// A port of every node.
    NodePort,
    /// A load balancer of the environment.
    LoadBalancer,
}

/// Which pods traffic from outside may reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrafficPolicy {
    /// Pods of every node; clients' addresses may be hidden.
    #[default]
    Cluster,
    /// Pods of the node that it reached; clients' addresses are seen.
    Local,
}

/// The role route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Route {
    /// Pods.
    #[schemars(range(min = 0, max = 100))]
    pub replicas: i32,
    /// Ports.
    pub ports: RoutePorts,
    /// How many pods may be evicted at a time.
    pub pdb: Pdb,
    /// What every role has.
    #[serde(flatten)]
    pub common: Common,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            replicas: 2,
            ports: RoutePorts::default(),
            pdb: Pdb::default(),
            common: Common::default(),
        }
    }
}

/// Ports of route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RoutePorts {
    /// Msg servers and dbProxy.
    #[schemars(range(min = 1024, max = 65535))]
    pub peer: i32,
}

impl Default for RoutePorts {
    fn default() -> Self {
        Self {
            peer: port(Role::ROUTE, "grpc"),
        }
    }
}

/// The role dbProxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DbProxy {
    /// Pods; absent: 1, and the embedded database allows no more. Of several, one serves and the others stand by.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub replicas: Option<i32>,
    /// Ports.
    pub ports: DbProxyPorts,
    /// A server of your own that is asked before messages are stored; absent: nobody is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// How many pods may be evicted at a time.
    pub pdb: Pdb,
    /// What every role has.
    #[serde(flatten)]
    pub common: Common,
}

/// Ports of dbProxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DbProxyPorts {
    /// Msg servers.
    #[schemars(range(min = 1024, max = 65535))]
    pub grpc: i32,
}

impl Default for DbProxyPorts {
    fn default() -> Self {
        Self {
            grpc: port(Role::DB_PROXY, "grpc"),
        }
    }
}
