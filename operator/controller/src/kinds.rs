//! The kinds of children that the operator owns.

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::core::ApiResource;

/// A kind of child. The order is the order in which children are pruned: what uses others first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Deployment,
    StatefulSet,
    ReplicaSet,
    Pod,
    PodDisruptionBudget,
    EndpointSlice,
    Service,
    NetworkPolicy,
    RoleBinding,
    Role,
    ServiceAccount,
    ConfigMap,
    ControllerRevision,
    Secret,
}

impl Kind {
    /// The kind by its name in manifests.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "Deployment" => Self::Deployment,
            "StatefulSet" => Self::StatefulSet,
            "ReplicaSet" => Self::ReplicaSet,
            "Pod" => Self::Pod,
            "PodDisruptionBudget" => Self::PodDisruptionBudget,
            "EndpointSlice" => Self::EndpointSlice,
            "Service" => Self::Service,
            "NetworkPolicy" => Self::NetworkPolicy,
            "RoleBinding" => Self::RoleBinding,
            "Role" => Self::Role,
            "ServiceAccount" => Self::ServiceAccount,
            "ConfigMap" => Self::ConfigMap,
            "ControllerRevision" => Self::ControllerRevision,
            "Secret" => Self::Secret,
            _ => return None,
        })
    }

    /// The name in manifests.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::Pod => "Pod",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::EndpointSlice => "EndpointSlice",
            Self::Service => "Service",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::RoleBinding => "RoleBinding",
            Self::Role => "Role",
            Self::ServiceAccount => "ServiceAccount",
            Self::ConfigMap => "ConfigMap",
            Self::ControllerRevision => "ControllerRevision",
            Self::Secret => "Secret",
        }
    }

    /// Where the API server keeps it.
    pub(crate) fn resource(self) -> ApiResource {
        match self {
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
            Self::ReplicaSet => ApiResource::erase::<ReplicaSet>(&()),
            Self::Pod => ApiResource::erase::<Pod>(&()),
            Self::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            Self::EndpointSlice => ApiResource::erase::<EndpointSlice>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            Self::RoleBinding => ApiResource::erase::<RoleBinding>(&()),
            Self::Role => ApiResource::erase::<Role>(&()),
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::ControllerRevision => ApiResource::erase::<ControllerRevision>(&()),
            Self::Secret => ApiResource::erase::<Secret>(&()),
        }
    }
}
