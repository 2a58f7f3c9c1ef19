//! Files from one client to another (S-76, S-77): tasks, transfers online and offline, and what ends them.

mod bounds;
pub(crate) mod client;
mod faults;
mod offline;
mod online;
mod several;
