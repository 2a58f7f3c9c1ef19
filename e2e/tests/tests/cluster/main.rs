//! Tests on a real Kubernetes cluster: the node of `e2e/kube`, or the one that KUBECONFIG names.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tests fail by panicking, and their helpers are not marked as tests"
)]

mod back_office;
mod backup;
mod buckets;
mod charts;
mod documents;
mod drains;
mod drift;
mod faults;
mod install;
mod installation;
mod manifests;
mod mysql;
mod node;
mod nodes;
mod notices;
mod operations;
mod optional;
mod plugin;
mod policies;
mod prune;
mod quiet;
mod receiver;
mod recovery;
mod rolls;
mod scale;
mod secrets;
mod several;
mod upgrade;
mod volume;
