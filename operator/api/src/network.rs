//! Names and paths in the network, load reports, metrics.

use k8s_openapi::api::networking::v1::NetworkPolicyEgressRule;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Names and paths in the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.clusterDomain == oldSelf.clusterDomain",
        "message": "clusterDomain cannot be changed",
    },
    {
        "rule": "size(self.ipFamilies) == 0 || size(oldSelf.ipFamilies) == 0 || self.ipFamilies[0] == oldSelf.ipFamilies[0]",
        "message": "the first of ipFamilies cannot be changed: Services keep their addresses",
    },
    {
        "rule": "size(self.ipFamilies) < 2 || self.ipFamilies[0] != self.ipFamilies[1]",
        "message": "ipFamilies must name each family once",
    },
    {
        "rule": "size(self.ipFamilies) < 2 || self.ipFamilyPolicy != 'SingleStack'",
        "message": "ipFamilyPolicy SingleStack takes one of ipFamilies",
    },
    {
        "rule": "size(self.ipFamilies) != 1 || self.ipFamilyPolicy == 'SingleStack'",
        "message": "one of ipFamilies needs ipFamilyPolicy SingleStack; name both for dual stack",
    },
]))]
pub struct Networking {
    /// DNS domain of the Kubernetes cluster, part of the addresses in `status.endpoints`.
    /// It cannot be changed later.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
    )]
    pub cluster_domain: String,
    /// Of which families of addresses the Services have one. Servers listen at all of their pod's.
    pub ip_family_policy: IpFamilyPolicy,
    /// The families, the first of which clients are told where a Service has addresses of both; empty: as
    /// the Kubernetes cluster has them. The first cannot be changed later.
    #[schemars(length(max = 2))]
    pub ip_families: Vec<IpFamily>,
    /// Who may reach the pods, and whom they may reach.
    pub network_policy: NetworkPolicySpec,
}

impl Default for Networking {
    fn default() -> Self {
        Self {
            cluster_domain: "cluster.local".to_owned(),
            ip_family_policy: IpFamilyPolicy::default(),
            ip_families: Vec::new(),
            network_policy: NetworkPolicySpec::default(),
        }
    }
}

/// Of which families of addresses a Service has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IpFamilyPolicy {
    /// Of one.
    SingleStack,
    /// Of both where the Kubernetes cluster has both.
    #[default]
    PreferDualStack,
    /// Of both, or there is none.
    RequireDualStack,
}

impl IpFamilyPolicy {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SingleStack => "SingleStack",
            Self::PreferDualStack => "PreferDualStack",
            Self::RequireDualStack => "RequireDualStack",
        }
    }
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IpFamily {
    /// IPv4.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    V6,
}

impl IpFamily {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
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
