//! The definition as a whole: generated files, bounds, rules, and manifests that are good or bad.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "tests fail by panicking, and their helpers are not marked as tests"
)]

mod argo_cd;
mod generated;
mod manifests;
mod schema;
