//! im-runtime
