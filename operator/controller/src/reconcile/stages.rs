//! Applies the children in order: a role's workload gets a new revision only when the roles before
//! it run theirs. Who stands before whom follows from the links between the roles.
//!
//! A workload that has its revision already is put right whatever the others do. A login server that does
//! not exist yet does not wait for msg.

use std::collections::BTreeMap;

use im_operator_api::labels;
use im_operator_plan::{Child, Desired, Role, names};
use im_role::Workload;

use super::{Look, Trouble};
use crate::apply::{ApplyError, Ensured, Wanted};
use crate::cache::views::WorkloadView;
use crate::context::Memory;
use crate::kinds::Kind;
use crate::notices::Reason;
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
}

impl Look<'_> {
    /// Applies all children but those of single pods.
    pub(crate) async fn stages(
        &self,
        desired: &Desired,
        memory: &mut Memory,
        trouble: &mut Trouble,
    ) -> Stages {
        let stages = self.survey(desired);
        if self.cluster.paused {
            return stages;
        }
        for planned in &desired.children {
            if self.is_held(&planned.child, &stages) {
                continue;
            }
            match planned.child.to_json() {
                Ok(value) => self.ensure(value, memory, trouble).await,
                Err(source) => trouble.errors.push(ApplyError::Json {
                    what: format!("{} {}", planned.child.kind(), planned.child.name()),
                    source,
                }),
            }
        }
        stages
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
            Ok(Ensured::Unchanged | Ensured::Updated | Ensured::Created) => {}
            Ok(Ensured::Corrected(path)) => {
                self.ctx.metrics.drifted(&self.labels());
                let note = format!("{what} was changed by others at {path}, and put right");
                self.say(Reason::DriftCorrected, &note).await;
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
            let facts = RoleFacts::of_workload(role, self.cluster.replicas(role), revision, live);
            stages.roles.insert(role, facts);
        }
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
            before.any(|other| roles.contains(&other) && !done.contains(&other))
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

    fn workload(&self, role: Role) -> Option<&WorkloadView> {
        let kind = match role.kubernetes.workload {
            Workload::StatefulSet => Kind::StatefulSet,
            Workload::Deployment => Kind::Deployment,
            Workload::Planned => Kind::ReplicaSet,
        };
        let name = names::component(&self.key.name, role);
        let entry = self.children.get(kind, &name)?;
        crate::msg::observe::owned(entry, self.applier.uid)
            .then(|| entry.detail.workload())
            .flatten()
    }

    /// Every msg pod that is wanted is of this revision and ready, and no other is left.
    fn msg_rolled_out(&self, revision: &str) -> bool {
        let mut ready = 0;
        for (_, entry) in self.children.of(Kind::ReplicaSet) {
            let Some(view) = entry.detail.replica_set() else {
                continue;
            };
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

    /// Whether a child waits: a workload before its turn, and the configuration that goes with it.
    fn is_held(&self, child: &Child, stages: &Stages) -> bool {
        let role = match child {
            Child::StatefulSet(_) | Child::Deployment(_) | Child::ConfigMap(_) => child
                .metadata()
                .labels
                .as_ref()
                .and_then(|all| all.get(labels::COMPONENT))
                .and_then(|component| self.cluster.known.table.role(component)),
            _ => None,
        };
        match role {
            Some(role) if role == Role::MSG => self.msg_exists() && stages.msg_held,
            Some(role) => stages.roles.get(&role).is_some_and(|facts| {
                facts.held
                    && (facts.live_revision.is_some() || !matches!(child, Child::ConfigMap(_)))
            }),
            None => false,
        }
    }

    /// Msg runs this revision, if not it alone.
    fn msg_has(&self, revision: &str) -> bool {
        self.children.of(Kind::ReplicaSet).any(|(_, entry)| {
            crate::msg::observe::owned(entry, self.applier.uid)
                && entry.detail.replica_set().is_some_and(|view| {
                    let same = view
                        .labels
                        .get(labels::REVISION)
                        .is_some_and(|it| it == revision);
                    same && view.wanted > 0
                })
        })
    }

    /// Msg has a ReplicaSet.
    pub(crate) fn msg_exists(&self) -> bool {
        let mut sets = self.children.of(Kind::ReplicaSet);
        sets.any(|(_, entry)| crate::msg::observe::owned(entry, self.applier.uid))
    }
}
