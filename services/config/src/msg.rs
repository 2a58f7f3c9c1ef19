//! Configuration: msg.
