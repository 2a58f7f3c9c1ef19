//! The resource, what runs, and how the operator behaves.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Cache, Database, ImClusterStatus, Load, Networking, Observability, Roles, Storage};

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
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.database.type != 'Embedded' || !has(self.roles.dbProxy.replicas) || self.roles.dbProxy.replicas == 1",
        "message": "roles.dbProxy.replicas must be 1 with the embedded database",
    },
    {
        "rule": "!has(self.roles.file) || self.roles.file.replicas <= 1",
        "message": "roles.file.replicas must be 1 at most: a transfer belongs to the server that began it, and clients are told one address",
    },
    {
        "rule": "self.storage.blobs.type != 'Volume' || !has(self.roles.msfs) || self.roles.msfs.replicas <= 1",
        "message": "roles.msfs.replicas must be 1 at most with storage.blobs.type Volume: one pod has the volume with the pictures",
    },
    {
        "rule": "!has(oldSelf.roles.file) && !has(oldSelf.roles.msfs) || quantity(has(self.storage.blobs.volume) ? self.storage.blobs.volume.size : '10Gi').compareTo(quantity(has(oldSelf.storage.blobs.volume) ? oldSelf.storage.blobs.volume.size : '10Gi')) >= 0",
        "message": "the volumes of files and pictures can grow, but not shrink",
    },
    {
        "rule": "!has(oldSelf.roles.file) && !has(oldSelf.roles.msfs) || (has(self.storage.blobs.volume) ? self.storage.blobs.volume.storageClassName : '') == (has(oldSelf.storage.blobs.volume) ? oldSelf.storage.blobs.volume.storageClassName : '')",
        "message": "the storage class of the volumes of files and pictures cannot be changed while there are such roles",
    },
    {
        "rule": "!has(oldSelf.roles.file) && !has(oldSelf.roles.msfs) || self.storage.blobs.type == oldSelf.storage.blobs.type",
        "message": "storage.blobs.type cannot be changed while there are files or pictures, which nothing moves: name neither roles.file nor roles.msfs first",
    },
]))]
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
    /// Where files and pictures are.
    #[serde(default)]
    pub storage: Storage,
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
    /// What becomes of volumes and of the installation's secret when the ImCluster is deleted, and of the
    /// volume of an optional role that is named no more.
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
