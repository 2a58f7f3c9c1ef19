//! The whole status from the facts.

use std::collections::BTreeMap;

use im_operator_api::{ImClusterStatus, MsgStatus, RoleStatus, RolesStatus, condition as name};
use im_operator_plan::Role;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::roles::RoleFacts;
use super::{Facts, Invalid, Volume, conditions};
use crate::load::{Knowledge, steady};

/// Slots and drains that a status shows at most.
const MAX_SLOTS: usize = 64;
const MAX_DRAINS: usize = 16;

/// The status that the facts amount to.
pub(crate) fn status(facts: &Facts, previous: &ImClusterStatus) -> ImClusterStatus {
    let mut conditions = conditions::dated(
        conditions::of_facts(facts),
        &previous.conditions,
        facts.generation,
        facts.now,
    );
    if facts.load.knowledge == Knowledge::NotYet {
        conditions::keep_load(&mut conditions, &previous.conditions);
    }
    if facts.volume == Volume::Unknown {
        conditions::keep_volume(&mut conditions, &previous.conditions, facts.generation);
    }
    let done = facts.roles.iter().all(|role| role.rolled_out);
    let before = previous.roles.clone().unwrap_or_default();
    let other = |role: Role, before: Option<&RoleStatus>| {
        super::role(&facts.roles, role).map(|facts| role_status(facts, before))
    };
    ImClusterStatus {
        observed_generation: facts.generation,
        phase: Some(conditions::phase(&conditions, facts.paused)),
        version: if done {
            Some(facts.version.clone())
        } else {
            previous.version.clone()
        },
        operator_version: Some(facts.operator_version.clone()),
        selector: Some(facts.selector.clone()),
        endpoints: Some(facts.endpoints.clone()),
        roles: Some(RolesStatus {
            login: other(Role::LOGIN, before.login.as_ref()),
            msg: Some(msg_status(facts, before.msg.as_ref())),
            route: other(Role::ROUTE, before.route.as_ref()),
            db_proxy: other(Role::DB_PROXY, before.db_proxy.as_ref()),
            optional: optional(facts, &before),
        }),
        slots: facts.slots.iter().take(MAX_SLOTS).cloned().collect(),
        drains: facts.drains.iter().take(MAX_DRAINS).cloned().collect(),
        conditions,
    }
}

/// The roles that this installation need not have and has, by their fields.
fn optional(facts: &Facts, before: &RolesStatus) -> BTreeMap<String, RoleStatus> {
    let roles = facts.roles.iter().filter(|facts| facts.role.optional);
    let status = roles.map(|facts| {
        let field = facts.role.field;
        let status = role_status(facts, before.optional.get(field));
        (field.to_owned(), status)
    });
    status.collect()
}

/// The status of an ImCluster at which the first look has begun.
pub(crate) fn first(
    generation: Option<i64>,
    operator_version: &str,
    selector: String,
    now: Timestamp,
) -> ImClusterStatus {
    let conditions = conditions::dated(conditions::of_first_look(), &[], generation, now);
    ImClusterStatus {
        observed_generation: generation,
        phase: Some(conditions::phase(&conditions, false)),
        operator_version: Some(operator_version.to_owned()),
        selector: Some(selector),
        conditions,
        ..ImClusterStatus::default()
    }
}

/// The status when the specification cannot be used: as before, but for what says so.
pub(crate) fn invalid(invalid: &Invalid, previous: &ImClusterStatus) -> ImClusterStatus {
    let found = conditions::of_invalid(invalid);
    let found = conditions::dated(found, &previous.conditions, invalid.generation, invalid.now);
    let mut status = previous.clone();
    status.conditions.retain(|old| {
        old.type_ != name::RECONCILING && !found.iter().any(|new| new.type_ == old.type_)
    });
    status.conditions.extend(found);
    status.observed_generation = invalid.generation;
    status.operator_version = Some(invalid.operator_version.clone());
    status.phase = Some(conditions::phase(&status.conditions, false));
    status
}

fn role_status(facts: &RoleFacts, before: Option<&RoleStatus>) -> RoleStatus {
    RoleStatus {
        replicas: facts.observed.replicas,
        ready_replicas: facts.observed.ready,
        updated_replicas: updated(facts),
        current_revision: if facts.rolled_out {
            Some(facts.update_revision.clone())
        } else {
            before.and_then(|before| before.current_revision.clone())
        },
        update_revision: Some(facts.update_revision.clone()),
    }
}

/// A workload that was not written yet has no pod of the wanted revision.
fn updated(facts: &RoleFacts) -> i32 {
    if facts.live_revision.as_deref() == Some(&facts.update_revision) {
        facts.observed.updated
    } else {
        0
    }
}

fn msg_status(facts: &Facts, before: Option<&MsgStatus>) -> MsgStatus {
    let load = &facts.load;
    let shown = before.and_then(|before| before.connections);
    let connections = load.connections.map(|now| steady(now, shown));
    let utilization = connections.and_then(|connections| {
        let percent = connections.checked_mul(100)?.checked_div(load.capacity)?;
        i32::try_from(percent).ok()
    });
    let mut status = MsgStatus {
        desired_replicas: facts.desired_msg,
        update_revision: Some(facts.msg_revision.clone()),
        connections,
        connection_capacity: Some(load.capacity),
        utilization_percent: utilization,
        load_reported_at: load.read_at.map(Time),
        fresh_reporters: Some(load.fresh),
        ..MsgStatus::default()
    };
    if let Some(before) = before.filter(|_| load.knowledge == Knowledge::NotYet) {
        status.connections = before.connections;
        status.utilization_percent = before.utilization_percent;
        status.load_reported_at.clone_from(&before.load_reported_at);
        status.fresh_reporters = before.fresh_reporters;
    }
    if let Some(msg) = &facts.msg {
        let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        status.replicas = count(msg.replicas);
        status.ready_replicas = count(msg.ready);
        status.updated_replicas = count(msg.updated);
        status.assignable_replicas = count(facts.assignable);
        status.draining_replicas = count(msg.draining);
        status.current_revision.clone_from(&msg.current_revision);
    } else if let Some(before) = before {
        status.current_revision.clone_from(&before.current_revision);
    }
    status
}

#[cfg(test)]
mod tests;
