//! Specifications become objects.

mod golden;
mod mirror;
mod network;
mod pods;
mod revisions;
mod slots;
mod support;
mod validation;
