//! What every role has: resources, configuration, scheduling, overrides.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Toleration, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::schema;

/// An object that is read by the operator, field by field.
pub type FreeObject = Map<String, Value>;

/// What every role has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Common {
    /// Requests and limits of the pods. What is absent has the operator's default for the role;
    /// an amount of `0` takes a default away.
    pub resources: Resources,
    /// Keys of the server's configuration file with their values, such as `msg.rate_limit: "50"`.
    /// Unknown keys, values out of bounds and keys that the operator sets itself are reported in
    /// the condition SpecValid, old names of keys there too, with what to write. A change restarts the
    /// pods of the role.
    #[schemars(schema_with = "schema::settings")]
    pub config: BTreeMap<String, String>,
    /// Level of log lines. A change restarts the pods of the role.
    pub log_level: LogLevel,
    /// Where the pods run.
    pub scheduling: Scheduling,
    /// Part of a PodTemplateSpec that is merged over what the operator makes, last of all: objects
    /// field by field, lists of named things by name, other lists as a whole. Labels that select
    /// pods and the name of the role's container cannot be changed.
    #[schemars(schema_with = "schema::free_object")]
    pub pod_overrides: FreeObject,
}

/// Requests and limits of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// What is reserved, such as `cpu: 100m`.
    #[schemars(schema_with = "schema::amounts")]
    pub requests: BTreeMap<String, IntOrString>,
    /// What is not exceeded, such as `memory: 1Gi`.
    #[schemars(schema_with = "schema::amounts")]
    pub limits: BTreeMap<String, IntOrString>,
}

/// Level of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something needs a person.
    Error,
    /// Degraded, but it goes on.
    Warn,
    /// Changes of state.
    #[default]
    Info,
    /// Each connection and request.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Certificates (PEM) under a key of a ConfigMap or of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "(size(self.configMapName) > 0) != (size(self.secretName) > 0)",
        "message": "a bundle of certificates needs configMapName or secretName, and not both",
    },
]))]
pub struct CaBundle {
    /// Name of the ConfigMap.
    #[schemars(length(max = 253))]
    pub config_map_name: String,
    /// Name of the Secret.
    #[schemars(length(max = 253))]
    pub secret_name: String,
    /// The key.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub key: String,
}

impl Default for CaBundle {
    fn default() -> Self {
        Self {
            config_map_name: String::new(),
            secret_name: String::new(),
            key: "ca.crt".to_owned(),
        }
    }
}

/// How many pods of a role may be evicted at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Pdb {
    /// Whether there is a PodDisruptionBudget. There is none for a single pod.
    pub enabled: bool,
    /// Pods that may be away at a time.
    #[schemars(range(min = 1, max = 100))]
    pub max_unavailable: i32,
}

impl Default for Pdb {
    fn default() -> Self {
        Self {
            enabled: true,
            max_unavailable: 1,
        }
    }
}

/// Where pods run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Scheduling {
    /// Labels that a node must have.
    #[schemars(schema_with = "schema::texts")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that do not keep the pods away.
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// An Affinity as in a pod.
    #[schemars(schema_with = "schema::free_object")]
    pub affinity: FreeObject,
    /// How pods are spread over zones and nodes. A constraint without selector means the role's pods.
    /// Empty: over zones and over nodes, as far as possible.
    #[schemars(length(max = 8))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Name of a PriorityClass; empty: the default one.
    #[schemars(length(max = 253))]
    pub priority_class_name: String,
}
