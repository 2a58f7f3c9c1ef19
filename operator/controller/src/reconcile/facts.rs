//! The facts of a look, for the status.

use im_operator_api::{
    DrainStatus, Endpoint, Endpoints, ImClusterStatus, ServiceType, SlotState, SlotStatus,
};
use im_operator_plan::msg::{Pod as MsgPod, Slot};
use im_operator_plan::{Desired, Role, names};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::msg::Msg;
use super::stages::Stages;
use super::{Reconciliation, Trouble};
use crate::apply::ApplyError;
use crate::context::Memory;
use crate::kinds::Kind;
use crate::load::{Knowledge, rounded};
use crate::msg::observe::sets;
use crate::status::failing::failing;
use crate::status::roles::{Observed, RoleFacts};
use crate::status::{Database, Facts, LoadFacts};

impl Reconciliation<'_> {
    /// Everything that the status is made from.
    pub(crate) fn facts(
        &self,
        desired: &Desired,
        stages: &Stages,
        msg: &Msg,
        trouble: &Trouble,
        memory: &Memory,
        previous: &ImClusterStatus,
    ) -> Facts {
        let failing = failing(self.children);
        let mut roles: Vec<RoleFacts> = stages.roles.values().cloned().collect();
        roles.push(self.msg_facts(desired, stages, msg));
        let order = self.cluster.roles();
        roles.sort_by_key(|facts| order.iter().position(|role| *role == facts.role));
        let slots: Vec<SlotStatus> = Self::slots(msg);
        let waiting =
            |slot: &&SlotStatus| slot.pod.is_some() && slot.state == SlotState::Provisioning;
        Facts {
            now: self.now,
            generation: self.object.metadata.generation,
            version: self.cluster.spec.version.clone(),
            operator_version: self.ctx.settings.operator_version.clone(),
            selector: self.cluster.selector_text(Role::MSG),
            paused: self.cluster.paused,
            warnings: self.cluster.warnings.clone(),
            hints: self.cluster.hints.clone(),
            endpoints: self.endpoints(),
            database: self.database(stages, memory),
            on_server: self.on_server(),
            volume: self.volumes(memory),
            roles,
            msg: msg.outcome.as_ref().map(|outcome| outcome.summary.clone()),
            assignable: self.assignable(msg, previous),
            desired_msg: self.cluster.replicas(Role::MSG),
            msg_revision: desired.msg.revision.clone(),
            slots_without_address: slots.iter().filter(waiting).map(|slot| slot.slot).collect(),
            slots,
            address_source: match self.cluster.spec.roles.msg.external.kind {
                im_operator_api::ExternalType::LoadBalancer => "WaitingForLoadBalancer",
                _ => "WaitingForAddress",
            },
            drains: self.drains(msg),
            load: self.load_facts(msg),
            data_is_durable: self.cluster.data_is_durable(),
            failing,
            missing: memory.references.missing.clone(),
            conflicts: trouble.conflicts.clone(),
            unwritten: None,
            refusals: trouble.errors.iter().filter_map(refusal).collect(),
        }
    }

    fn msg_facts(&self, desired: &Desired, stages: &Stages, msg: &Msg) -> RoleFacts {
        let summary = msg.outcome.as_ref().map(|outcome| &outcome.summary);
        let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let late = summary
            .is_some_and(|it| it.progress == im_operator_plan::msg::Progress::DeadlineExceeded);
        let complete =
            summary.is_some_and(|it| it.progress == im_operator_plan::msg::Progress::Complete);
        let failure = sets(self.children)
            .filter(|(_, entry, _)| entry.seen.controller.as_deref() == Some(self.applier.uid))
            .find_map(|(_, _, view)| view.failure.clone());
        RoleFacts {
            role: Role::MSG,
            wanted: self.cluster.replicas(Role::MSG),
            observed: Observed {
                replicas: summary.map_or(0, |it| count(it.replicas)),
                ready: summary.map_or(0, |it| count(it.ready)),
                updated: summary.map_or(0, |it| count(it.updated)),
                available: summary.map_or(0, |it| count(it.available)),
                deadline_exceeded: late,
                failure,
            },
            update_revision: desired.msg.revision.clone(),
            live_revision: Some(msg.state.revision.clone())
                .filter(|_| !msg.state.replica_sets.is_empty()),
            rolled_out: stages.msg_rolled_out && (complete || self.cluster.paused),
            held: stages.msg_held,
        }
    }

    fn slots(msg: &Msg) -> Vec<SlotStatus> {
        let mut slots: Vec<SlotStatus> = msg
            .state
            .slots
            .iter()
            .map(|slot| {
                let pod = holder(slot, &msg.state.pods);
                let endpoint = slot.address.as_deref().and_then(|it| it.rsplit_once(':'));
                let told = pod.is_some_and(|pod| pod.endpoint.is_some());
                SlotStatus {
                    slot: i32::try_from(slot.index).unwrap_or(i32::MAX),
                    pod: pod.map(|pod| pod.object.name.clone()),
                    host: endpoint.map(|(host, _)| host.trim_matches(['[', ']']).to_owned()),
                    port: endpoint.and_then(|(_, port)| port.parse().ok()),
                    state: match pod {
                        Some(pod) if pod.is_going() => SlotState::Draining,
                        Some(_) if slot.bound && told => SlotState::Bound,
                        Some(_) => SlotState::Provisioning,
                        None if slot.address.is_none() => SlotState::Provisioning,
                        None => SlotState::Free,
                    },
                }
            })
            .collect();
        slots.sort_by_key(|slot| slot.slot);
        slots
    }

    fn drains(&self, msg: &Msg) -> Vec<DrainStatus> {
        let most =
            SignedDuration::from_secs(i64::from(self.cluster.spec.roles.msg.drain.max_seconds));
        let mut drains: Vec<DrainStatus> = msg
            .state
            .pods
            .iter()
            .filter(|pod| !pod.finished && pod.is_going())
            .map(|pod| {
                let since = pod.emptied_since();
                let since = since.or_else(|| pod.drain.map(|drain| drain.since));
                let ends = since.and_then(|since| since.checked_add(most).ok());
                DrainStatus {
                    pod: pod.object.name.clone(),
                    reason: drain_reason(pod).to_owned(),
                    started_at: since.map(Time),
                    remaining: pod.connections.map(|it| rounded(i64::from(it))),
                    deadline: pod.terminating.or(ends).map(Time),
                }
            })
            .collect();
        drains.sort_by(|a, b| a.pod.cmp(&b.pod));
        drains
    }

    /// Msg pods that clients are sent to. Ready ones have reported to a login server, so that they
    /// count as long as nothing else is known; what was known before this process began to read holds
    /// until it has.
    fn assignable(&self, msg: &Msg, previous: &ImClusterStatus) -> u32 {
        let Some(summary) = msg.outcome.as_ref().map(|outcome| &outcome.summary) else {
            return 0;
        };
        match self.load.knowledge(self.now, self.reading) {
            Knowledge::Known => summary.assignable,
            Knowledge::Unknown => summary.available,
            Knowledge::NotYet => {
                let roles = previous.roles.as_ref();
                let before = roles.and_then(|roles| roles.msg.as_ref());
                let before = before.map_or(0, |msg| msg.assignable_replicas);
                summary.available.min(u32::try_from(before).unwrap_or(0))
            }
        }
    }

    fn load_facts(&self, msg: &Msg) -> LoadFacts {
        let capacity = i64::from(self.cluster.spec.roles.msg.capacity.max_connections);
        let live = msg
            .state
            .pods
            .iter()
            .filter(|pod| pod.terminating.is_none() && !pod.finished);
        let ready: Vec<&MsgPod> = live.filter(|pod| pod.ready).collect();
        let silent: Vec<String> = ready
            .iter()
            .filter(|pod| pod.connections.is_none())
            .map(|pod| pod.object.name.clone())
            .collect();
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let knowledge = self.load.knowledge(self.now, self.reading);
        LoadFacts {
            knowledge,
            connections: self.load.connections(self.now, self.reading),
            capacity: capacity.saturating_mul(count(ready.len())),
            read_at: self.load.read_at,
            fresh: i32::try_from(ready.len() - silent.len()).unwrap_or(i32::MAX),
            silent: if knowledge == Knowledge::Known {
                silent
            } else {
                Vec::new()
            },
        }
    }

    /// Where clients go: the Services of the roles that have one for them.
    fn endpoints(&self) -> Endpoints {
        let mut endpoints = Endpoints {
            login: self.endpoints_of(Role::LOGIN),
            ..Endpoints::default()
        };
        let roles = self.cluster.roles().into_iter();
        for role in roles.filter(|role| role.optional) {
            let found = self.endpoints_of(role);
            if !found.is_empty() {
                endpoints.optional.insert(role.field.to_owned(), found);
            }
        }
        endpoints
    }

    fn endpoints_of(&self, role: Role) -> Vec<Endpoint> {
        let name = names::component(&self.key.name, role);
        let service = self.children.get(Kind::Service, &name);
        let service = service.and_then(|entry| entry.detail.service());
        let section = self.cluster.section(role);
        let configured = section.and_then(|section| section.service.map(|service| service.kind));
        let Some((view, kind)) = service.zip(configured) else {
            return Vec::new();
        };
        view.ports
            .iter()
            .filter_map(|(port_name, port, node_port)| {
                let (word, host, port) = match kind {
                    ServiceType::ClusterIP => {
                        ("ClusterIP", self.cluster.service_host(&name), *port)
                    }
                    ServiceType::NodePort => ("NodePort", String::new(), (*node_port)?),
                    ServiceType::LoadBalancer => ("LoadBalancer", view.ingress.clone()?, *port),
                };
                Some(Endpoint {
                    kind: word.to_owned(),
                    name: port_name.clone(),
                    host,
                    port,
                })
            })
            .collect()
    }

    /// The database on a server, as the specification names it.
    fn on_server(&self) -> Option<String> {
        let mysql = self.cluster.spec.database.mysql()?;
        Some(format!("{} on {}", mysql.database, mysql.server()))
    }

    /// Whether db-proxy can serve, and what it waits for if it has no volume.
    fn database(&self, stages: &Stages, memory: &Memory) -> Database {
        let facts = stages.roles.get(&Role::DB_PROXY);
        if facts.is_some_and(|facts| facts.observed.ready > 0) {
            return Database::Ready;
        }
        let pod = format!("{}-0", names::component(&self.key.name, Role::DB_PROXY));
        let pod = self.children.get(Kind::Pod, &pod);
        let unscheduled = pod
            .and_then(|entry| entry.detail.pod())
            .and_then(|view| view.unscheduled.as_deref())
            .filter(|_| self.cluster.volume(Role::DB_PROXY).is_some());
        let claim = memory.volumes.get(&Role::DB_PROXY);
        let claim = claim.and_then(|claim| claim.unbound.as_deref());
        let waiting = unscheduled.zip(claim);
        waiting.map_or(Database::Starting, |(why, claim)| waiting_claim(claim, why))
    }
}

