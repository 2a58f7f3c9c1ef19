//! Configuration: login.
