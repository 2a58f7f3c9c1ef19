//! Where the roll-out of a role stands.

use im_operator_api::labels;
use im_operator_plan::Role;

use crate::cache::views::{PodView, WorkloadView};

/// One role as observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) replicas: i32,
    pub(crate) ready: i32,
    pub(crate) updated: i32,
    pub(crate) available: i32,
    pub(crate) deadline_exceeded: bool,
    /// Why its controller cannot make pods.
    pub(crate) failure: Option<String>,
}

/// One role as observed and as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoleFacts {
    pub(crate) role: Role,
    pub(crate) wanted: i32,
    pub(crate) observed: Observed,
    /// Revision that its pods are to have.
    pub(crate) update_revision: String,
    /// Revision that the workload has now.
    pub(crate) live_revision: Option<String>,
    /// All pods are of the wanted revision and available.
    pub(crate) rolled_out: bool,
    /// It waits for the role before it.
    pub(crate) held: bool,
}

impl RoleFacts {
    /// The facts of a role whose workload is not there, but whose pods may be.
    pub(crate) fn of_pods(
        role: Role,
        wanted: i32,
        update_revision: &str,
        pods: &[&PodView],
    ) -> Self {
        let count = |filter: &dyn Fn(&PodView) -> bool| {
            let found = pods.iter().filter(|pod| filter(pod)).count();
            i32::try_from(found).unwrap_or(i32::MAX)
        };
        let revision = |pod: &PodView| pod.labels.get(labels::REVISION).cloned();
        let updated = count(&|pod| revision(pod).as_deref() == Some(update_revision));
        let ready = count(&|pod| pod.ready);
        Self {
            role,
            wanted,
            observed: Observed {
                replicas: count(&|_| true),
                ready,
                updated,
                available: ready,
                ..Observed::default()
            },
            update_revision: update_revision.to_owned(),
            live_revision: pods.iter().find_map(|pod| revision(pod)),
            rolled_out: wanted > 0 && updated == wanted && ready == wanted,
            held: false,
        }
    }

    /// The facts of a Deployment or StatefulSet, of which the label of the template says the
    /// revision.
    pub(crate) fn of_workload(
        role: Role,
        wanted: i32,
        update_revision: &str,
        live: Option<(&WorkloadView, Option<&str>)>,
    ) -> Self {
        let Some((view, revision)) = live else {
            return Self {
                role,
                wanted,
                observed: Observed::default(),
                update_revision: update_revision.to_owned(),
                live_revision: None,
                rolled_out: false,
                held: false,
            };
        };
        let complete = view.observed
            && view.wanted == wanted
            && view.updated >= wanted
            && view.replicas == view.updated
            && view.available >= wanted;
        Self {
            role,
            wanted,
            observed: Observed {
                replicas: view.replicas,
                ready: view.ready,
                updated: view.updated,
                available: view.available,
                deadline_exceeded: view.deadline_exceeded,
                failure: view.failure.clone(),
            },
            update_revision: update_revision.to_owned(),
            live_revision: revision.map(str::to_owned),
            rolled_out: complete && revision == Some(update_revision),
            held: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(replicas: i32, updated: i32, available: i32) -> WorkloadView {
        WorkloadView {
            wanted: 2,
            replicas,
            updated,
            ready: available,
            available,
            observed: true,
            ..WorkloadView::default()
        }
    }

    #[test]
    fn a_role_is_rolled_out_when_only_new_pods_are_left_and_available() {
        let check = |view: &WorkloadView, revision: &str, expected: bool| {
            let facts = RoleFacts::of_workload(Role::ROUTE, 2, "new", Some((view, Some(revision))));
            assert_eq!(facts.rolled_out, expected, "{view:?} {revision}");
        };
        check(&view(2, 2, 2), "new", true);
        check(&view(2, 2, 2), "old", false);
        check(&view(3, 2, 2), "new", false);
        check(&view(2, 2, 1), "new", false);
        check(&view(2, 1, 2), "new", false);
        let unseen = WorkloadView {
            observed: false,
            ..view(2, 2, 2)
        };
        check(&unseen, "new", false);
        assert!(!RoleFacts::of_workload(Role::ROUTE, 2, "new", None).rolled_out);
    }
}
