//! Conditions after the conventions of the Kubernetes API, readable by kstatus: `Reconciling` and
//! `Stalled` are there only while they are true.

use im_operator_api::{Phase, condition as name};
use im_operator_plan::Role;
use im_operator_plan::msg::Progress;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{Facts, Invalid, Volume};
use crate::load::Knowledge;

use database::database;
use degraded::degraded;

mod database;
mod degraded;

/// Longest message; the API server takes 32 KiB.
const MAX_MESSAGE: usize = 2_000;

/// A condition without its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    kind: &'static str,
    status: &'static str,
    reason: String,
    message: String,
}

fn finding(kind: &'static str, holds: bool, reason: &str, message: impl Into<String>) -> Finding {
    Finding {
        kind,
        status: if holds { "True" } else { "False" },
        reason: reason.to_owned(),
        message: message.into(),
    }
}

/// The conditions that the facts amount to.
pub(crate) fn of_facts(facts: &Facts) -> Vec<Finding> {
    let available = available(facts);
    let progressing = progressing(facts);
    let stalled = stalled(facts);
    let degraded = degraded(facts);
    let done = progressing.reason == "RolloutComplete";
    let ready = match (&stalled, available.status) {
        (Some(stalled), _) => finding(name::READY, false, &stalled.reason, stalled.message.clone()),
        (None, "True") => finding(
            name::READY,
            true,
            "Ready",
            "The installation serves clients",
        ),
        (None, _) => finding(
            name::READY,
            false,
            &available.reason,
            available.message.clone(),
        ),
    };
    let mut all = vec![ready, available, spec_valid(facts)];
    if !done && !facts.paused {
        all.push(finding(
            name::RECONCILING,
            true,
            &progressing.reason,
            progressing.message.clone(),
        ));
    }
    all.extend(stalled);
    all.extend([
        progressing,
        degraded,
        draining(facts),
        load_known(facts),
        load(facts),
        addresses(facts),
        database(facts),
    ]);
    if let Some(limit) = facts.msg.as_ref().and_then(|msg| msg.limit) {
        let kind = name::SCALING_LIMITED;
        all.push(finding(kind, true, limit.reason(), limit.message()));
    }
    if let Volume::TooSmall { reason, message } = &facts.volume {
        let kind = name::VOLUME_TOO_SMALL;
        all.push(finding(kind, true, reason, message.clone()));
    }
    if !facts.data_is_durable {
        let message =
            "The database is in the dbProxy pod's own directory: everything is lost with the pod";
        all.push(finding(
            name::DATA_NOT_DURABLE,
            true,
            "EphemeralStorage",
            message,
        ));
    }
    if facts.paused {
        let message = "Nothing but status is written, and nothing that others change is put right";
        all.push(finding(name::PAUSED, true, "AsRequested", message));
    }
    all
}

/// The conditions while the first look is under way.
pub(crate) fn of_first_look() -> Vec<Finding> {
    let message = "The operator has begun to make the installation";
    let all = [
        (name::READY, false),
        (name::AVAILABLE, false),
        (name::RECONCILING, true),
    ];
    all.map(|(kind, holds)| finding(kind, holds, "Starting", message))
        .into()
}

/// The conditions that change when the specification cannot be used.
pub(crate) fn of_invalid(invalid: &Invalid) -> Vec<Finding> {
    let lines: Vec<String> = invalid
        .errors
        .iter()
        .map(|error| format!("{}: {}", error.field, error.message))
        .collect();
    let message = lines.join("; ");
    vec![
        finding(name::READY, false, "InvalidSpec", message.clone()),
        finding(name::SPEC_VALID, false, "InvalidSpec", message.clone()),
        finding(name::STALLED, true, "InvalidSpec", message),
    ]
}

/// A specification that is used, with what of it a later version reads no more, and what is seldom meant.
fn spec_valid(facts: &Facts) -> Finding {
    let reason = if facts.warnings.is_empty() {
        "Valid"
    } else {
        "OldKeys"
    };
    finding(name::SPEC_VALID, true, reason, facts.advice())
}

