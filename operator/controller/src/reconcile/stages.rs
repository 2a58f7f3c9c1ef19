//! Applies the children in order: a role's workload gets a new revision only when the roles before
//! it run theirs. Who stands before whom follows from the links between the roles.
//!
//! A workload that has its revision already is put right whatever the others do. A login server that does
//! not exist yet does not wait for msg. A role that does not exist yet has nothing of its own before its
//! turn, so that many new installations at once cost no more than what they need to begin.

use std::collections::BTreeMap;

use im_operator_api::labels;
use im_operator_plan::quantity::Quantity;
use im_operator_plan::{Child, Desired, Planned, Role, Stage, build, names};
use im_role::Workload;
use jiff::{SignedDuration, Timestamp};

use super::{Reconciliation, Trouble, dereference};
use crate::apply::{ApplyError, Ensured, Wanted};
use crate::cache::Entry;
use crate::cache::views::{PodView, WorkloadView};
use crate::context::Memory;
use crate::kinds::Kind;
use crate::msg::observe::{owned, sets};
use crate::recorder::Reason;
use crate::status::roles::RoleFacts;

/// How far the roles are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stages {
    /// The facts of the roles that are Deployments or StatefulSets.
    pub(crate) roles: BTreeMap<Role, RoleFacts>,
    /// Msg must not have its new revision yet.
    pub(crate) msg_held: bool,
    /// Msg runs its new revision.
    pub(crate) msg_rolled_out: bool,
    /// When something of it changes by the mere passing of time.
    pub(crate) wake_at: Option<Timestamp>,
}

/// How long a pod may be missing before somebody is asked why, and time between two questions.
const MISSING: SignedDuration = SignedDuration::from_secs(5);

/// Time without progress after which a StatefulSet counts as stuck, as for Deployments.
const STATEFUL_DEADLINE: SignedDuration = SignedDuration::from_secs(600);

