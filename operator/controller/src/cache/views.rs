//! What the operator needs to know of the kinds whose content matters.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{
    ContainerStateTerminated, ContainerStatus, LoadBalancerIngress, LoadBalancerStatus,
    PersistentVolumeClaim, Pod, PodTemplateSpec, Service, ServicePort, ServiceSpec, ServiceStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The part of an object that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    None,
    Pod(Box<PodView>),
    ReplicaSet(Box<ReplicaSetView>),
    Workload(Box<WorkloadView>),
    Service(Box<ServiceView>),
}

impl Detail {
    pub(crate) fn pod(&self) -> Option<&PodView> {
        match self {
            Self::Pod(view) => Some(view),
            _ => None,
        }
    }

    pub(crate) fn replica_set(&self) -> Option<&ReplicaSetView> {
        match self {
            Self::ReplicaSet(view) => Some(view),
            _ => None,
        }
    }

    pub(crate) fn workload(&self) -> Option<&WorkloadView> {
        match self {
            Self::Workload(view) => Some(view),
            _ => None,
        }
    }

    pub(crate) fn service(&self) -> Option<&ServiceView> {
        match self {
            Self::Service(view) => Some(view),
            _ => None,
        }
    }
}

impl ServiceView {
    /// The Service as far as it is known.
    pub(crate) fn as_service(&self) -> Service {
        let ingress = self.ingress.as_ref().map(|host| {
            let is_ip = host.parse::<std::net::IpAddr>().is_ok();
            vec![LoadBalancerIngress {
                ip: is_ip.then(|| host.clone()),
                hostname: (!is_ip).then(|| host.clone()),
                ..LoadBalancerIngress::default()
            }]
        });
        let ports = self
            .ports
            .iter()
            .map(|(name, port, node_port)| ServicePort {
                name: Some(name.clone()),
                port: *port,
                node_port: *node_port,
                ..ServicePort::default()
            });
        Service {
            spec: Some(ServiceSpec {
                type_: Some(self.kind.clone()),
                cluster_ip: self.cluster_ip.clone(),
                ports: Some(ports.collect()),
                ..ServiceSpec::default()
            }),
            status: Some(ServiceStatus {
                load_balancer: Some(LoadBalancerStatus { ingress }),
                ..ServiceStatus::default()
            }),
            ..Service::default()
        }
    }
}

type Texts = BTreeMap<String, String>;

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodView {
    pub(crate) labels: Texts,
    /// Only those of the operator and the deletion cost.
    pub(crate) annotations: Texts,
    /// Kind, name and UID of the controlling owner.
    pub(crate) owner: Option<(String, String, String)>,
    pub(crate) created: Option<Timestamp>,
    /// Its addresses, at most one of each family, that of the cluster's first family first.
    pub(crate) ips: Vec<String>,
    pub(crate) node: Option<String>,
    pub(crate) phase: String,
    pub(crate) ready: bool,
    /// When it last became ready or stopped being it.
    pub(crate) ready_changed: Option<Timestamp>,
    /// When its grace period ends, once it is being deleted.
    pub(crate) deleted: Option<Timestamp>,
    /// Why it has no node.
    pub(crate) unscheduled: Option<String>,
    pub(crate) failure: Option<Failure>,
    /// Its program has run to a good end, at least once.
    pub(crate) ended_well: bool,
}

/// What is wrong with a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Kubernetes' word: `CrashLoopBackOff`, `ErrImagePull`, `OOMKilled`…
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) restarts: i32,
}

/// A ReplicaSet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplicaSetView {
    pub(crate) labels: Texts,
    /// Only those of the operator.
    pub(crate) annotations: Texts,
    pub(crate) created: Option<Timestamp>,
    /// Image of its first container.
    pub(crate) image: Option<String>,
    pub(crate) wanted: i32,
    /// An autoscaler chose that number.
    pub(crate) scaled: bool,
    pub(crate) replicas: i32,
    pub(crate) ready: i32,
    /// Its controller has seen the present spec.
    pub(crate) observed: bool,
    /// Why its controller cannot make pods.
    pub(crate) failure: Option<String>,
}