/// Gives findings their times: the old one where the status is the old one.
pub(crate) fn dated(
    findings: Vec<Finding>,
    previous: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    findings
        .into_iter()
        .map(|finding| {
            let old = previous
                .iter()
                .find(|old| old.type_ == finding.kind && old.status == finding.status);
            let mut message = finding.message;
            while message.len() > MAX_MESSAGE {
                message.pop();
            }
            Condition {
                type_: finding.kind.to_owned(),
                status: finding.status.to_owned(),
                reason: finding.reason,
                message,
                observed_generation: generation,
                last_transition_time: old.map_or(Time(now), |old| old.last_transition_time.clone()),
            }
        })
        .collect()
}

/// The summary for people.
pub(crate) fn phase(conditions: &[Condition], paused: bool) -> Phase {
    let holds = |kind: &str| {
        conditions
            .iter()
            .any(|it| it.type_ == kind && it.status == "True")
    };
    let progressing = conditions.iter().find(|it| it.type_ == name::PROGRESSING);
    let late = progressing.is_some_and(|it| it.status == "False");
    if holds(name::STALLED) {
        Phase::Failed
    } else if paused {
        Phase::Paused
    } else if !holds(name::AVAILABLE) {
        Phase::Pending
    } else if late || holds(name::DEGRADED) {
        Phase::Degraded
    } else if holds(name::RECONCILING) {
        Phase::Progressing
    } else {
        Phase::Running
    }
}

fn available(facts: &Facts) -> Finding {
    let missing = without_pods(facts, false);
    if !missing.is_empty() {
        let message = format!("No pod is ready of: {}", missing.join(", "));
        return finding(name::AVAILABLE, false, "RoleUnavailable", message);
    }
    if facts.desired_msg > 0 && facts.assignable == 0 {
        let message = "No msg pod can be handed out to clients";
        return finding(name::AVAILABLE, false, "RoleUnavailable", message);
    }
    // What clients can do without makes the installation no less available.
    let missing = without_pods(facts, true);
    let but = if missing.is_empty() {
        String::new()
    } else {
        format!(" but {}", missing.join(", "))
    };
    let message = format!("Every role{but} has a ready pod");
    finding(name::AVAILABLE, true, "MinimumReplicasAvailable", message)
}

/// Roles without a ready pod that are to have some: those that an installation can do without, or the others.
fn without_pods(facts: &Facts, optional: bool) -> Vec<&'static str> {
    let roles = facts.roles.iter();
    let missing = roles.filter(|it| it.wanted > 0 && it.observed.ready == 0);
    missing
        .filter(|it| it.role.optional == optional)
        .map(|it| it.role.field)
        .collect()
}

fn progressing(facts: &Facts) -> Finding {
    let late = facts
        .roles
        .iter()
        .find(|role| !role.rolled_out && role.observed.deadline_exceeded);
    if let Some(late) = late {
        let why = facts
            .failing
            .iter()
            .find(|pod| pod.role == late.role)
            .map(|pod| format!(": {}", pod.line()))
            .or_else(|| late.observed.failure.as_ref().map(|why| format!(": {why}")))
            .unwrap_or_default();
        let message = format!("{} makes no progress{why}", late.role.field);
        return finding(
            name::PROGRESSING,
            false,
            "ProgressDeadlineExceeded",
            message,
        );
    }
    let Some(current) = facts.roles.iter().find(|role| !role.rolled_out) else {
        let message = "Every role has the wanted revision and number of pods";
        return finding(name::PROGRESSING, true, "RolloutComplete", message);
    };
    let reason = match &facts.msg {
        Some(msg) if current.role == Role::MSG && msg.progress != Progress::Complete => {
            msg.progress.reason()
        }
        _ if current.live_revision.as_deref() == Some(&current.update_revision)
            && current.observed.updated >= current.observed.replicas =>
        {
            "Scaling"
        }
        _ => "NewRevision",
    };
    let mut message = match &facts.msg {
        Some(msg) if current.role == Role::MSG => format!("msg: {}", msg.message),
        _ => format!(
            "{}: {} of {} pods have the wanted revision, {} are available",
            current.role.field,
            current.observed.updated,
            current.wanted,
            current.observed.available
        ),
    };
    if let Some(pod) = facts.failing.iter().find(|pod| pod.role == current.role) {
        message.push_str("; ");
        message.push_str(&pod.line());
    }
    if let Some(why) = &current.observed.failure {
        message.push_str("; no pod can be made: ");
        message.push_str(why);
    }
    let held: Vec<&str> = facts
        .roles
        .iter()
        .filter(|role| role.held)
        .map(|role| role.role.field)
        .collect();
    if !held.is_empty() {
        message.push_str(&format!("; waiting: {}", held.join(", ")));
    }
    finding(name::PROGRESSING, true, reason, message)
}

