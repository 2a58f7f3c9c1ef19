//! The definition as a whole: generated files, bounds, rules, and manifests that are good or bad.

mod generated;
mod manifests;
mod schema;
