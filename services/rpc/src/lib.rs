//! im-rpc
