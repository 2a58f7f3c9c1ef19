//! im-db-proxy
