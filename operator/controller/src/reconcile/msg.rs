//! The msg role: puts its objects right, plans, and acts.

use im_operator_api::{REBALANCE_ANNOTATION, labels};
use im_operator_plan::build::{self, MsgTemplate};
use im_operator_plan::msg::{self as planner, Action, Outcome, State};
use im_operator_plan::{Desired, Role, Templates, slots};
use serde_json::Value;
use tokio::time::Instant;

use super::stages::Stages;
use super::{Reconciliation, Trouble};
use crate::context::Memory;
use crate::msg::address::Addresses;
use crate::msg::execute::{Done, Executor, Manifests, slot_manifest, unused_manifest};
use crate::msg::observe::{Observed, owned, sets};

/// What the planner saw and said.
#[derive(Clone, Debug)]
pub(crate) struct Msg {
    pub(crate) state: State,
    /// `None` while msg does not exist and must not yet.
    pub(crate) outcome: Option<Outcome>,
}

impl Reconciliation<'_> {
    /// Takes the next steps for msg.
    pub(crate) async fn msg(
        &self,
        desired: &Desired,
        templates: &Templates,
        stages: &Stages,
        memory: &mut Memory,
        trouble: &mut Trouble,
    ) -> Msg {
        let manifests = MsgManifests {
            look: self,
            desired,
            templates,
        };
        let revision = if stages.msg_held {
            self.newest_revision()
                .unwrap_or_else(|| desired.msg.revision.clone())
        } else {
            desired.msg.revision.clone()
        };
        let addresses = Addresses {
            cluster: self.cluster,
            nodes: self.nodes,
        };
        let state = Observed {
            children: self.children,
            uid: self.applier.uid,
            cluster: self.cluster,
            revision: &revision,
            load: self.load,
            reading: self.reading,
            addresses: &addresses,
            rebalance: self.rebalance_asked(),
            now: self.now,
        }
        .state();
        if stages.msg_held && !self.msg_exists() {
            return Msg {
                state,
                outcome: None,
            };
        }
        let outcome = planner::plan(&state, self.now);
        if !self.cluster.paused {
            // What is still on its way is no matter of drift either.
            if memory.expectations.met(self.children, Instant::now()) {
                self.act(&outcome.actions, &manifests, memory, trouble)
                    .await;
                self.put_right(&state, &outcome.actions, &manifests, memory, trouble)
                    .await;
            } else {
                trouble.stale = true;
            }
        }
        trouble.wake(outcome.wake_at);
        Msg {
            state,
            outcome: Some(outcome),
        }
    }

    /// When the annotation asks for clients to be spread anew; what is no time asks for nothing.
    fn rebalance_asked(&self) -> Option<jiff::Timestamp> {
        let annotations = self.object.metadata.annotations.as_ref()?;
        annotations.get(REBALANCE_ANNOTATION)?.parse().ok()
    }

    async fn act(
        &self,
        actions: &[Action],
        manifests: &MsgManifests<'_>,
        memory: &mut Memory,
        trouble: &mut Trouble,
    ) {
        for action in actions {
            let executor = Executor {
                applier: self.applier,
                manifests,
                children: self.children,
            };
            match executor
                .execute(action, self.now, &mut memory.expectations)
                .await
            {
                Ok(Done::Written(Some((reason, note)))) => self.record(reason, &note).await,
                Ok(Done::Written(None) | Done::Needless) => {}
                Ok(Done::Stale) => trouble.stale = true,
                Ok(Done::Foreign(what)) => trouble.conflicts.push(what),
                Err(error) => trouble.errors.push(error),
            }
        }
    }

    /// Undoes edits by hand of ReplicaSets and slot Services that no action is about.
    async fn put_right(
        &self,
        state: &State,
        actions: &[Action],
        manifests: &MsgManifests<'_>,
        memory: &mut Memory,
        trouble: &mut Trouble,
    ) {
        let mut wanted = Vec::new();
        for set in &state.replica_sets {
            let touched = actions.iter().any(|action| match action {
                Action::Scale { replica_set, .. } | Action::DeleteReplicaSet { replica_set } => {
                    replica_set.uid == set.object.uid
                }
                _ => false,
            });
            if !touched {
                wanted.extend(manifests.replica_set(&set.revision));
            }
        }
        for slot in &state.slots {
            let touched = actions.iter().any(|action| match action {
                Action::BindSlot { index, .. }
                | Action::UnbindSlot { index, .. }
                | Action::MarkSlot { index, .. }
                | Action::ReleaseSlot { index, .. } => *index == slot.index,
                _ => false,
            });
            if !touched {
                let base = manifests.slot(slot.index);
                let holder = slot.holder.as_ref();
                wanted.push(match slot.unused_since {
                    Some(since) if holder.is_none() && !slot.bound => unused_manifest(base, since),
                    _ => slot_manifest(base, slot.index, holder, slot.bound),
                });
            }
        }
        for value in wanted {
            self.ensure(value, memory, trouble).await;
        }
    }

    /// The revision of the newest ReplicaSet that is to have pods.
    fn newest_revision(&self) -> Option<String> {
        sets(self.children)
            .filter(|(_, entry, _)| owned(entry, self.applier.uid))
            .map(|(_, _, view)| view)
            .max_by_key(|view| (view.wanted > 0, view.created))
            .and_then(|view| view.labels.get(labels::REVISION).cloned())
    }
}

/// What the builders make for msg.
struct MsgManifests<'a> {
    look: &'a Reconciliation<'a>,
    desired: &'a Desired,
    templates: &'a Templates,
}

impl Manifests for MsgManifests<'_> {
    fn replica_set(&self, revision: &str) -> Option<Value> {
        let template = if revision == self.desired.msg.revision {
            self.desired.msg.clone()
        } else {
            let stored = self.templates.get(Role::MSG, revision)?;
            MsgTemplate {
                revision: revision.to_owned(),
                template: stored.template.clone(),
            }
        };
        let set = build::msg_replica_set(self.look.cluster, self.look.owner, &template, 0);
        let mut value = serde_json::to_value(set).ok()?;
        if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
            spec.remove("replicas");
        }
        Some(value)
    }

    fn slot(&self, index: u32) -> Value {
        let service = slots::service(self.look.cluster, self.look.owner, index, false);
        // Typed objects of Kubernetes are JSON.
        serde_json::to_value(service).unwrap_or_default()
    }
}
