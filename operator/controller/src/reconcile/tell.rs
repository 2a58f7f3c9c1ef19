//! What a look tells in events and metrics, each change once.

use std::collections::BTreeSet;
use std::time::Duration;

use im_operator_api::{DrainStatus, ImClusterStatus, SlotState, condition};
use im_operator_plan::Role;
use tokio::time::Instant;

use super::Reconciliation;
use super::facts::age_seconds;
use crate::context::Memory;
use crate::metrics::{CONTROLLER_LABELS, ClusterFigures};
use crate::msg::observe::{owned, sets};
use crate::recorder::Reason;
use crate::status::{Database, Facts};

/// What an autoscaler does every 15 s is said again after this time.
const AUTOSCALED_AGAIN: Duration = Duration::from_secs(1800);

impl Reconciliation<'_> {
    /// Tells what changed since the last look.
    pub(crate) async fn tell(&self, facts: &Facts, status: &ImClusterStatus, memory: &mut Memory) {
        self.show(facts, status);
        self.tell_paused(facts, memory).await;
        self.tell_old_keys(facts, memory).await;
        self.tell_rolls(facts, status, memory).await;
        self.tell_stalled(status, memory).await;
        self.tell_failing(facts, memory).await;
        self.tell_drains(facts, memory).await;
        self.tell_addresses(facts, memory).await;
        self.tell_autoscaled(memory).await;
    }

    fn show(&self, facts: &Facts, status: &ImClusterStatus) {
        let mut slots: Vec<(String, i64)> = ["Bound", "Draining", "Free", "Provisioning"]
            .map(|state| (state.to_owned(), 0))
            .into();
        for slot in &facts.slots {
            let index = match slot.state {
                SlotState::Bound => 0,
                SlotState::Draining => 1,
                SlotState::Free => 2,
                SlotState::Provisioning => 3,
            };
            if let Some((_, count)) = slots.get_mut(index) {
                *count += 1;
            }
        }
        let figures = ClusterFigures {
            conditions: status
                .conditions
                .iter()
                .map(|it| (it.type_.clone(), it.status.clone()))
                .collect(),
            connections: facts.load.connections,
            capacity: facts.load.capacity,
            draining: facts.msg.as_ref().map_or(0, |msg| i64::from(msg.draining)),
            drain_deadline: first_deadline(&facts.drains),
            slots,
            load_age_seconds: age_seconds(facts.load.read_at, facts.now),
        };
        self.ctx.metrics.show(&self.labels(), &figures);
    }

    async fn tell_paused(&self, facts: &Facts, memory: &mut Memory) {
        if memory.told.paused == facts.paused {
            return;
        }
        memory.told.paused = facts.paused;
        if facts.paused {
            let note = "Nothing but status is written until it is resumed";
            self.record(Reason::Paused, note).await;
        } else {
            self.record(Reason::Resumed, "The installation is looked after again")
                .await;
        }
    }

    async fn tell_old_keys(&self, facts: &Facts, memory: &mut Memory) {
        let text = facts.advice();
        if text != memory.told.old_keys && !facts.warnings.is_empty() {
            self.record(Reason::OldKeys, &text).await;
        }
        memory.told.old_keys = text;
    }

    async fn tell_rolls(&self, facts: &Facts, status: &ImClusterStatus, memory: &mut Memory) {
        for role in &facts.roles {
            let field = role.role.field;
            let running = memory.told.rolls.get(field).cloned();
            let rolling = !role.rolled_out
                && !role.held
                && current(status, role.role) != Some(&role.update_revision);
            match running {
                Some((revision, since)) if role.rolled_out && revision == role.update_revision => {
                    memory.told.rolls.remove(field);
                    memory.told.late.remove(field);
                    let seconds = since.elapsed().as_secs_f64();
                    let histogram = &self.ctx.metrics.rollout_seconds;
                    histogram
                        .get_or_create_owned(&CONTROLLER_LABELS)
                        .observe(seconds);
                    let note = format!("Every {field} pod has revision {revision}");
                    self.record(Reason::RolloutCompleted, &note).await;
                }
                Some((revision, _)) if revision == role.update_revision => {}
                _ if rolling && !facts.paused => {
                    let begun = (role.update_revision.clone(), Instant::now());
                    memory.told.rolls.insert(field, begun);
                    memory.told.late.remove(field);
                    if let Some(reason) = Self::restart_reason(facts, status, role.role) {
                        self.ctx.metrics.restarted(&self.labels(), field, reason);
                        let note = format!(
                            "{field} goes to revision {}: {reason}",
                            role.update_revision
                        );
                        self.record(Reason::RolloutStarted, &note).await;
                    }
                }
                _ => {}
            }
            if role.observed.deadline_exceeded && memory.told.late.insert(field) {
                let found = status
                    .conditions
                    .iter()
                    .find(|it| it.type_ == condition::PROGRESSING);
                let note = found.map_or(field, |it| it.message.as_str());
                self.record(Reason::RolloutStalled, note).await;
            }
        }
    }

    /// Why pods are replaced; `None` for a first start.
    fn restart_reason(facts: &Facts, status: &ImClusterStatus, role: Role) -> Option<&'static str> {
        current(status, role)?;
        let before = status.version.as_deref();
        Some(if before.is_some_and(|before| before != facts.version) {
            "ImageChanged"
        } else {
            "SpecChanged"
        })
    }

    async fn tell_stalled(&self, status: &ImClusterStatus, memory: &mut Memory) {
        let stalled = status
            .conditions
            .iter()
            .find(|it| it.type_ == condition::STALLED);
        let text = stalled.map(|it| it.message.clone()).unwrap_or_default();
        if let Some(stalled) = stalled
            && text != memory.told.stalled
        {
            let reason = if stalled.reason == "Conflict" {
                Reason::Conflict
            } else {
                Reason::ApplyFailed
            };
            self.record(reason, &text).await;
        }
        memory.told.stalled = text;
    }

    async fn tell_failing(&self, facts: &Facts, memory: &mut Memory) {
        let mut failing: BTreeSet<String> = facts
            .failing
            .iter()
            .filter(|pod| pod.reason != "Unschedulable")
            .map(|pod| pod.pod.clone())
            .collect();
        for pod in facts
            .failing
            .iter()
            .filter(|pod| failing.contains(&pod.pod))
        {
            if !memory.told.failing.contains(&pod.pod) {
                self.record(Reason::PodFailing, &pod.line()).await;
            }
        }
        let class = "StorageClass".to_owned();
        if facts.database == Database::StorageClassMissing {
            if !memory.told.failing.contains(&class) {
                let note =
                    "The claim for the database names no StorageClass and there is no default one";
                self.record(Reason::StorageClassMissing, note).await;
            }
            failing.insert(class);
        }
        for missing in &facts.missing {
            if !memory.told.failing.contains(&missing.message) {
                self.record(Reason::ReferenceMissing, &missing.message)
                    .await;
            }
            failing.insert(missing.message.clone());
        }
        memory.told.failing = failing;
    }

    async fn tell_drains(&self, facts: &Facts, memory: &mut Memory) {
        let drains: BTreeSet<String> = facts.drains.iter().map(|drain| drain.pod.clone()).collect();
        let ended: Vec<String> = memory.told.drains.difference(&drains).cloned().collect();
        for pod in ended {
            if self.children.get(crate::kinds::Kind::Pod, &pod).is_none() {
                let note = format!("Pod {pod} has let its clients go and is gone");
                self.record(Reason::DrainCompleted, &note).await;
            }
        }
        memory.told.drains = drains;
    }

    async fn tell_addresses(&self, facts: &Facts, memory: &mut Memory) {
        let without: BTreeSet<i32> = facts
            .slots
            .iter()
            .filter(|slot| slot.host.is_none())
            .map(|slot| slot.slot)
            .collect();
        let known: BTreeSet<i32> = facts
            .slots
            .iter()
            .filter(|slot| slot.host.is_some())
            .map(|slot| slot.slot)
            .collect();
        for slot in without.intersection(&memory.told.addresses) {
            let note = format!("Slot {slot} has lost its address");
            self.record(Reason::SlotAddressLost, &note).await;
        }
        memory.told.addresses = known;
    }

    /// An autoscaler on a ReplicaSet of msg is undone at each of its turns: it belongs on the ImCluster.
    async fn tell_autoscaled(&self, memory: &mut Memory) {
        let of_ours = sets(self.children).filter(|(_, entry, _)| owned(entry, self.applier.uid));
        let mut scaled = of_ours.filter(|(_, _, view)| view.scaled);
        let Some((name, _, _)) = scaled.next() else {
            return;
        };
        let told = memory.told.scaled;
        if told.is_none_or(|told| told.elapsed() >= AUTOSCALED_AGAIN) {
            let cluster = &self.key.name;
            let note = format!(
                "An autoscaler sets the pods of ReplicaSet {name}, which the operator puts back: let it scale \
                 ImCluster {cluster} instead (scaleTargetRef of kind ImCluster)"
            );
            self.record(Reason::ScaledByOthers, &note).await;
            memory.told.scaled = Some(Instant::now());
        }
    }
}

/// Unix seconds at which the first of these drains ends at the latest; 0 without any.
fn first_deadline(drains: &[DrainStatus]) -> i64 {
    let deadlines = drains.iter().filter_map(|drain| drain.deadline.as_ref());
    let seconds = deadlines.map(|deadline| deadline.0.as_second());
    seconds.min().unwrap_or(0)
}

/// The revision that all pods of a role had last.
fn current(status: &ImClusterStatus, role: Role) -> Option<&String> {
    let roles = status.roles.as_ref()?;
    if role == Role::MSG {
        return roles.msg.as_ref()?.current_revision.as_ref();
    }
    if role.optional {
        return roles.optional.get(role.field)?.current_revision.as_ref();
    }
    let others = [
        (Role::DB_PROXY, &roles.db_proxy),
        (Role::ROUTE, &roles.route),
        (Role::LOGIN, &roles.login),
    ];
    let (_, status) = others.into_iter().find(|(of, _)| *of == role)?;
    status.as_ref()?.current_revision.as_ref()
}
