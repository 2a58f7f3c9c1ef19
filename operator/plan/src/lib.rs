//! From a specification to Kubernetes objects: pure functions.
#![forbid(unsafe_code)]

pub mod msg;