impl Reconciliation<'_> {
    /// Applies all children but those of single pods.
    pub(crate) async fn stages(
        &self,
        desired: &Desired,
        memory: &mut Memory,
        trouble: &mut Trouble,
    ) -> Stages {
        let mut stages = self.survey(desired);
        trouble.wake(stages.wake_at);
        self.missing_pods(&mut stages, trouble).await;
        if self.cluster.paused {
            return stages;
        }
        self.prove(desired, &mut stages, memory, trouble).await;
        for planned in &desired.children {
            if self.is_held(planned, &stages) || self.makes_way(planned, trouble).await {
                continue;
            }
            match planned.child.to_json() {
                Ok(mut value) => {
                    self.leave_to_autoscaler(&planned.child, &mut value);
                    self.tell_scaled(&planned.child, &mut value);
                    self.ensure(value, memory, trouble).await;
                }
                Err(source) => trouble.errors.push(ApplyError::Json {
                    what: format!("{} {}", planned.child.kind(), planned.child.name()),
                    source,
                }),
            }
        }
        stages
    }

    /// Whether a StatefulSet makes way for another one: that of an earlier operator for one that replaces
    /// pods which do not get ready, and one whose claim asks for another size. Neither can be changed on
    /// the object; its pods and volumes stay as they are. One with a volume where there is to be none, or the
    /// other way round, goes with its pods: they are no pods of the other.
    async fn makes_way(&self, planned: &Planned, trouble: &mut Trouble) -> bool {
        let (Child::StatefulSet(_), Stage::Of(role)) = (&planned.child, planned.stage) else {
            return false;
        };
        let name = planned.child.name();
        let differs = self
            .children
            .get(Kind::StatefulSet, name)
            .filter(|entry| owned(entry, self.applier.uid))
            .filter(|entry| {
                let view = entry.detail.workload();
                view.is_some_and(|view| {
                    view.ordered
                        || self.has_other_size(role, view)
                        || self.has_other_storage(role, view)
                })
            });
        let Some(entry) = differs else {
            return false;
        };
        let (kind, uid) = (Kind::StatefulSet, &entry.seen.uid);
        let view = entry.detail.workload();
        let gone = if view.is_some_and(|view| self.has_other_storage(role, view)) {
            crate::prune::delete(&self.applier, kind, name, uid).await
        } else {
            crate::prune::orphan(&self.applier, kind, name, uid).await
        };
        match gone {
            Ok(()) => trouble.stale = true,
            Err(error) => trouble.errors.push(error),
        }
        true
    }

    /// Whether the claim of a StatefulSet asks for another size than the specification.
    fn has_other_size(&self, role: Role, view: &WorkloadView) -> bool {
        let both = view.volume.as_deref().zip(self.cluster.volume(role));
        both.is_some_and(|(live, wanted)| Quantity::parse(live) != Quantity::parse(&wanted.size))
    }

    /// Whether a StatefulSet has volumes and is to have none, or the other way round.
    fn has_other_storage(&self, role: Role, view: &WorkloadView) -> bool {
        view.volume.is_some() != self.cluster.volume(role).is_some()
    }

    /// Takes the number of pods out of a Deployment of which an autoscaler owns it.
    fn leave_to_autoscaler(&self, child: &Child, value: &mut serde_json::Value) {
        let Child::Deployment(_) = child else { return };
        let entry = self.children.get(Kind::Deployment, child.name());
        let view = entry.and_then(|entry| entry.detail.workload());
        if view.is_some_and(|view| view.scaled)
            && let Some(spec) = value.get_mut("spec").and_then(|it| it.as_object_mut())
        {
            spec.remove("replicas");
        }
    }

    /// Puts the number of pods that an autoscaler has chosen into the ConfigMap that tells it.
    fn tell_scaled(&self, child: &Child, value: &mut serde_json::Value) {
        let Child::ConfigMap(_) = child else { return };
        let pointer = format!("/data/{}", build::REPLICAS);
        let Some(told) = value.pointer_mut(&pointer) else {
            return;
        };
        let entry = self.children.get(Kind::Deployment, child.name());
        let view = entry.and_then(|entry| entry.detail.workload());
        if let Some(view) = view.filter(|view| view.scaled) {
            *told = view.wanted.max(1).to_string().into();
        }
    }

    /// Why a StatefulSet has no pod, which only events tell. They are read while it has none.
    async fn missing_pods(&self, stages: &mut Stages, trouble: &mut Trouble) {
        let sets = stages.roles.values_mut();
        for facts in sets.filter(|facts| is_stateful(facts.role)) {
            let name = names::component(&self.key.name, facts.role);
            let entry = self.children.get(Kind::StatefulSet, &name);
            let Some(entry) = entry.filter(|_| facts.observed.replicas < facts.wanted) else {
                continue;
            };
            let age = entry
                .seen
                .changed_by_us()
                .map(|at| self.now.duration_since(at));
            if age.is_some_and(|age| age >= MISSING) {
                match crate::events::why_no_pod(&self.applier, &entry.seen.uid).await {
                    Ok(why) => facts.observed.failure = why,
                    Err(error) => trouble.errors.push(error),
                }
            }
            trouble.wake(self.now.checked_add(MISSING).ok());
        }
    }

    /// Makes one child be as wanted.
    pub(crate) async fn ensure(
        &self,
        value: serde_json::Value,
        memory: &mut Memory,
        trouble: &mut Trouble,
    ) {
        let wanted = match Wanted::new(value) {
            Ok(wanted) => wanted,
            Err(error) => return trouble.errors.push(error),
        };
        self.ensure_wanted(&wanted, memory, trouble).await;
    }

    /// As `ensure`, for an object that is prepared.
    pub(crate) async fn ensure_wanted(
        &self,
        wanted: &Wanted,
        memory: &mut Memory,
        trouble: &mut Trouble,
    ) {
        let entry = self.children.get(wanted.kind, &wanted.name);
        let what = format!("{} {}", wanted.kind.as_str(), wanted.name);
        match self
            .applier
            .ensure(wanted, entry, &mut memory.verified)
            .await
        {
            Ok(Ensured::Created) => dereference::remember(wanted, memory),
            Ok(Ensured::Unchanged | Ensured::Updated) => {}
            Ok(Ensured::Corrected(path)) => {
                self.ctx.metrics.drifted(&self.labels());
                let note = format!("{what} was changed by others at {path}, and put right");
                self.record(Reason::DriftCorrected, &note).await;
            }
            Ok(Ensured::Foreign) => trouble.conflicts.push(what),
            Ok(Ensured::Deleting) => trouble.stale = true,
            Err(error) => trouble.errors.push(error),
        }
    }

    /// Where each role is, and which must wait.
    fn survey(&self, desired: &Desired) -> Stages {
        let mut stages = Stages::default();
        let roles = self.cluster.roles();
        let planned = |role: &&Role| role.kubernetes.workload == Workload::Planned;
        for role in roles.iter().filter(|role| !planned(role)).copied() {
            let revision = desired.revisions.get(&role).map_or("", String::as_str);
            let live = self.workload(role);
            let live = live.map(|view| {
                let revision = view.annotations.get(labels::INPUTS_HASH);
                (view, revision.map(String::as_str))
            });
            let scaled = live.filter(|(view, _)| view.scaled);
            let wanted =
                scaled.map_or_else(|| self.cluster.replicas(role), |(view, _)| view.wanted);
            let unseen = live.is_none_or(|(view, _)| !view.observed && view.replicas == 0);
            let facts = match live {
                // While another StatefulSet takes its place the pods serve all the same.
                _ if is_stateful(role) && unseen => {
                    let pods: Vec<&PodView> = self.pods_of(role).map(|(pod, _)| pod).collect();
                    RoleFacts::of_pods(role, wanted, revision, &pods)
                }
                live => RoleFacts::of_workload(role, wanted, revision, live),
            };
            stages.roles.insert(role, facts);
        }
        let sets = stages.roles.values_mut();
        let deadlines = sets.filter_map(|facts| self.stateful_deadline(facts));
        stages.wake_at = deadlines.min();
        let msg_rolled_out = self.msg_rolled_out(&desired.msg.revision);
        let mut done: Vec<Role> = stages
            .roles
            .values()
            .filter(|facts| facts.rolled_out)
            .map(|facts| facts.role)
            .collect();
        if msg_rolled_out {
            done.push(Role::MSG);
        }
        let held = |role: Role, exists: bool| {
            let mut before = self.cluster.known.table.waits_for(role, exists).into_iter();
            // One that an installation can do without does not keep the others from coming into being.
            before.any(|other| {
                roles.contains(&other) && !done.contains(&other) && (exists || !other.optional)
            })
        };
        for facts in stages.roles.values_mut() {
            let live = facts.live_revision.as_deref();
            let has_it = live == Some(&facts.update_revision);
            facts.held = !has_it && held(facts.role, live.is_some());
        }
        let msg_has_it = self.msg_has(&desired.msg.revision);
        stages.msg_held = !msg_has_it && held(Role::MSG, self.msg_exists());
        stages.msg_rolled_out = msg_rolled_out;
        stages
    }

    /// A StatefulSet has no deadline of its own. Returns when it passes.
    fn stateful_deadline(&self, facts: &mut RoleFacts) -> Option<Timestamp> {
        if !is_stateful(facts.role) || facts.rolled_out {
            return None;
        }
        let name = names::component(&self.key.name, facts.role);
        let entry = self.children.get(Kind::StatefulSet, &name)?;
        if facts.live_revision.as_deref() != Some(&facts.update_revision) {
            return None;
        }
        let pods = self.pods_of(facts.role);
        let changes = pods.flat_map(|(pod, _)| [pod.created, pod.ready_changed]);
        let last = changes
            .chain([entry.seen.changed_by_us()])
            .flatten()
            .max()?;
        let deadline = last.checked_add(STATEFUL_DEADLINE).ok()?;
        facts.observed.deadline_exceeded = self.now >= deadline;
        (!facts.observed.deadline_exceeded).then_some(deadline)
    }

    /// Pods of a role that are not on their way out, whoever controls them.
    pub(crate) fn pods_of(&self, role: Role) -> impl Iterator<Item = (&PodView, &Entry)> {
        let pods = self.children.of(Kind::Pod);
        pods.filter_map(move |(_, entry)| {
            let pod = entry.detail.pod()?;
            let component = pod.labels.get(labels::COMPONENT)?;
            (component == role.name() && !entry.seen.deleting).then_some((pod, entry))
        })
    }

    pub(crate) fn workload(&self, role: Role) -> Option<&WorkloadView> {
        let kind = match role.kubernetes.workload {
            Workload::StatefulSet => Kind::StatefulSet,
            Workload::Deployment => Kind::Deployment,
            Workload::Planned => Kind::ReplicaSet,
        };
        let name = names::component(&self.key.name, role);
        let entry = self.children.get(kind, &name)?;
        owned(entry, self.applier.uid)
            .then(|| entry.detail.workload())
            .flatten()
    }

    /// Every msg pod that is wanted is of this revision and ready, and no other is left.
    fn msg_rolled_out(&self, revision: &str) -> bool {
        let mut ready = 0;
        for (_, entry, view) in sets(self.children) {
            if entry.seen.controller.as_deref() != Some(self.applier.uid) {
                continue;
            }
            if view
                .labels
                .get(labels::REVISION)
                .is_some_and(|it| it == revision)
            {
                if !view.observed {
                    return false;
                }
                ready += view.ready;
            } else if view.wanted > 0 || view.replicas > 0 {
                return false;
            }
        }
        ready >= self.cluster.replicas(Role::MSG)
    }

    /// Whether a child waits for its role's turn: everything of a role that does not exist yet, and of one
    /// that does its workload and the configuration that goes with it.
    fn is_held(&self, planned: &Planned, stages: &Stages) -> bool {
        let Stage::Of(role) = planned.stage else {
            return false;
        };
        let (held, exists) = if role == Role::MSG {
            (stages.msg_held, self.msg_exists())
        } else {
            let facts = stages.roles.get(&role);
            let exists = facts.is_some_and(|facts| facts.live_revision.is_some());
            (facts.is_some_and(|facts| facts.held), exists)
        };
        let changes_pods = matches!(
            planned.child,
            Child::StatefulSet(_) | Child::Deployment(_) | Child::ConfigMap(_)
        );
        held && (changes_pods || !exists)
    }

    /// Msg runs this revision, if not it alone.
    fn msg_has(&self, revision: &str) -> bool {
        sets(self.children).any(|(_, entry, view)| {
            let found = view.labels.get(labels::REVISION);
            let same = found.is_some_and(|it| it == revision);
            owned(entry, self.applier.uid) && same && view.wanted > 0
        })
    }

    /// Msg has a ReplicaSet.
    pub(crate) fn msg_exists(&self) -> bool {
        sets(self.children).any(|(_, entry, _)| owned(entry, self.applier.uid))
    }
}

fn is_stateful(role: Role) -> bool {
    role.kubernetes.workload == Workload::StatefulSet
}
