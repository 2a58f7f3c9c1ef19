//! Every child of an ImCluster.

use std::collections::BTreeMap;
use std::fmt;

use im_role::Workload;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{self as rbac, PolicyRule, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::object::{Owner, metadata};
use crate::revision::{Stored, Templates, current, object};
use crate::{Resolved, Role, config, mirror, names, network, services, workload};

pub use crate::revision::inputs_hash;

/// Key of the number of pods in the ConfigMap of a role whose servers are told it.
pub const REPLICAS: &str = "replicas";

/// Key of the base URL of pictures in the ConfigMap of login servers, which tell it to clients; not there
/// without an msfs server.
pub const MSFS: &str = "msfs";

/// What a child waits for: until every workload of the stages before it runs its newest revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing: what several roles need, and what takes its time outside of the installation, such as the
    /// address of a Service for clients.
    Base,
    /// The roles that [this one waits for](im_role::Table::waits_for). A role that does not exist yet has
    /// nothing of its own before its turn; of one that does, only its workload and configuration wait.
    Of(Role),
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base => f.write_str("base"),
            Self::Of(role) => role.fmt(f),
        }
    }
}

/// A child.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Child {
    ServiceAccount(ServiceAccount),
    Role(rbac::Role),
    RoleBinding(RoleBinding),
    ConfigMap(ConfigMap),
    Service(Service),
    NetworkPolicy(NetworkPolicy),
    PodDisruptionBudget(PodDisruptionBudget),
    ControllerRevision(ControllerRevision),
    StatefulSet(StatefulSet),
    Deployment(Deployment),
}

impl Child {
    /// Kind in manifests.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::ServiceAccount(_) => "ServiceAccount",
            Self::Role(_) => "Role",
            Self::RoleBinding(_) => "RoleBinding",
            Self::ConfigMap(_) => "ConfigMap",
            Self::Service(_) => "Service",
            Self::NetworkPolicy(_) => "NetworkPolicy",
            Self::PodDisruptionBudget(_) => "PodDisruptionBudget",
            Self::ControllerRevision(_) => "ControllerRevision",
            Self::StatefulSet(_) => "StatefulSet",
            Self::Deployment(_) => "Deployment",
        }
    }

    /// Its metadata.
    pub const fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::ServiceAccount(object) => &object.metadata,
            Self::Role(object) => &object.metadata,
            Self::RoleBinding(object) => &object.metadata,
            Self::ConfigMap(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::NetworkPolicy(object) => &object.metadata,
            Self::PodDisruptionBudget(object) => &object.metadata,
            Self::ControllerRevision(object) => &object.metadata,
            Self::StatefulSet(object) => &object.metadata,
            Self::Deployment(object) => &object.metadata,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// As a manifest, with `apiVersion` and `kind`.
    ///
    /// # Errors
    /// Never for what this crate builds: none of its maps has keys that JSON cannot have.
    pub fn to_json(&self) -> serde_json::Result<serde_json::Value> {
        match self {
            Self::ServiceAccount(object) => serde_json::to_value(object),
            Self::Role(object) => serde_json::to_value(object),
            Self::RoleBinding(object) => serde_json::to_value(object),
            Self::ConfigMap(object) => serde_json::to_value(object),
            Self::Service(object) => serde_json::to_value(object),
            Self::NetworkPolicy(object) => serde_json::to_value(object),
            Self::PodDisruptionBudget(object) => serde_json::to_value(object),
            Self::ControllerRevision(object) => serde_json::to_value(object),
            Self::StatefulSet(object) => serde_json::to_value(object),
            Self::Deployment(object) => serde_json::to_value(object),
        }
    }
}

/// A child and what it waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// What it waits for.
    pub stage: Stage,
    /// The child.
    pub child: Child,
}

/// What the msg pods of the newest revision are made from; the msg planner makes ReplicaSets of it.
#[derive(Clone, Debug, PartialEq)]
pub struct MsgTemplate {
    /// The revision: part of the ReplicaSet's name, and a label of its pods.
    pub revision: String,
    /// The template.
    pub template: PodTemplateSpec,
}

/// Every child, in the order in which they are applied, without those that depend on single pods:
/// slots, the mirror's slices, msg's ReplicaSets; and without the Secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// The children.
    pub children: Vec<Planned>,
    /// The newest revision of msg.
    pub msg: MsgTemplate,
    /// The newest revision of each role.
    pub revisions: BTreeMap<Role, String>,
}

