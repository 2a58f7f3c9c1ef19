//! What the operator reports.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::optional;

/// Types of conditions.
pub mod condition {
    /// Available, SpecValid, not Stalled, and this generation was seen.
    pub const READY: &str = "Ready";
    /// Every role that no installation can do without has a ready pod, and msg has one that is handed out: as login servers say, or,
    /// while the operator cannot ask them, one that is ready and has an address.
    pub const AVAILABLE: &str = "Available";
    /// Something is changing, or has stopped changing before its end.
    pub const PROGRESSING: &str = "Progressing";
    /// Present while the installation is not what it is to be.
    pub const RECONCILING: &str = "Reconciling";
    /// Present when a person is needed.
    pub const STALLED: &str = "Stalled";
    /// The specification can be used.
    pub const SPEC_VALID: &str = "SpecValid";
    /// It works, but not all of it.
    pub const DEGRADED: &str = "Degraded";
    /// Pods are letting their clients go.
    pub const DRAINING: &str = "Draining";
    /// Fewer msg pods are wanted than could carry the clients that there are. There only while it is true.
    pub const SCALING_LIMITED: &str = "ScalingLimited";
    /// Login servers tell the operator the load. Clients need that not.
    pub const LOAD_KNOWN: &str = "LoadKnown";
    /// Every ready msg pod has reported in time.
    pub const LOAD_REPORTS_FRESH: &str = "LoadReportsFresh";
    /// Every slot with a pod has an address.
    pub const EXTERNAL_ADDRESSES_READY: &str = "ExternalAddressesReady";
    /// The database can be used.
    pub const DATABASE_READY: &str = "DatabaseReady";
    /// A volume has not got the size that is asked for. There only while it is true.
    pub const VOLUME_TOO_SMALL: &str = "VolumeTooSmall";
    /// The data is lost with the dbProxy pod.
    pub const DATA_NOT_DURABLE: &str = "DataNotDurable";
    /// The operator leaves everything but `status` alone.
    pub const PAUSED: &str = "Paused";
}

/// What is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ImClusterStatus {
    /// Generation of the specification that this is about; -1 until the operator has looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Summary for people, made from the conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Version that every role runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Version of the operator that wrote this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator_version: Option<String>,
    /// Selector of the msg pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Where clients go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Endpoints>,
    /// The roles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<RolesStatus>,
    /// The first 64 slots.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["slot"]
    ))]
    pub slots: Vec<SlotStatus>,
    /// The first 16 pods that let their clients go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["pod"]
    ))]
    pub drains: Vec<DrainStatus>,
    /// Conditions by type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,
}

/// Summary of the conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Nothing runs yet.
    Pending,
    /// Something is changing.
    Progressing,
    /// All is as it is to be.
    Running,
    /// It works, but not all of it.
    Degraded,
    /// The operator leaves it alone.
    Paused,
    /// A person is needed.
    Failed,
}

/// Where clients go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoints {
    /// Login servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub login: Vec<Endpoint>,
    /// Roles that an installation can do without, by their fields.
    #[serde(flatten, deserialize_with = "optional::endpoints")]
    #[schemars(schema_with = "optional::endpoints_schema")]
    pub optional: BTreeMap<String, Vec<Endpoint>>,
}

/// An address for clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Type of the Service: ClusterIP, NodePort or LoadBalancer.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name of the port, such as `client` or `http`.
    pub name: String,
    /// Host name or address; empty: any node.
    #[serde(default)]
    pub host: String,
    /// Port.
    pub port: i32,
}

/// The roles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolesStatus {
    /// login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<RoleStatus>,
    /// msg.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg: Option<MsgStatus>,
    /// route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<RoleStatus>,
    /// dbProxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub db_proxy: Option<RoleStatus>,
    /// Roles that an installation can do without, by their fields.
    #[serde(flatten, deserialize_with = "optional::reported")]
    #[schemars(schema_with = "optional::status_schema")]
    pub optional: BTreeMap<String, RoleStatus>,
}

/// Pods of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RoleStatus {
    /// Pods that exist.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready_replicas: i32,
    /// Pods of the newest revision.
    pub updated_replicas: i32,
    /// Revision that all pods had last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_revision: Option<String>,
    /// Revision that all pods are to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_revision: Option<String>,
}

/// Msg pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MsgStatus {
    /// Pods that exist.
    pub replicas: i32,
    /// Pods that are to exist.
    pub desired_replicas: i32,
    /// Pods that are ready.
    pub ready_replicas: i32,
    /// Pods of the newest revision.
    pub updated_replicas: i32,
    /// Pods that login servers hand out.
    pub assignable_replicas: i32,
    /// Pods that let their clients go.
    pub draining_replicas: i32,
    /// Revision that all pods had last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_revision: Option<String>,
    /// Revision that all pods are to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_revision: Option<String>,
    /// Client connections, to two digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<i64>,
    /// Client connections that the pods can take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_capacity: Option<i64>,
    /// Connections by capacity, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization_percent: Option<i32>,
    /// When the figures were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_reported_at: Option<Time>,
    /// Pods with a fresh report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fresh_reporters: Option<i32>,
}

/// A slot: an address that leads to a msg pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotStatus {
    /// Its number.
    pub slot: i32,
    /// The pod that advertises it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Host that clients are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Port that clients are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// What it is at.
    pub state: SlotState,
}

/// What a slot is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SlotState {
    /// It leads to its pod.
    Bound,
    /// Its pod lets its clients go.
    Draining,
    /// It leads to any msg pod.
    Free,
    /// Its address is not known yet.
    Provisioning,
}

/// A pod that lets its clients go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainStatus {
    /// Its name.
    pub pod: String,
    /// Why it goes.
    pub reason: String,
    /// When it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// Connections that it still has, as last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<i64>,
    /// When the last connection is closed at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
}
