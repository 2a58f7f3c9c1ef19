//! A status as text.

use im_operator_api::{SlotState, condition};
use jiff::{SignedDuration, Timestamp};

use super::view::{Condition, Pod, Role, View};
use crate::output::{span, table};

/// Conditions that are shown only while they are not as they should be.
const QUIET: [(&str, &str); 9] = [
    (condition::SPEC_VALID, "True"),
    (condition::DEGRADED, "False"),
    (condition::DRAINING, "False"),
    (condition::LOAD_KNOWN, "True"),
    (condition::LOAD_REPORTS_FRESH, "True"),
    (condition::EXTERNAL_ADDRESSES_READY, "True"),
    (condition::DATABASE_READY, "True"),
    (condition::RECONCILING, "False"),
    (condition::AVAILABLE, "True"),
];

/// All that a person wants to know, the worst first.
pub(super) fn text(view: &View) -> String {
    let mut text = head(view);
    for (title, part) in [
        ("", conditions(view)),
        ("", roles(view)),
        ("msg pods", pods(&view.msg_pods)),
        ("Nodes", places(view)),
        ("Slots", slots(view)),
        ("Drains", drains(view)),
    ] {
        if part.is_empty() {
            continue;
        }
        text.push('\n');
        if !title.is_empty() {
            text.push_str(&format!("{title}\n"));
        }
        text.push_str(&part);
    }
    if !view.advice.is_empty() {
        text.push_str("\nTo do\n");
        for line in &view.advice {
            text.push_str(&format!("- {line}\n"));
        }
    }
    text
}

fn head(view: &View) -> String {
    let ready = if view.ready { "ready" } else { "not ready" };
    let mut text = format!("{} in {}: {ready}", view.name, view.namespace);
    for (word, value) in [
        ("", &view.phase),
        ("version ", &view.version),
        ("operator ", &view.operator_version),
    ] {
        if !value.is_empty() {
            text.push_str(&format!(", {word}{value}"));
        }
    }
    if let Some(connections) = view.connections {
        let of = view.connection_capacity;
        let of = of.map_or_else(String::new, |capacity| format!(" of {capacity}"));
        text.push_str(&format!(", {connections}{of} connections"));
    }
    text.push('\n');
    text
}

fn conditions(view: &View) -> String {
    let shown = |it: &&Condition| {
        let quiet = QUIET.contains(&(it.kind.as_str(), it.status.as_str()));
        !(quiet || (it.kind == condition::PROGRESSING && it.reason == "RolloutComplete"))
            || it.reason == "OldKeys"
    };
    let row = |it: &Condition| {
        let is = match it.status.as_str() {
            "True" => "yes",
            "False" => "no",
            _ => "unknown",
        };
        let since = it.seconds.map(SignedDuration::from_secs).map(span);
        let since = since.unwrap_or_default();
        [it.kind.as_str(), is, &since, &it.reason, &it.message].map(str::to_owned)
    };
    let rows: Vec<_> = { view.conditions.iter().filter(shown) }
        .map(|it| row(it).to_vec())
        .collect();
    table(&["CONDITION", "IS", "SINCE", "REASON", "MESSAGE"], &rows)
}

fn roles(view: &View) -> String {
    let row = |role: &Role| {
        let roll = match (role.updated < role.wanted, role.seconds_left) {
            (false, _) => String::new(),
            (true, None) => format!("{} of {} replaced", role.updated, role.wanted),
            (true, Some(seconds)) => format!(
                "{} of {} replaced, about {} left",
                role.updated,
                role.wanted,
                span(SignedDuration::from_secs(seconds))
            ),
        };
        vec![
            role.name.clone(),
            format!("{}/{}", role.ready, role.wanted),
            role.updated.to_string(),
            or_dash(&role.versions.join(",")),
            or_dash(&role.revision),
            roll,
        ]
    };
    let rows: Vec<_> = view.roles.iter().map(row).collect();
    let head = ["ROLE", "READY", "UPDATED", "VERSION", "REVISION", "ROLL"];
    table(&head, &rows)
}

fn pods(pods: &[Pod]) -> String {
    let row = |pod: &Pod| {
        let load = pod
            .load
            .map(|[from, to]| format!("{from}-{to}%"))
            .unwrap_or_default();
        let mut state = if pod.ready {
            "ready".to_owned()
        } else {
            pod.waits_for.clone()
        };
        if !pod.drain.is_empty() {
            state.push_str(&format!(", drains: {}", pod.drain));
        }
        let mut cells = vec![pod.name.clone()];
        cells.extend([&load, &pod.address, &pod.node, &pod.zone].map(|it| or_dash(it)));
        cells.push(state);
        cells
    };
    let rows: Vec<_> = pods.iter().map(row).collect();
    table(&["POD", "LOAD", "ADDRESS", "NODE", "ZONE", "STATE"], &rows)
}

fn places(view: &View) -> String {
    let rows: Vec<_> = { view.places.iter() }
        .map(|it| {
            let note = if it.unschedulable { "cordoned" } else { "" };
            vec![
                it.node.clone(),
                or_dash(&it.zone),
                it.pods.to_string(),
                it.msg.to_string(),
                note.to_owned(),
            ]
        })
        .collect();
    table(&["NODE", "ZONE", "PODS", "MSG", ""], &rows)
}

fn slots(view: &View) -> String {
    let rows: Vec<_> = { view.slots.iter() }
        .map(|it| {
            let address = match (&it.host, it.port) {
                (Some(host), Some(port)) if host.contains(':') => format!("[{host}]:{port}"),
                (Some(host), Some(port)) => format!("{host}:{port}"),
                _ => "-".to_owned(),
            };
            let state = match it.state {
                SlotState::Bound => "leads to its pod",
                SlotState::Draining => "its pod lets its clients go",
                SlotState::Free => "leads to any msg pod",
                SlotState::Provisioning => "has no address yet",
            };
            let pod = or_dash(it.pod.as_deref().unwrap_or_default());
            vec![it.slot.to_string(), address, pod, state.to_owned()]
        })
        .collect();
    table(&["SLOT", "ADDRESS", "POD", "STATE"], &rows)
}

fn drains(view: &View) -> String {
    let rows: Vec<_> = { view.drains.iter() }
        .map(|it| {
            let time = |time: Option<Timestamp>| {
                time.map_or_else(|| "-".to_owned(), |it| format!("{it:.0}"))
            };
            vec![
                it.pod.clone(),
                it.remaining
                    .map_or_else(|| "-".to_owned(), |it| it.to_string()),
                time(it.started_at.as_ref().map(|it| it.0)),
                time(it.deadline.as_ref().map(|it| it.0)),
                it.reason.clone(),
            ]
        })
        .collect();
    let head = ["POD", "CONNECTIONS", "SINCE", "AT THE LATEST", "REASON"];
    table(&head, &rows)
}

fn or_dash(text: &str) -> String {
    let text = if text.is_empty() { "-" } else { text };
    text.to_owned()
}
