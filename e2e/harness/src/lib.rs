//! What the end-to-end tests and the load generator stand on: real processes of `imd`, a network
//! that can be cut, and a checker of histories.
//!
//! Nothing here pretends to be a server. Processes are ended by the handle that started them.

#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::missing_errors_doc,
    reason = "a test fixture reports by failing the test, with the log of the process on stderr"
)]

pub mod attack;
pub mod bucket;
pub mod checker;
pub mod demo;
pub mod documents;
mod fields;
pub mod figures;
pub mod frames;
pub mod gauges;
pub mod history;
pub mod mariadb;
pub mod old_database;
pub mod originals;
pub mod people;
pub mod platform;
pub mod process;
pub mod proxy;
pub mod shared;
pub mod siege;
pub mod terminal;
pub mod traffic;
pub mod usage;
pub mod wait;
