//! Tests of the store: the contract of its traits, and what is particular to the embedded one.

mod backup;
mod contract;
mod crash;
mod log;
mod sqlite;
