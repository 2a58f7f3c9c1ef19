//! Tests of the planner: rules one by one, what must never happen, and simulated clusters.

mod cluster;
mod controllers;
mod edges;
mod emptying;
mod faults;
mod never;
mod random;
mod rebalance;
mod rules;
mod scale_in;
mod speed;
mod support;
