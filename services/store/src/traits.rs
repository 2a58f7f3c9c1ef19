//! The parts of a store, one file per subject.

pub mod accounts;
pub mod devices;
pub mod directory;
pub mod groups;
pub mod messages;
pub mod sessions;
