//! Tests of the store on a real MariaDB: the contract of every store, and what is particular to a database that others
//! reach too. `MARIADB` names the folder of its packages; `cargo run -p xtask -- test-mariadb` gets them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, and their helpers are not marked as tests"
)]

mod contract;
mod mariadb;
mod proxy;
mod server;
