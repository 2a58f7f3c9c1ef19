//! Configuration: db_proxy.
