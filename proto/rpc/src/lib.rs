//! im-proto-rpc
