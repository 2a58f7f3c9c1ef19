//! What is not wanted any more: children that no builder makes, and old stored revisions.

use std::collections::HashSet;

use im_operator_api::labels;
use im_operator_plan::{Desired, Role};
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