/// A Deployment or StatefulSet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct WorkloadView {
    /// Annotations of the operator on the pod template.
    pub(crate) template: Texts,
    /// Annotations of the operator on the object.
    pub(crate) annotations: Texts,
    /// Image of its first container.
    pub(crate) image: Option<String>,
    pub(crate) wanted: i32,
    /// An autoscaler chose that number.
    pub(crate) scaled: bool,
    pub(crate) replicas: i32,
    pub(crate) updated: i32,
    pub(crate) ready: i32,
    pub(crate) available: i32,
    pub(crate) observed: bool,
    /// A StatefulSet that never replaces a pod which does not get ready.
    pub(crate) ordered: bool,
    /// What the StatefulSet's claims of volumes ask for.
    pub(crate) volume: Option<String>,
    /// The Deployment gave up waiting for progress.
    pub(crate) deadline_exceeded: bool,
    /// Why its controller cannot make pods.
    pub(crate) failure: Option<String>,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceView {
    pub(crate) labels: Texts,
    /// Only those of the operator.
    pub(crate) annotations: Texts,
    pub(crate) kind: String,
    pub(crate) cluster_ip: Option<String>,
    /// (name, port, node port).
    pub(crate) ports: Vec<(String, i32, Option<i32>)>,
    /// Address of the load balancer: an IP or a host name.
    pub(crate) ingress: Option<String>,
    pub(crate) selector: Texts,
}

/// Annotation that makes a pod the first to go when its ReplicaSet shrinks.
pub(crate) const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

fn ours(annotations: Option<Texts>) -> Texts {
    annotations
        .unwrap_or_default()
        .into_iter()
        .filter(|(key, _)| key.starts_with("imcluster.io/") || key == DELETION_COST)
        .collect()
}

/// Whether the controller of HorizontalPodAutoscalers wrote the number of pods last. It is the one
/// part of that program that writes through the subresource `scale`.
fn scaled(metadata: &ObjectMeta) -> bool {
    let entries = metadata.managed_fields.iter().flatten();
    let mut of_autoscaler = entries.filter(|entry| {
        entry.subresource.as_deref() == Some("scale")
            && entry.manager.as_deref() == Some("kube-controller-manager")
    });
    of_autoscaler.any(|entry| {
        let fields = entry.fields_v1.as_ref();
        fields.is_some_and(|fields| fields.0.pointer("/f:spec/f:replicas").is_some())
    })
}

fn image(template: &PodTemplateSpec) -> Option<String> {
    template.spec.as_ref()?.containers.first()?.image.clone()
}

fn created(metadata: &ObjectMeta) -> Option<Timestamp> {
    metadata.creation_timestamp.as_ref().map(|time| time.0)
}

pub(crate) fn pod(pod: Pod) -> Detail {
    let metadata = pod.metadata;
    let status = pod.status.unwrap_or_default();
    let condition = |name: &str| {
        status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == name)
    };
    let ready = condition("Ready");
    let unscheduled = condition("PodScheduled")
        .filter(|condition| condition.status == "False")
        .map(|condition| condition.message.clone().unwrap_or_default());
    let containers = status.init_container_statuses.iter().flatten();
    let mut failure = containers
        .chain(status.container_statuses.iter().flatten())
        .find_map(container_failure);
    if failure.is_none() && status.phase.as_deref() == Some("Failed") {
        failure = Some(Failure {
            reason: status.reason.clone().unwrap_or_else(|| "Failed".to_owned()),
            message: status.message.clone().unwrap_or_default(),
            restarts: 0,
        });
    }
    let ended_well = status.container_statuses.iter().flatten().any(|status| {
        let ends = [&status.state, &status.last_state];
        let mut ends = ends
            .into_iter()
            .flatten()
            .filter_map(|it| it.terminated.as_ref());
        ends.any(|end| end.exit_code == 0)
    });
    let owner = metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
        .map(|owner| (owner.kind.clone(), owner.name.clone(), owner.uid.clone()));
    let ips = status.pod_ips.iter().flatten().map(|it| it.ip.clone());
    let ips: Vec<String> = ips.filter(|ip| !ip.is_empty()).collect();
    let ips = if ips.is_empty() {
        Vec::from_iter(status.pod_ip.filter(|ip| !ip.is_empty()))
    } else {
        ips
    };
    Detail::Pod(Box::new(PodView {
        created: created(&metadata),
        labels: metadata.labels.unwrap_or_default(),
        annotations: ours(metadata.annotations),
        owner,
        ips,
        node: pod.spec.and_then(|spec| spec.node_name),
        ready: ready.is_some_and(|it| it.status == "True"),
        ready_changed: ready
            .and_then(|it| it.last_transition_time.as_ref())
            .map(|it| it.0),
        deleted: metadata.deletion_timestamp.as_ref().map(|time| time.0),
        phase: status.phase.clone().unwrap_or_default(),
        unscheduled,
        failure,
        ended_well,
    }))
}

