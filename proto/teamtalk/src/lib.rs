//! The client protocol of TeamTalk: every published message as a Rust type, and the check that a
//! received body is one the original servers would have accepted.
//!
//! Rust names are those prost derives: `IMMsgData` is [`message::ImMsgData`], `IMLoginReq` is
//! [`login::ImLoginReq`], `IMP2PCmdMsg` is [`switch::Imp2pCmdMsg`], `IMPCLoginStatusNotify` is
//! [`buddy::ImpcLoginStatusNotify`], `IMKickPCClientReq` is [`login::ImKickPcClientReq`] and
//! `IMFileServerIPReq` is [`server::ImFileServerIpReq`]. Enum values lose a prefix that repeats
//! the name of their type: [`base::MsgType::SingleText`], but [`base::UserStatType::UserStatusOnline`].
//! Enum fields are stored as `i32`; the typed accessor falls back to the first value.
//!
//! prost alone accepts what the original ignores: missing required fields become zero, and
//! unknown enum values stay. Bodies from a connection therefore go through [`decode_checked`].
//!
//! Invariant: every message type here implements [`TeamtalkMessage`], and its rule is generated
//! from the same descriptor as the type.

mod redact;
mod schema;
mod validate;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::derive_partial_eq_without_eq,
    reason = "generated code"
)]
mod packages {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

pub use packages::im::{
    base_define as base, buddy, file, group, login, message, other, server,
    switch_service as switch,
};
pub use schema::{FieldKind, FieldRule, Label, MessageKind, MessageRule, TeamtalkMessage};
pub use validate::{DecodeError, MAX_DEPTH, Violation, decode_checked, validate};
