//! The proof that a new image of db-proxy starts, before the one pod with the database is touched.
//!
//! It is a ReplicaSet with one pod of the new template, less all that db-proxy works with: it prints the
//! program's version, again and again, until the ReplicaSet is deleted.

use std::collections::BTreeMap;

use im_operator_api::labels;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec, StatefulSet};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::object::{Owner, label_selector, metadata, tag};
use crate::{Resolved, names};

/// Component of the proof in labels: no Service, budget or policy of db-proxy selects it.
pub const COMPONENT: &str = "db-proxy-proof";

/// The ReplicaSet that proves the image of this StatefulSet; `None` if that runs nothing.
pub fn replica_set(cluster: &Resolved, owner: &Owner, set: &StatefulSet) -> Option<ReplicaSet> {
    let pod = set.spec.as_ref()?.template.spec.as_ref()?;
    let program = pod.containers.first()?;
    let mut labels = cluster.labels();
    labels.remove(labels::MANAGED_BY);
    labels.insert(labels::COMPONENT.to_owned(), COMPONENT.to_owned());
    let mut metadata = metadata(cluster, owner, names::proof(&cluster.name), None);
    tag(&mut metadata.labels, labels::COMPONENT, COMPONENT);
    let of_pod = ObjectMeta {
        labels: metadata.labels.clone(),
        ..ObjectMeta::default()
    };
    Some(ReplicaSet {
        metadata,
        spec: Some(ReplicaSetSpec {
            replicas: Some(1),
            selector: label_selector(labels),
            template: Some(PodTemplateSpec {
                metadata: Some(of_pod),
                spec: Some(proving(pod, program)),
            }),
            ..ReplicaSetSpec::default()
        }),
        ..ReplicaSet::default()
    })
}

/// Image of what a StatefulSet runs.
pub fn image(set: &StatefulSet) -> Option<&str> {
    let pod = set.spec.as_ref()?.template.spec.as_ref()?;
    pod.containers.first()?.image.as_deref()
}

fn proving(pod: &PodSpec, program: &Container) -> PodSpec {
    let amounts = |list: &[(&str, &str)]| {
        let amounts = list.iter();
        let amounts =
            amounts.map(|(name, text)| ((*name).to_owned(), Quantity((*text).to_owned())));
        Some(amounts.collect::<BTreeMap<_, _>>())
    };
    PodSpec {
        containers: vec![Container {
            name: program.name.clone(),
            image: program.image.clone(),
            image_pull_policy: program.image_pull_policy.clone(),
            args: Some(vec!["--version".to_owned()]),
            security_context: program.security_context.clone(),
            resources: Some(ResourceRequirements {
                requests: amounts(&[("cpu", "10m"), ("memory", "16Mi")]),
                limits: amounts(&[("memory", "64Mi")]),
                ..ResourceRequirements::default()
            }),
            ..Container::default()
        }],
        volumes: None,
        init_containers: None,
        topology_spread_constraints: None,
        automount_service_account_token: Some(false),
        termination_grace_period_seconds: Some(1),
        ..pod.clone()
    }
}
