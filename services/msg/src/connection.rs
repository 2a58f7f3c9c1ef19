//! Connection: frames in, frames out, and the bounds of both.
//!
//! - [`Conn`]: one client connection; whoever has a frame for it appends and then flushes.
//! - [`Output`]: what all connections share for writing, and where they report that they are over.
//! - [`Connections`]: the table of all connections; [`Admission`] says who gets in.
//! - [`read::run`]: the task of a connection. It knows the layer above as [`Upper`].
//! - [`sweep::run`]: the one timer of all connections.
//!
//! *Invariants*: after a frame was refused nothing more is written (never a later push after a
//! missing one). Everything per connection is bounded; beyond a bound it is read later or closed. An
//! idle connection owns no buffer, no channel and no timer.

mod admission;
mod budget;
mod closes;
mod conn;
mod identity;
mod meter;
mod outbound;
pub(crate) mod pace;
mod partial;
pub(crate) mod read;
mod room;
pub(crate) mod sweep;
mod table;
mod turn;
mod user_meters;

pub(crate) use admission::Admission;
pub(crate) use conn::{CloseReason, Conn, Output, Phase};
pub(crate) use identity::Session;
pub(crate) use outbound::Appended;
pub(crate) use partial::Partials;
pub(crate) use read::Upper;
pub(crate) use room::Room;
pub(crate) use table::Connections;
pub(crate) use user_meters::UserMeters;
