//! Names and paths in the network, load reports, metrics.

use k8s_openapi::api::networking::v1::NetworkPolicyEgressRule;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Names and paths in the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.clusterDomain == oldSelf.clusterDomain",
    "message": "clusterDomain cannot be changed",
}]))]
pub struct Networking {
    /// DNS domain of the Kubernetes cluster, part of the addresses in `status.endpoints`.
    /// It cannot be changed later.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
    )]
    pub cluster_domain: String,
    /// Who may reach the pods, and whom they may reach.
    pub network_policy: NetworkPolicySpec,
}

impl Default for Networking {
    fn default() -> Self {
        Self {
            cluster_domain: "cluster.local".to_owned(),
            network_policy: NetworkPolicySpec::default(),
        }
    }
}

/// Who may reach the pods, and whom they may reach.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicySpec {
    /// Whether there are NetworkPolicies: everything is denied but what the roles need.
    pub enabled: bool,
    /// Addresses from which clients come; empty: from everywhere.
    #[schemars(schema_with = "schema::cidrs")]
    pub client_cidrs: Vec<String>,
    /// Labels of the namespaces that may read metrics; empty: the ImCluster's own namespace only.
    pub monitoring_namespace_selector: LabelSelector,
    /// Further ways out, for every pod, as in a NetworkPolicy.
    #[schemars(length(max = 16))]
    pub extra_egress: Vec<NetworkPolicyEgressRule>,
}

impl Default for NetworkPolicySpec {
    fn default() -> Self {
        Self {
            enabled: true,
            client_cidrs: Vec::new(),
            monitoring_namespace_selector: LabelSelector::default(),
            extra_egress: Vec::new(),
        }
    }
}

/// How load becomes known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.staleAfterSeconds >= 3 * self.reportIntervalSeconds",
        "message": "staleAfterSeconds must be at least three times reportIntervalSeconds",
    },
    {
        "rule": "self.mirrorIntervalSeconds >= self.reportIntervalSeconds",
        "message": "mirrorIntervalSeconds must be at least reportIntervalSeconds",
    },
]))]
pub struct Load {
    /// A msg server tells login servers its load at least this often; changes are told at once.
    #[schemars(range(min = 1, max = 60))]
    pub report_interval_seconds: i32,
    /// A msg server without a report for this long is not handed out.
    #[schemars(range(min = 3, max = 600))]
    pub stale_after_seconds: i32,
    /// `status` shows load at most this old, and is not written more often for it.
    #[schemars(range(min = 10, max = 600))]
    pub status_interval_seconds: i32,
    /// Where other programs can read addresses and load of the msg servers.
    pub mirror: Mirror,
    /// The mirror is written at most this often.
    #[schemars(range(min = 10, max = 600))]
    pub mirror_interval_seconds: i32,
    /// The mirror shows load in steps of this size, and is written only when a step changes.
    #[schemars(range(min = 1, max = 50))]
    pub mirror_bucket_percent: i32,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            report_interval_seconds: 2,
            stale_after_seconds: 10,
            status_interval_seconds: 30,
            mirror: Mirror::default(),
            mirror_interval_seconds: 15,
            mirror_bucket_percent: 10,
        }
    }
}

/// Where other programs can read load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mirror {
    /// Nowhere.
    None,
    /// EndpointSlices of the Service `<name>-msg-public`, which kube-proxy ignores.
    #[default]
    EndpointSlice,
}

/// What can be observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Observability {
    /// Metrics.
    pub metrics: Metrics,
}

/// Metrics of the pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Metrics {
    /// Whether the pods carry the usual `prometheus.io` annotations and the namespaces of
    /// `networking.networkPolicy.monitoringNamespaceSelector` may read metrics.
    pub enabled: bool,
    /// Port of `/metrics`, `/livez` and `/readyz` in every pod.
    #[schemars(range(min = 1024, max = 65535))]
    pub port: i32,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            enabled: true,
            port: 9090,
        }
    }
}
