//! Tests of the planner: rules one by one, what must never happen, and simulated clusters.

mod cluster;
mod controllers;
mod edges;
mod faults;
mod never;
mod random;
mod rules;
mod speed;
mod support;
