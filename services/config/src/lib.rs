//! Configuration types of all roles: pure data with defaults, bounds and a schema.
//!
//! Kept apart from the servers so that other programs can check a configuration without linking
//! them. Unknown keys are errors.
#![forbid(unsafe_code)]

mod blobs;
mod bounds;
mod check;
mod common;
mod db_proxy;
mod db_proxy_administration;
mod db_proxy_answers;
mod db_proxy_attach;
mod db_proxy_filter;
mod db_proxy_follow;
mod db_proxy_retention;
mod db_proxy_stored;
mod file;
mod http_api;
mod http_api_monitor;
mod load;
mod login;
mod msfs;
mod msg;
mod msg_meter;
mod mysql;
mod nearest;
mod networks;
mod peers;
mod push;
mod push_subscriptions;
pub mod renamed;
mod root;
mod route;
pub mod table;
mod trust;
pub mod units;

pub use blobs::*;
pub use bounds::*;
pub use check::*;
pub use common::*;
pub use db_proxy::*;
pub use db_proxy_administration::*;
pub use db_proxy_answers::*;
pub use db_proxy_attach::*;
pub use db_proxy_filter::*;
pub use db_proxy_follow::*;
pub use db_proxy_retention::RetentionConfig;
pub use db_proxy_stored::*;
pub use file::*;
pub use http_api::*;
pub use http_api_monitor::*;
pub use load::*;
pub use login::*;
pub use msfs::*;
pub use msg::*;
pub use msg_meter::*;
pub use mysql::*;
pub use nearest::TomlError;
pub use networks::*;
pub use peers::*;
pub use push::*;
pub use push_subscriptions::*;
pub use root::*;
pub use route::*;
pub use trust::*;
