//! The resource, what runs, and how the operator behaves.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Cache, Database, ImClusterStatus, Load, Networking, Observability, Roles};

/// What an installation is to be.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "imcluster.io",
    version = "v1alpha1",
    kind = "ImCluster",
    plural = "imclusters",
    shortname = "imc",
    category = "im",
    namespaced,
    status = "ImClusterStatus",
    derive = "PartialEq",
    doc = "An instant-messaging platform.",
    validation = kube::core::Rule::new("size(self.metadata.name) <= 40")
        .message("metadata.name must have at most 40 characters"),
    validation = kube::core::Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must start with a letter and hold lower-case letters, digits and dashes only"),
    scale(
        spec_replicas_path = ".spec.roles.msg.replicas",
        status_replicas_path = ".status.roles.msg.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Msg", type_ = "integer", json_path = ".status.roles.msg.readyReplicas"),
    printcolumn(name = "Conns", type_ = "integer", json_path = ".status.roles.msg.connections"),
    printcolumn(name = "Load%", type_ = "integer", json_path = ".status.roles.msg.utilizationPercent"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Draining", type_ = "integer", priority = 1, json_path = ".status.roles.msg.drainingReplicas"),
    printcolumn(name = "Revision", type_ = "string", priority = 1, json_path = ".status.roles.msg.updateRevision"),
    printcolumn(name = "Reason", type_ = "string", priority = 1, json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Operator", type_ = "string", priority = 1, json_path = ".status.operatorVersion"),
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.database.type != 'Embedded' || !has(self.roles.dbProxy.replicas) || self.roles.dbProxy.replicas == 1",
    "message": "roles.dbProxy.replicas must be 1 with the embedded database",
}]))]
pub struct ImClusterSpec {
    /// Version of the servers; the tag of the image.
    #[schemars(
        length(max = 64),
        regex(pattern = r"^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]{1,32})?$")
    )]
    pub version: String,
    /// Where the servers' image comes from.
    #[serde(default)]
    pub image: Image,
    /// How the operator behaves.
    #[serde(default)]
    pub operation: Operation,
    /// Where everything durable is.
    #[serde(default)]
    pub database: Database,
    /// Where answers are remembered.
    #[serde(default)]
    pub cache: Cache,
    /// As whom the servers run.
    #[serde(default)]
    pub security: Security,
    /// How load becomes known.
    #[serde(default)]
    pub load: Load,
    /// Names and paths in the network.
    #[serde(default)]
    pub networking: Networking,
    /// What can be observed.
    #[serde(default)]
    pub observability: Observability,
    /// The roles.
    #[serde(default)]
    pub roles: Roles,
}

/// Where the servers' image comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Image {
    /// Repository; empty: the operator's setting.
    #[schemars(
        length(max = 255),
        regex(pattern = r"^([A-Za-z0-9][A-Za-z0-9._:/-]*)?$")
    )]
    pub repository: String,
    /// Digest; it wins over `version` as the tag. Empty: none.
    #[schemars(length(max = 71), regex(pattern = r"^(sha256:[0-9a-f]{64})?$"))]
    pub digest: String,
    /// When nodes fetch the image.
    pub pull_policy: PullPolicy,
    /// Secrets for the registry.
    #[schemars(length(max = 8))]
    pub pull_secrets: Vec<SecretName>,
}

/// As whom the servers run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Security {
    /// Who chooses the numbers of user and groups.
    pub run_as: RunAs,
}

/// Who chooses the numbers of user and groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RunAs {
    /// The image: 65532.
    #[default]
    Image,
    /// The platform, as OpenShift does with a range for each namespace.
    Platform,
}

/// When nodes fetch an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// At every start of a pod.
    Always,
    /// When they do not have it.
    #[default]
    IfNotPresent,
    /// Never: it must be there.
    Never,
}

impl PullPolicy {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// A Secret of the ImCluster's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretName {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How the operator behaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Operation {
    /// Whether the operator leaves everything but `status` alone. The annotation
    /// `imcluster.io/paused: "true"` means the same.
    pub paused: bool,
    /// Any change replaces the pods of all roles.
    #[schemars(length(max = 64))]
    pub restart_trigger: String,
    /// When pods get what a newer operator would make of the same specification.
    pub template_policy: TemplatePolicy,
    /// What becomes of the database's volume and of the installation's secret when the ImCluster
    /// is deleted.
    pub deletion_policy: DeletionPolicy,
    /// Old revisions of each role that are kept.
    #[schemars(range(min = 0, max = 10))]
    pub revision_history_limit: i32,
}

impl Default for Operation {
    fn default() -> Self {
        Self {
            paused: false,
            restart_trigger: String::new(),
            template_policy: TemplatePolicy::default(),
            deletion_policy: DeletionPolicy::default(),
            revision_history_limit: 3,
        }
    }
}

/// When pods get what a newer operator would make of the same specification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TemplatePolicy {
    /// With the next change of the specification.
    #[default]
    OnSpecChange,
    /// At once: a newer operator replaces pods.
    Always,
}

/// What becomes of data when the ImCluster is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays.
    #[default]
    Retain,
    /// It goes.
    Delete,
}
