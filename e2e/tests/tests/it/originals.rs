//! One scripted conversation per original client, over all roles (S-29, S-108): what each sends, in its order,
//! under its numbers and with its quirks, and every field of what comes back.
//!
//! The scripts imitate the clients by the description of their behaviour; see `e2e/harness/src/originals.rs`.
//! Heartbeats come without the pauses between them. What each script has met is kept in `originals/met`, and
//! the table of commands in COMPATIBILITY.md is made from it; CONTRIBUTING.md says how both are written.

mod account;
mod android;
mod groups;
mod http;
mod ios;
mod mac;
mod people;
mod table;
mod talk;
mod transfers;
mod windows;
mod world;
