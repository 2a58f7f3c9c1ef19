//! A new image of db-proxy must have started once before the one pod with the database is replaced.

use im_operator_plan::{Child, Desired, Role, names, proof};
use jiff::SignedDuration;

use super::stages::Stages;
use super::{Reconciliation, Trouble};
use crate::apply::ApplyError;
use crate::cache::Entry;
use crate::cache::views::PodView;
use crate::context::Memory;
use crate::kinds::Kind;
use crate::msg::observe::owned;
use crate::prune;

/// After this time without a word about the image, as when no pod can be made or placed, db-proxy
/// gets it without a proof.
const LIMIT: SignedDuration = SignedDuration::from_secs(120);

impl Reconciliation<'_> {
    /// Holds db-proxy back while its new image is not proved, and sees to the proof.
    pub(crate) async fn prove(
        &self,
        desired: &Desired,
        stages: &mut Stages,
        memory: &mut Memory,
        trouble: &mut Trouble,
    ) {
        let mut sets = desired.children.iter().map(|planned| &planned.child);
        let Some(Child::StatefulSet(set)) = sets.find(|it| matches!(it, Child::StatefulSet(_)))
        else {
            return;
        };
        let name = names::proof(&self.key.name);
        let proof = self.children.get(Kind::ReplicaSet, &name);
        let image = proof::image(set);
        let needed = self.workload(Role::DB_PROXY).is_some_and(|live| {
            // One that does not serve has nothing to lose.
            live.ready > 0 && live.image.as_deref() != image
        });
        if !needed {
            if let Some(entry) = proof.filter(|entry| owned(entry, self.applier.uid)) {
                self.end_proof(entry, trouble).await;
            }
            return;
        }
        let proved = match proof {
            None => {
                let wanted = proof::replica_set(self.cluster, self.owner, set);
                match serde_json::to_value(wanted) {
                    Ok(value) => self.ensure(value, memory, trouble).await,
                    Err(source) => trouble.errors.push(ApplyError::Json { what: name, source }),
                }
                false
            }
            Some(entry) if !owned(entry, self.applier.uid) => {
                if !entry.seen.deleting {
                    trouble.conflicts.push(format!("ReplicaSet {name}"));
                }
                false
            }
            Some(entry) => {
                let of = entry
                    .detail
                    .replica_set()
                    .and_then(|it| it.image.as_deref());
                if of == image {
                    self.is_proved(entry, trouble)
                } else {
                    self.end_proof(entry, trouble).await;
                    false
                }
            }
        };
        if let Some(facts) = stages.roles.get_mut(&Role::DB_PROXY) {
            facts.held |= !proved;
        }
    }

    fn is_proved(&self, entry: &Entry, trouble: &mut Trouble) -> bool {
        let pods: Vec<&PodView> = self
            .children
            .of(Kind::Pod)
            .filter_map(|(_, entry)| entry.detail.pod())
            .filter(|pod| {
                let owner = pod.owner.as_ref().map(|(_, _, uid)| uid);
                owner == Some(&entry.seen.uid)
            })
            .collect();
        if pods.iter().any(|pod| pod.ended_well) {
            return true;
        }
        if pods.iter().any(|pod| pod.failure.is_some()) {
            return false;
        }
        let created = entry.detail.replica_set().and_then(|it| it.created);
        let limit = created.and_then(|created| created.checked_add(LIMIT).ok());
        trouble.wake(limit.filter(|limit| self.now < *limit));
        limit.is_some_and(|limit| self.now >= limit)
    }

    async fn end_proof(&self, entry: &Entry, trouble: &mut Trouble) {
        let name = names::proof(&self.key.name);
        let deleted = prune::delete(&self.applier, Kind::ReplicaSet, &name, &entry.seen.uid).await;
        trouble.errors.extend(deleted.err());
    }
}
