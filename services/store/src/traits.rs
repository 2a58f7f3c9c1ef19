//! The parts of a store, one file per subject.

pub(crate) mod accounts;
pub(crate) mod administration;
pub(crate) mod announcements;
pub(crate) mod audit;
pub(crate) mod bots;
pub(crate) mod changes;
pub(crate) mod contents;
pub(crate) mod devices;
pub(crate) mod directory;
pub(crate) mod discovery_items;
pub(crate) mod followers;
pub(crate) mod groups;
pub(crate) mod incoming;
pub(crate) mod life;
pub(crate) mod messages;
pub(crate) mod meters;
pub(crate) mod retention;
pub(crate) mod roster;
pub(crate) mod sessions;
pub(crate) mod subscriptions;
pub(crate) mod tenures;
pub(crate) mod tokens;
pub(crate) mod transfer;