/// Builds every child. Stored templates are used where their inputs are the present ones.
pub fn build(cluster: &Resolved, owner: &Owner, templates: &Templates) -> Desired {
    let roles = cluster.roles();
    let revisions: Vec<(Role, Stored)> = roles
        .iter()
        .map(|role| (*role, current(cluster, templates, *role)))
        .collect();
    let base = |child| Planned {
        stage: Stage::Base,
        child,
    };
    let mut children = Vec::new();
    for role in &roles {
        let account = Child::ServiceAccount(service_account(cluster, owner, *role));
        children.push(of_role(*role, account));
    }
    children.push(base(Child::Role(discovery_role(cluster, owner))));
    children.push(base(Child::RoleBinding(discovery_binding(cluster, owner))));
    for (role, stored) in &revisions {
        let revision = object(cluster, owner, templates, *role, stored);
        let config = config_map(cluster, owner, *role, stored);
        children.push(of_role(*role, Child::ControllerRevision(revision)));
        children.push(of_role(*role, Child::ConfigMap(config)));
    }
    for role in &roles {
        let behind = services::behind(cluster, owner, *role).into_iter();
        children.extend(behind.map(|service| of_role(*role, Child::Service(service))));
        let front = services::front(cluster, owner, *role);
        children.extend(front.map(|service| base(Child::Service(service))));
    }
    if cluster.spec.load.mirror == im_operator_api::Mirror::EndpointSlice {
        let service = mirror::service(cluster, owner);
        children.push(of_role(Role::MSG, Child::Service(service)));
    }
    for role in &roles {
        let budget = workload::disruption_budget(cluster, owner, *role);
        children.extend(budget.map(|it| of_role(*role, Child::PodDisruptionBudget(it))));
    }
    if cluster.spec.networking.network_policy.enabled {
        let deny = network::default_deny(cluster, owner);
        children.push(base(Child::NetworkPolicy(deny)));
        for role in &roles {
            let policy = network::of_role(cluster, owner, *role);
            children.push(of_role(*role, Child::NetworkPolicy(policy)));
        }
    }
    let mut msg = MsgTemplate {
        revision: String::new(),
        template: PodTemplateSpec::default(),
    };
    for (role, stored) in &revisions {
        let child = match role.kubernetes.workload {
            Workload::StatefulSet => {
                Child::StatefulSet(workload::stateful_set(cluster, owner, *role, stored))
            }
            Workload::Deployment => {
                Child::Deployment(workload::deployment(cluster, owner, *role, stored))
            }
            Workload::Planned => {
                msg = MsgTemplate {
                    revision: stored.inputs_hash.clone(),
                    template: stored.template.clone(),
                };
                continue;
            }
        };
        children.push(of_role(*role, child));
    }
    Desired {
        children,
        msg,
        revisions: revisions
            .into_iter()
            .map(|(role, stored)| (role, stored.inputs_hash))
            .collect(),
    }
}

/// A child of one role.
const fn of_role(role: Role, child: Child) -> Planned {
    Planned {
        stage: Stage::Of(role),
        child,
    }
}

/// The ReplicaSet of a revision of msg.
pub fn msg_replica_set(
    cluster: &Resolved,
    owner: &Owner,
    msg: &MsgTemplate,
    replicas: i32,
) -> ReplicaSet {
    workload::replica_set(cluster, owner, &msg.revision, &msg.template, replicas)
}

fn service_account(cluster: &Resolved, owner: &Owner, role: Role) -> ServiceAccount {
    let name = names::component(&cluster.name, role);
    ServiceAccount {
        metadata: metadata(cluster, owner, name, Some(role)),
        // The pods that need a token say so.
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

fn discovery_role(cluster: &Resolved, owner: &Owner) -> rbac::Role {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    rbac::Role {
        metadata: metadata(cluster, owner, names::discovery(&cluster.name), None),
        rules: Some(vec![PolicyRule {
            api_groups: Some(texts(&["discovery.k8s.io"])),
            resources: Some(texts(&["endpointslices"])),
            verbs: texts(&["get", "list", "watch"]),
            ..PolicyRule::default()
        }]),
    }
}

fn discovery_binding(cluster: &Resolved, owner: &Owner) -> RoleBinding {
    let name = names::discovery(&cluster.name);
    let subject = |role: Role| Subject {
        kind: "ServiceAccount".to_owned(),
        name: names::component(&cluster.name, role),
        namespace: Some(cluster.namespace.clone()),
        api_group: None,
    };
    RoleBinding {
        metadata: metadata(cluster, owner, name.clone(), None),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name,
        },
        subjects: Some(
            cluster
                .roles()
                .into_iter()
                .filter(|role| config::has_peers(cluster, *role))
                .map(subject)
                .collect(),
        ),
    }
}

fn config_map(cluster: &Resolved, owner: &Owner, role: Role, stored: &Stored) -> ConfigMap {
    let name = names::component(&cluster.name, role);
    let mut data = BTreeMap::from([("imd.toml".to_owned(), stored.config.clone())]);
    if role.kubernetes.knows_replicas {
        // Beside the file that pods are made with: another number replaces none of them.
        let replicas = cluster.replicas(role).max(1);
        data.insert(REPLICAS.to_owned(), replicas.to_string());
    }
    if role == Role::LOGIN
        && let Some(url) = cluster.told_url(Role::MSFS)
    {
        // The same: they follow it.
        data.insert(MSFS.to_owned(), url);
    }
    ConfigMap {
        metadata: metadata(cluster, owner, name, Some(role)),
        data: Some(data),
        ..ConfigMap::default()
    }
}
