//! What is not wanted any more: children that no builder makes, and old stored revisions.

use std::collections::HashSet;

use im_operator_api::labels;
use im_operator_plan::{Desired, Role, names};
use im_role::Listener;
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::ResourceExt;

use super::{Reconciliation, Trouble};
use crate::context::Memory;
use crate::kinds::Kind;
use crate::prune;

impl Reconciliation<'_> {
    /// Deletes children that are not wanted any more.
    pub(crate) async fn prune(&self, desired: &Desired, memory: &Memory, trouble: &mut Trouble) {
        let mut wanted: HashSet<(Kind, String)> = desired
            .children
            .iter()
            .filter_map(|planned| {
                let kind = Kind::parse(planned.child.kind())?;
                Some((kind, planned.child.name().to_owned()))
            })
            .collect();
        wanted.extend(self.needed_by_last_pods());
        if let Some(mirror) = &memory.mirror {
            wanted.extend(mirror.objects.iter().map(|it| (it.kind, it.name.clone())));
        } else if self.mirror_rests(memory) {
            let slices = self.children.of(Kind::EndpointSlice);
            wanted.extend(slices.map(|(name, _)| (Kind::EndpointSlice, name.to_owned())));
        }
        if let Err(error) = prune::prune(&self.applier, self.children, &wanted).await {
            trouble.errors.push(error);
        }
    }

    /// What the pods of a role that is named no more need until they are gone: they let their clients go
    /// through Services and policies, and msg servers see by a Service that they go.
    fn needed_by_last_pods(&self) -> Vec<(Kind, String)> {
        let present = self.cluster.roles();
        let roles = self.cluster.known.table.roles.iter().copied();
        let gone = roles.filter(|role| !present.contains(role));
        let mut needed = Vec::new();
        for role in gone.filter(|role| self.has_pods(*role)) {
            let kinds = [
                Kind::Service,
                Kind::NetworkPolicy,
                Kind::ConfigMap,
                Kind::ServiceAccount,
            ];
            let name = names::component(&self.key.name, role);
            needed.extend(kinds.map(|kind| (kind, name.clone())));
            let behind = |port: &Listener| names::behind(&self.key.name, role, port.name);
            needed.extend(role.ports().map(|port| (Kind::Service, behind(port))));
        }
        needed
    }

    /// Whether a role has pods, those on their way out included.
    fn has_pods(&self, role: Role) -> bool {
        self.children.of(Kind::Pod).any(|(_, entry)| {
            let pod = entry.detail.pod();
            let component = pod.and_then(|pod| pod.labels.get(labels::COMPONENT));
            component.is_some_and(|component| component == role.name())
        })
    }

    /// Deletes stored revisions beyond `revisionHistoryLimit` that nothing runs, oldest first.
    pub(crate) async fn forget_revisions(
        &self,
        desired: &Desired,
        revisions: &[ControllerRevision],
        trouble: &mut Trouble,
    ) {
        let limit =
            usize::try_from(self.cluster.spec.operation.revision_history_limit).unwrap_or(0);
        for role in self.cluster.roles() {
            let mut old: Vec<&ControllerRevision> = revisions
                .iter()
                .filter(|it| {
                    it.labels()
                        .get(labels::COMPONENT)
                        .is_some_and(|of| of == role.name())
                })
                .filter(|it| {
                    let hash = it.labels().get(labels::REVISION);
                    hash.is_some_and(|hash| !self.is_used(desired, role, hash))
                })
                .collect();
            old.sort_by_key(|revision| revision.revision);
            let excess = old.len().saturating_sub(limit);
            for revision in old.into_iter().take(excess) {
                let (name, uid) = (revision.name_any(), revision.uid().unwrap_or_default());
                let deleted =
                    prune::delete(&self.applier, Kind::ControllerRevision, &name, &uid).await;
                trouble.errors.extend(deleted.err());
            }
        }
    }

    fn is_used(&self, desired: &Desired, role: Role, hash: &str) -> bool {
        let wanted = desired.revisions.get(&role).is_some_and(|it| it == hash);
        wanted
            || self.children.iter().any(|(_, _, entry)| {
                let of_workload = entry
                    .detail
                    .workload()
                    .and_then(|it| it.annotations.get(labels::INPUTS_HASH));
                let of_set = entry
                    .detail
                    .replica_set()
                    .and_then(|it| it.labels.get(labels::REVISION));
                let of_pod = entry
                    .detail
                    .pod()
                    .and_then(|it| it.labels.get(labels::REVISION));
                of_workload
                    .or(of_set)
                    .or(of_pod)
                    .is_some_and(|it| it == hash)
            })
    }
}
