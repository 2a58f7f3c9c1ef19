//! Tests of the store: the contract of its traits, and what is particular to the embedded one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and their helpers are not marked as tests"
)]

mod audited;
mod backup;
mod contract;
mod gaps;
mod log;
mod partitions;
mod place;
mod sqlite;
mod stream;
