//! Small tools without knowledge of the role.

mod cache;
mod hourly;
mod reject;
mod striped_locks;

pub(crate) use cache::Cache;
pub(crate) use hourly::Hourly;
pub(crate) use im_runtime::Throttle;
pub(crate) use reject::RejectReason;
pub(crate) use striped_locks::StripedLocks;
