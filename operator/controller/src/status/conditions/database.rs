//! Whether the database can be used, and which pod says what where it cannot.

use im_operator_api::condition as name;
use im_operator_plan::Role;

use super::{Finding, finding};
use crate::status::failing::FailingPod;
use crate::status::{Database, Facts, role};

/// What dbProxy makes of its database. What it said when it ended stands in the message.
pub(super) fn database(facts: &Facts) -> Finding {
    let kind = name::DATABASE_READY;
    let which = facts.on_server.as_deref();
    match (&facts.database, which) {
        (Database::Ready, None) => finding(
            kind,
            true,
            "Embedded",
            "dbProxy serves the embedded database",
        ),
        (Database::Ready, Some(which)) => {
            let mut message = format!("dbProxy serves the database {which}");
            if let Some(lines) = said(facts) {
                message.push_str("; ");
                message.push_str(&lines);
            }
            finding(kind, true, "MySQL", message)
        }
        (Database::StorageClassMissing, _) => {
            let message = "The claim for the database names no StorageClass and the cluster has no default one: \
                 name one in database.embedded.storage.persistentVolume.storageClassName, or make one the default";
            finding(kind, false, "StorageClassMissing", message)
        }
        (Database::VolumePending(why), _) => finding(kind, false, "VolumePending", why.clone()),
        (Database::Starting, which) => {
            let pods = role(&facts.roles, Role::DB_PROXY).map_or(0, |role| role.observed.replicas);
            let none = format!("{pods} dbProxy pods exist, none is ready");
            let reason = match which {
                Some(_) if has_ended(facts) => "DbProxyFails",
                _ => "Starting",
            };
            let message = said(facts).unwrap_or(none);
            let message = match which {
                Some(which) => format!("the database {which} is not served: {message}"),
                None => message,
            };
            finding(kind, false, reason, message)
        }
    }
}

fn of_db_proxy(facts: &Facts) -> impl Iterator<Item = &FailingPod> {
    let failing = facts.failing.iter();
    failing.filter(|pod| pod.role == Role::DB_PROXY)
}

/// A line for each pod that does not run, those with most restarts first.
fn said(facts: &Facts) -> Option<String> {
    let lines: Vec<String> = of_db_proxy(facts).map(FailingPod::line).collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

/// Whether the program of a pod has ended instead of starting.
fn has_ended(facts: &Facts) -> bool {
    of_db_proxy(facts).any(|pod| !pod.is_image() && pod.reason != "Unschedulable")
}
