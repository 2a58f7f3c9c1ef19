//! What a look needs to read besides the watches.

use std::collections::HashSet;
use std::time::Duration;

use im_operator_api::ExternalType;
use im_operator_plan::Resolved;
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::Api;
use serde_json::Value;

use super::Reconciliation;
use crate::apply::{ApplyError, Wanted};
use crate::cache::ClusterKey;
use crate::context::{Context, Memory};
use crate::kinds::Kind;
use crate::load::Reading;
use crate::msg::address::Node;

/// How the load of a cluster is read.
pub(super) fn reading(cluster: &Resolved) -> Reading {
    let seconds = |number: i32| Duration::from_secs(u64::try_from(number).unwrap_or(1).max(1));
    let load = &cluster.spec.load;
    Reading {
        interval: seconds(load.status_interval_seconds),
        stale_after: seconds(load.stale_after_seconds),
        port: u16::try_from(cluster.spec.observability.metrics.port).unwrap_or(9090),
    }
}

/// The nodes, if this cluster tells their addresses to clients, or empties msg pods of those that are to go.
pub(super) async fn nodes(cluster: &Resolved, key: &ClusterKey, ctx: &Context) -> Vec<Node> {
    let external = &cluster.spec.roles.msg.external;
    let told = external.kind == ExternalType::NodePort && external.host_template.is_empty();
    let on_nodes = &cluster.spec.roles.msg.drain.on_nodes;
    let needed = told || on_nodes.unschedulable || !on_nodes.taints.is_empty();
    if needed && ctx.settings.node_access {
        ctx.nodes.read(&ctx.client, key).await
    } else {
        ctx.nodes.forget(key);
        Vec::new()
    }
}

/// The stored revisions of this cluster. Each is read once: their content never changes.
pub(super) async fn revisions(
    look: &Reconciliation<'_>,
    memory: &mut Memory,
) -> Result<Vec<ControllerRevision>, ApplyError> {
    let api: Api<ControllerRevision> =
        Api::namespaced(look.ctx.client.clone(), &look.key.namespace);
    let mut present = HashSet::new();
    let mut revisions = Vec::new();
    for (name, entry) in look.children.of(Kind::ControllerRevision) {
        // StatefulSets have revisions of their own, with the labels of their pods.
        if entry.seen.controller.as_deref() != Some(look.applier.uid) || entry.seen.deleting {
            continue;
        }
        let uid = &entry.seen.uid;
        present.insert(uid.clone());
        if !memory.revisions.contains_key(uid) {
            let read = api.get_opt(name).await;
            let read = read
                .map_err(|error| ApplyError::api("read", Kind::ControllerRevision, name, error))?;
            let Some(mut revision) = read else { continue };
            revision.metadata.managed_fields = None;
            let bytes = serde_json::to_vec(&revision).map_err(|source| ApplyError::Json {
                what: format!("ControllerRevision {name}"),
                source,
            })?;
            memory.revisions.insert(uid.clone(), bytes);
        }
        let bytes = memory
            .revisions
            .get(uid)
            .map(Vec::as_slice)
            .unwrap_or_default();
        match serde_json::from_slice::<ControllerRevision>(bytes) {
            Ok(revision) => revisions.push(revision),
            Err(source) => {
                let what = format!("ControllerRevision {name}");
                return Err(ApplyError::Json { what, source });
            }
        }
    }
    memory.revisions.retain(|uid, _| present.contains(uid));
    Ok(revisions)
}

/// Keeps a revision that was created now, so that it is not read.
pub(super) fn remember(wanted: &Wanted, memory: &mut Memory) {
    if wanted.kind != Kind::ControllerRevision {
        return;
    }
    let Some(proof) = memory.verified.get(&(wanted.kind, wanted.name.clone())) else {
        return;
    };
    let uid = proof.uid().to_owned();
    let mut revision = wanted.value.clone();
    if let Some(metadata) = revision.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("uid".to_owned(), Value::String(uid.clone()));
    }
    memory
        .revisions
        .insert(uid, revision.to_string().into_bytes());
}
