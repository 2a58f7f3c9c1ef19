//! The program as a person meets it: what it says, where it writes, how it ends.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "functions of tests; the exemption of clippy.toml covers only those marked as tests"
)]

mod chat;
mod clock;
mod doctor;
mod fenced;
mod metrics;
mod people;
mod platform;
mod refusals;
mod stores;
mod world;
