//! End-to-end tests: real processes of `imd`, real sockets, faults on purpose.
//!
//! Tests are named by what they prove and name the row (S-nn) or section of the wire description
//! that they come from.

mod faults;
mod gate;
mod processes;
mod support;
