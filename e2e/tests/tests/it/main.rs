//! End-to-end tests: real processes of `imd`, real sockets, faults on purpose.
//!
//! Tests are named by what they prove and name the row (S-nn) or section of the wire description
//! that they come from.

mod directory;
mod disk;
mod dispatch;
mod faults;
mod gate;
mod golden;
mod groups;
mod history;
mod hostile;
mod login_rules;
mod messages;
mod presence;
mod processes;
mod profiles;
mod settings;
mod slow_readers;
mod starting;
mod support;
mod terminals;
mod tools;
mod traces;
