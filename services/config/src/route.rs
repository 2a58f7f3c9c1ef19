//! Configuration: route.
