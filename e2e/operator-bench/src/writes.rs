//! What the operator wrote, from the API server's audit log.

use std::collections::BTreeMap;

use anyhow::Context as _;
use im_e2e_kube::audit::{self, Request};
use im_e2e_kube::layout::Layout;
use jiff::Timestamp;

use crate::charts::ACCOUNT;

/// A write to the API server that was answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Write {
    /// When it was answered.
    pub(crate) at: Timestamp,
    /// Verb, resource and group.
    pub(crate) what: String,
    /// Name of the object.
    pub(crate) name: String,
    /// Whether the object is a child of an ImCluster, not the ImCluster itself or an event.
    pub(crate) child: bool,
}

/// All writes of the operator of a namespace in this time, in the order of their answers; renewals of
/// its Lease left out.
pub(crate) fn of_operator(
    layout: &Layout,
    namespace: &str,
    from: Timestamp,
    to: Timestamp,
) -> anyhow::Result<Vec<Write>> {
    let mut writes = Vec::new();
    for request in audit::read(&layout.audit_log())? {
        if request.of_account(ACCOUNT) == Some(namespace) {
            writes.extend(read(request)?);
        }
    }
    writes.retain(|write| from <= write.at && write.at <= to);
    writes.sort_by_key(|write| write.at);
    Ok(writes)
}

fn read(request: Request) -> anyhow::Result<Option<Write>> {
    let resource = request.permission.resource.as_str();
    if !request.writes() || resource == "leases" {
        return Ok(None);
    }
    let child = !resource.starts_with("imclusters") && resource != "events";
    let at = request.time.parse();
    Ok(Some(Write {
        at: at.with_context(|| format!("a time in the audit log: {}", request.time))?,
        what: request.permission.to_string(),
        name: request.name,
        child,
    }))
}

/// How often each kind of write happened, in words.
pub(crate) fn summary(writes: &[Write]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for write in writes {
        *counts.entry(&write.what).or_default() += 1;
    }
    let words = counts
        .iter()
        .map(|(what, count)| format!("{count} × {what}"));
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use im_e2e_kube::audit::Permission;

    use super::*;

    fn request(verb: &str, resource: &str) -> Request {
        Request {
            user: "system:serviceaccount:bench:im-operator".to_owned(),
            permission: Permission {
                group: String::new(),
                resource: resource.to_owned(),
                verb: verb.to_owned(),
            },
            namespace: "bench".to_owned(),
            name: "c1-route".to_owned(),
            code: 200,
            denied: false,
            received: String::new(),
            time: "2026-01-01T00:00:01.500000Z".to_owned(),
        }
    }

    #[test]
    fn reads_and_renewals_are_no_writes() {
        for (verb, resource) in [("list", "pods"), ("update", "leases")] {
            assert_eq!(read(request(verb, resource)).unwrap(), None);
        }
        let child = read(request("patch", "services")).unwrap().unwrap();
        assert!(child.child);
        assert_eq!(child.at.subsec_millisecond(), 500);
        let status = read(request("patch", "imclusters/status")).unwrap();
        let status = status.unwrap();
        assert!(!status.child);
        assert_eq!(
            summary(&[child.clone(), status, child]),
            "1 × patch imclusters/status, 2 × patch services"
        );
    }
}
