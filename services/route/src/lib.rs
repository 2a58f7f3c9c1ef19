//! im-route
