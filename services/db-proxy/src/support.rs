//! Small tools without knowledge of the role.

mod cache;
mod hourly;
mod reject;
mod striped_locks;
mod throttle;

pub(crate) use cache::Cache;
pub(crate) use hourly::Hourly;
pub(crate) use reject::RejectReason;
pub(crate) use striped_locks::StripedLocks;
pub(crate) use throttle::Throttle;