/// Why a pod goes: a word, or for one that was asked to go whatever was said.
fn drain_reason(pod: &MsgPod) -> &str {
    if pod.emptied_since().is_some()
        && let Some(reason) = &pod.leaving
    {
        return reason;
    }
    pod.drain.map_or("Deleted", |drain| drain.reason.as_str())
}

/// What a claim waits for. The classes themselves are cluster-scoped, and not for this operator to
/// read: but a claim that still names no class has found no default one.
fn waiting_claim(claim: &PersistentVolumeClaim, why: &str) -> Database {
    let phase = claim
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    if phase == Some("Bound") {
        return Database::Starting;
    }
    let class = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.storage_class_name.as_deref())
        .filter(|class| !class.is_empty());
    match class {
        None => Database::StorageClassMissing,
        Some(class) => Database::VolumePending(format!(
            "the claim waits for a volume of StorageClass {class}, which must exist: {why}"
        )),
    }
}

/// The pod for which a slot is taken, if it still exists.
fn holder<'a>(slot: &Slot, pods: &'a [MsgPod]) -> Option<&'a MsgPod> {
    let holder = slot.holder.as_ref()?;
    pods.iter()
        .find(|pod| pod.object.uid == holder.uid && !pod.finished)
}

/// What the API server refused for good, until a person acts.
fn refusal(error: &ApplyError) -> Option<(&'static str, String)> {
    if error.passes() {
        return None;
    }
    let status = error.status();
    let message = status
        .map(|status| status.message.as_str())
        .unwrap_or_default();
    if message.contains("being terminated") {
        return None;
    }
    let reason = if message.contains("exceeded quota") {
        "QuotaExceeded"
    } else {
        "ApplyFailed"
    };
    Some((reason, error.line()))
}

