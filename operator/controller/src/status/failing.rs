//! Pods that do not run, and why.

use im_operator_api::labels;
use im_operator_plan::{Role, proof};

use crate::cache::Children;
use crate::kinds::Kind;

/// A pod of ours that does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailingPod {
    pub(crate) pod: String,
    pub(crate) role: Role,
    /// Kubernetes' word, such as `CrashLoopBackOff` or `ErrImagePull`.
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl FailingPod {
    /// The image cannot be had.
    pub(crate) fn is_image(&self) -> bool {
        [
            "ErrImagePull",
            "ImagePullBackOff",
            "InvalidImageName",
            "ErrImageNeverPull",
        ]
        .contains(&self.reason.as_str())
    }

    /// One line about it.
    pub(crate) fn line(&self) -> String {
        let Self {
            pod,
            reason,
            message,
            ..
        } = self;
        if message.is_empty() {
            format!("pod {pod}: {reason}")
        } else {
            format!("pod {pod}: {reason}: {message}")
        }
    }
}

/// Failing pods of the cluster, those with most restarts first.
pub(crate) fn failing(children: &Children) -> Vec<FailingPod> {
    let mut found: Vec<(i32, FailingPod)> = children
        .of(Kind::Pod)
        .filter(|(_, entry)| !entry.seen.deleting)
        .filter_map(|(name, entry)| {
            let view = entry.detail.pod()?;
            let component = view.labels.get(labels::COMPONENT)?;
            let role = match im_role::TABLE.role(component) {
                Some(role) => role,
                // It waits between two runs, all of them good.
                None if component == proof::COMPONENT && !view.ended_well => Role::DB_PROXY,
                None => return None,
            };
            let (restarts, reason, message) = match (&view.failure, &view.unscheduled) {
                (Some(failure), _) => (
                    failure.restarts,
                    failure.reason.clone(),
                    failure.message.clone(),
                ),
                (None, Some(why)) => (0, "Unschedulable".to_owned(), why.clone()),
                (None, None) => return None,
            };
            let pod = FailingPod {
                pod: name.to_owned(),
                role,
                reason,
                message,
            };
            Some((restarts, pod))
        })
        .collect();
    found.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.pod.cmp(&other.pod)));
    found.into_iter().map(|(_, pod)| pod).collect()
}
