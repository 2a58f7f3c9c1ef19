//! What is particular to a database that others reach too.

mod faults;
mod refusals;
mod roster;
mod traps;