/// Waiting words that are ordinary steps of a start.
const STARTING: &[&str] = &["ContainerCreating", "PodInitializing"];
/// Words of an image that cannot be had, which take turns.
const NO_IMAGE: &[&str] = &["ErrImagePull", "ImagePullBackOff"];
/// A container that ended in error this often loops, whatever it is at right now.
const LOOPS: i32 = 2;

/// What is wrong with a container. The words are the same through all steps of a loop, so that
/// nothing has to be written at each.
fn container_failure(status: &ContainerStatus) -> Option<Failure> {
    let state = status.state.as_ref()?;
    let restarts = status.restart_count;
    let ended = state
        .terminated
        .as_ref()
        .or_else(|| status.last_state.as_ref()?.terminated.as_ref())
        .filter(|end| end.exit_code != 0);
    let waiting = state.waiting.as_ref().and_then(|it| it.reason.as_deref());
    let is_up = state.running.is_some() && status.ready;
    if let Some(end) = ended
        && !is_up
        && (restarts >= LOOPS || waiting == Some("CrashLoopBackOff"))
    {
        return Some(Failure {
            reason: "CrashLoopBackOff".to_owned(),
            message: end_line(end),
            restarts,
        });
    }
    if waiting.is_some_and(|reason| NO_IMAGE.contains(&reason)) {
        return Some(Failure {
            reason: "ErrImagePull".to_owned(),
            message: format!("image {} cannot be pulled", status.image),
            restarts,
        });
    }
    if let Some(reason) = waiting {
        let waiting = state.waiting.as_ref()?;
        return (!STARTING.contains(&reason)).then(|| Failure {
            reason: reason.to_owned(),
            message: waiting.message.clone().unwrap_or_default(),
            restarts,
        });
    }
    let end = state.terminated.as_ref().filter(|end| end.exit_code != 0)?;
    Some(Failure {
        reason: end.reason.clone().unwrap_or_else(|| "Error".to_owned()),
        message: end_line(end),
        restarts,
    })
}

fn end_line(end: &ContainerStateTerminated) -> String {
    let reason = end.reason.as_deref().unwrap_or("Error");
    let message = end.message.as_deref().unwrap_or_default().trim();
    let line = format!("last end: {reason}, exit code {}", end.exit_code);
    if message.is_empty() {
        line
    } else {
        format!("{line}: {message}")
    }
}

pub(crate) fn replica_set(set: ReplicaSet) -> Detail {
    let spec = set.spec.unwrap_or_default();
    let status = set.status.unwrap_or_default();
    let failure = status
        .conditions
        .iter()
        .flatten()
        .find(|it| it.type_ == "ReplicaFailure" && it.status == "True")
        .map(|it| it.message.clone().unwrap_or_default());
    Detail::ReplicaSet(Box::new(ReplicaSetView {
        image: spec.template.as_ref().and_then(image),
        created: created(&set.metadata),
        scaled: scaled(&set.metadata),
        observed: status.observed_generation >= set.metadata.generation,
        labels: set.metadata.labels.unwrap_or_default(),
        annotations: ours(set.metadata.annotations),
        wanted: spec.replicas.unwrap_or(1),
        replicas: status.replicas,
        ready: status.ready_replicas.unwrap_or(0),
        failure,
    }))
}

