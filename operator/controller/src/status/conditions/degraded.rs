//! What is not as it is to be although most of it works.

use im_operator_api::condition as name;
use im_operator_plan::Role;

use super::{Finding, finding};
use crate::status::Facts;

/// Whether it works, but not all of it: what is missing, then pods that fail or cannot be made.
pub(super) fn degraded(facts: &Facts) -> Finding {
    if let Some(first) = facts.missing.first() {
        let all: Vec<&str> = facts.missing.iter().map(|it| it.message.as_str()).collect();
        let message = format!("{}: new pods wait for it", all.join("; "));
        return finding(name::DEGRADED, true, first.reason, message);
    }
    if let Some(pod) = facts
        .failing
        .iter()
        .find(|pod| pod.reason != "Unschedulable")
    {
        let reason = if pod.is_image() {
            "ImagePullFailed"
        } else {
            "PodCrashLoop"
        };
        let more = facts.failing.len() - 1;
        let message = match more {
            0 => pod.line(),
            _ => format!("{}; and {more} more", pod.line()),
        };
        return finding(name::DEGRADED, true, reason, message);
    }
    if let Some((role, why)) = not_created(facts) {
        let reason = if why.contains("exceeded quota") {
            "QuotaExceeded"
        } else {
            "PodsNotCreated"
        };
        let message = format!("no {} pod can be made: {why}", role.field);
        return finding(name::DEGRADED, true, reason, message);
    }
    if let Some(line) = &facts.unwritten {
        return finding(name::DEGRADED, true, "ApplyFailed", line.clone());
    }
    let short: Vec<String> = facts
        .roles
        .iter()
        .filter(|role| role.live_revision.as_deref() == Some(&role.update_revision))
        .filter(|role| role.observed.ready > 0 || role.role.optional)
        .filter(|role| role.observed.ready < role.wanted)
        .map(|role| {
            format!(
                "{} of {} {} pods are ready",
                role.observed.ready, role.wanted, role.role.field
            )
        })
        .collect();
    if short.is_empty() {
        finding(name::DEGRADED, false, "AsExpected", "")
    } else {
        finding(name::DEGRADED, true, "PartialOutage", short.join("; "))
    }
}

/// A role of which pods are missing, and why nobody can make them.
fn not_created(facts: &Facts) -> Option<(Role, &str)> {
    facts.roles.iter().find_map(|role| {
        let why = role.observed.failure.as_deref()?;
        Some((role.role, why))
    })
}
