//! Specifications become objects.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

#[path = "../../../../services/role/tests/table/mod.rs"]
mod table;

mod back_office;
mod bucket;
mod database;
mod echo;
mod filter;
mod golden;
mod mirror;
mod network;
mod optional;
mod pods;
mod push;
mod revisions;
mod slots;
mod stages;
mod support;
mod validation;