pub(crate) fn deployment(deployment: Deployment) -> Detail {
    let spec = deployment.spec.unwrap_or_default();
    let status = deployment.status.unwrap_or_default();
    let condition = |name: &str| {
        status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == name)
    };
    Detail::Workload(Box::new(WorkloadView {
        image: image(&spec.template),
        template: ours(spec.template.metadata.and_then(|it| it.annotations)),
        wanted: spec.replicas.unwrap_or(1),
        scaled: scaled(&deployment.metadata),
        replicas: status.replicas.unwrap_or(0),
        updated: status.updated_replicas.unwrap_or(0),
        ready: status.ready_replicas.unwrap_or(0),
        available: status.available_replicas.unwrap_or(0),
        observed: status.observed_generation >= deployment.metadata.generation,
        deadline_exceeded: condition("Progressing")
            .is_some_and(|it| it.reason.as_deref() == Some("ProgressDeadlineExceeded")),
        failure: condition("ReplicaFailure")
            .filter(|it| it.status == "True")
            .map(|it| it.message.clone().unwrap_or_default()),
        ordered: false,
        volume: None,
        annotations: ours(deployment.metadata.annotations),
    }))
}

pub(crate) fn stateful_set(set: StatefulSet) -> Detail {
    let spec = set.spec.unwrap_or_default();
    let status = set.status.unwrap_or_default();
    // updatedReplicas counts only while a roll is running.
    let same = status.update_revision == status.current_revision;
    let updated = if same {
        status.replicas
    } else {
        status.updated_replicas.unwrap_or(0)
    };
    Detail::Workload(Box::new(WorkloadView {
        image: image(&spec.template),
        template: ours(spec.template.metadata.and_then(|it| it.annotations)),
        wanted: spec.replicas.unwrap_or(1),
        scaled: false,
        replicas: status.replicas,
        updated,
        ready: status.ready_replicas.unwrap_or(0),
        available: status.available_replicas.unwrap_or(0),
        observed: status.observed_generation >= set.metadata.generation,
        ordered: spec.pod_management_policy.as_deref() != Some("Parallel"),
        volume: spec.volume_claim_templates.and_then(claimed),
        deadline_exceeded: false,
        failure: None,
        annotations: ours(set.metadata.annotations),
    }))
}

/// The size in the first of a StatefulSet's claims.
fn claimed(claims: Vec<PersistentVolumeClaim>) -> Option<String> {
    let claim = claims.into_iter().next()?.spec?;
    let size = claim.resources?.requests?.remove("storage")?;
    Some(size.0)
}

/// Of several addresses, the first one of this family; a name is of every family.
fn first_of_family(hosts: impl Iterator<Item = String>, family: Option<&String>) -> Option<String> {
    let hosts: Vec<String> = hosts.collect();
    let is_other = |host: &&String| match host.parse::<IpAddr>() {
        Ok(ip) => family.is_some_and(|family| ip.is_ipv6() != (family == "IPv6")),
        Err(_) => false,
    };
    let found = hosts.iter().find(|host| !is_other(host));
    found.or_else(|| hosts.first()).cloned()
}

pub(crate) fn service(service: Service) -> Detail {
    let spec = service.spec.unwrap_or_default();
    let ingress = service
        .status
        .and_then(|status| status.load_balancer)
        .and_then(|balancer| balancer.ingress)
        .and_then(|ingress| {
            let hosts = ingress.into_iter().filter_map(|it| it.ip.or(it.hostname));
            first_of_family(hosts, spec.ip_families.iter().flatten().next())
        });
    Detail::Service(Box::new(ServiceView {
        labels: service.metadata.labels.unwrap_or_default(),
        annotations: ours(service.metadata.annotations),
        kind: spec.type_.unwrap_or_else(|| "ClusterIP".to_owned()),
        cluster_ip: spec.cluster_ip.filter(|ip| !ip.is_empty() && ip != "None"),
        ports: spec
            .ports
            .unwrap_or_default()
            .into_iter()
            .map(|port| (port.name.unwrap_or_default(), port.port, port.node_port))
            .collect(),
        ingress,
        selector: spec.selector.unwrap_or_default(),
    }))
}

#[cfg(test)]
mod tests;
