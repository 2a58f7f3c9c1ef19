//! Tests of blob stores: the contract of the trait, and what is particular to a directory and to a bucket.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, and their helpers are not marked as tests"
)]

mod contract;
mod directory;
mod s3;
