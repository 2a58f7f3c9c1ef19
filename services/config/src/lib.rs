//! im-config
