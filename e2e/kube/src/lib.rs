//! A real Kubernetes node for tests.
#![forbid(unsafe_code)]