/// Seconds from one time to another, for metrics.
pub(crate) fn age_seconds(then: Option<Timestamp>, now: Timestamp) -> Option<f64> {
    then.map(|then| now.duration_since(then).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kind;
    use serde_json::json;

    fn claim(class: Option<&str>, phase: &str) -> Database {
        let claim = json!({"metadata": {}, "spec": {"storageClassName": class}, "status": {"phase": phase}});
        waiting_claim(&serde_json::from_value(claim).unwrap(), "unbound")
    }

    #[test]
    fn a_claim_without_class_lacks_a_default_one() {
        assert_eq!(claim(None, "Pending"), Database::StorageClassMissing);
        assert!(
            matches!(claim(Some("fast"), "Pending"), Database::VolumePending(why) if why.contains("fast"))
        );
        assert_eq!(claim(None, "Bound"), Database::Starting);
    }

    #[test]
    fn only_what_a_person_must_change_stalls() {
        let error = |code: u16, reason: &str, message: &str| {
            let status =
                json!({"status": "Failure", "message": message, "reason": reason, "code": code});
            let status = serde_json::from_value(status).unwrap();
            ApplyError::api(
                "apply",
                Kind::Service,
                "demo-msg",
                kube::Error::Api(Box::new(status)),
            )
        };
        let reason = |error: &ApplyError| refusal(error).map(|(reason, _)| reason);
        assert_eq!(reason(&error(422, "Invalid", "bad")), Some("ApplyFailed"));
        assert_eq!(
            reason(&error(403, "Forbidden", "exceeded quota: pods")),
            Some("QuotaExceeded")
        );
        assert_eq!(
            reason(&error(403, "Forbidden", "because it is being terminated")),
            None
        );
        assert_eq!(reason(&error(409, "Conflict", "changed")), None);
        assert_eq!(reason(&error(429, "TooManyRequests", "wait")), None);
        assert_eq!(reason(&error(500, "InternalError", "etcd")), None);
        assert!(
            refusal(&error(422, "Invalid", "bad"))
                .unwrap()
                .1
                .contains("Service demo-msg")
        );
    }
}
