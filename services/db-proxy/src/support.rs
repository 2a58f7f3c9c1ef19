//! Small tools without knowledge of the role.

mod cache;
mod chain;
mod fair_queue;
mod reject;
mod striped_locks;
mod throttle;

pub(crate) use cache::Cache;
pub(crate) use chain::chain;
pub(crate) use fair_queue::FairQueue;
pub(crate) use reject::RejectReason;
pub(crate) use striped_locks::StripedLocks;
pub(crate) use throttle::Throttle;