fn stalled(facts: &Facts) -> Option<Finding> {
    if !facts.conflicts.is_empty() {
        let message = format!(
            "Objects of others have names that are needed here, and are left alone: {}",
            facts.conflicts.join(", ")
        );
        return Some(finding(name::STALLED, true, "Conflict", message));
    }
    let (reason, _) = facts.refusals.first()?;
    let lines: Vec<&str> = facts
        .refusals
        .iter()
        .map(|(_, line)| line.as_str())
        .collect();
    Some(finding(name::STALLED, true, reason, lines.join("; ")))
}

fn draining(facts: &Facts) -> Finding {
    match facts.msg.as_ref().map_or(0, |msg| msg.draining) {
        0 => finding(name::DRAINING, false, "NoDrains", ""),
        count => finding(
            name::DRAINING,
            true,
            "PodsDraining",
            format!("{count} pods let their clients go"),
        ),
    }
}

/// Whether the operator can ask login servers. Nobody is served less when it cannot, so that no
/// other condition depends on this one.
fn load_known(facts: &Facts) -> Finding {
    let kind = name::LOAD_KNOWN;
    match facts.load.knowledge {
        Knowledge::Known => finding(kind, true, "Read", "Login servers tell the load"),
        Knowledge::NotYet => not_read_yet(kind),
        Knowledge::Unknown => {
            let message = "No login server answers the operator at its metrics port: connections \
                are not counted, and msg pods beyond the wanted number stay until they are";
            finding(kind, false, "NoAnswer", message)
        }
    }
}

fn not_read_yet(kind: &'static str) -> Finding {
    let message = "No login server has told the load yet";
    Finding {
        status: "Unknown",
        ..finding(kind, false, "NotReadYet", message)
    }
}

/// Until this process has asked, what another found out before still holds.
pub(crate) fn keep_load(conditions: &mut [Condition], previous: &[Condition]) {
    for new in conditions {
        if ![name::LOAD_KNOWN, name::LOAD_REPORTS_FRESH].contains(&new.type_.as_str()) {
            continue;
        }
        if let Some(old) = previous.iter().find(|old| old.type_ == new.type_) {
            *new = Condition {
                observed_generation: new.observed_generation,
                ..old.clone()
            };
        }
    }
}

/// What another process has found out about the volume holds until this one has looked.
pub(crate) fn keep_volume(
    conditions: &mut Vec<Condition>,
    previous: &[Condition],
    generation: Option<i64>,
) {
    let old = previous
        .iter()
        .find(|it| it.type_ == name::VOLUME_TOO_SMALL);
    conditions.extend(old.map(|old| Condition {
        observed_generation: generation,
        ..old.clone()
    }));
}

fn load(facts: &Facts) -> Finding {
    let kind = name::LOAD_REPORTS_FRESH;
    match facts.load.knowledge {
        Knowledge::Known => {}
        Knowledge::NotYet => return not_read_yet(kind),
        Knowledge::Unknown => {
            let message = "What msg pods report to login servers is not known";
            return Finding {
                status: "Unknown",
                ..finding(kind, false, "LoadUnknown", message)
            };
        }
    }
    if facts.load.silent.is_empty() {
        return finding(
            kind,
            true,
            "AllReported",
            "Every ready msg pod has reported in time",
        );
    }
    let shown: Vec<&str> = facts
        .load
        .silent
        .iter()
        .take(8)
        .map(String::as_str)
        .collect();
    let message = format!("No fresh report from: {}", shown.join(", "));
    finding(kind, false, "ReportsMissing", message)
}

fn addresses(facts: &Facts) -> Finding {
    let kind = name::EXTERNAL_ADDRESSES_READY;
    if facts.slots_without_address.is_empty() {
        return finding(kind, true, "AddressesKnown", "");
    }
    let slots: Vec<String> = facts
        .slots_without_address
        .iter()
        .map(i32::to_string)
        .collect();
    let message = format!("No address yet for slots: {}", slots.join(", "));
    finding(kind, false, facts.address_source, message)
}

#[cfg(test)]
pub(crate) mod tests;
