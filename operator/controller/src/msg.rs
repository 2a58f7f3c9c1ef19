//! The msg role: from what was observed to the planner's state, and from its actions to writes.

pub(crate) mod address;
pub(crate) mod execute;
mod leaving;
pub(crate) mod observe;

/// Annotation of a slot's Service: the pod for which the slot is taken, `name/uid`.
pub(crate) const SLOT_POD: &str = "imcluster.io/slot-pod";
