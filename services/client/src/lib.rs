//! A client of the TeamTalk protocol.
//!
//! [`Client`] is one logged-in terminal: it finds a msg server through the dispatcher, logs in,
//! sends heartbeats, reconnects through login when the connection is lost, and sends the identical
//! frame of every unacknowledged message again. Requests are typed and answer with protocol
//! messages; what the server says unasked comes out of [`Events`].
//!
//! With a [`Profile`] it behaves on the wire like one of the original clients: header values,
//! sequence numbers, retries, heartbeats and reconnects. [`RawConn`] is the layer below, for
//! whoever wants to decide about every frame.
//!
//! Files go over a connection of their own ([`transfer`]), pictures over HTTP ([`pictures`]).
//!
//! Invariants: every queue is bounded; a message is never sent again under another
//! `client_msg_id`; a client that was kicked stays offline.
//!
//! ```no_run
//! use im_client::{Client, ClientConfig, Event, Password};
//! use im_core::{Peer, UserId};
//!
//! # async fn run() -> Result<(), im_client::Error> {
//! let config = ClientConfig::new("http://127.0.0.1:8080", "alice", Password::clear("secret"));
//! let (client, mut events) = Client::connect(config).await?;
//!
//! if let Some(bob) = UserId::from_wire(2) {
//!     let ack = client.send_text(Peer::User(bob), "hello").await?;
//!     assert!(ack.msg_id > 0);
//! }
//! while let Some(event) = events.recv().await {
//!     if let Event::Message(message) = event {
//!         let text = client.cipher().decrypt(&message.data.msg_data);
//!         tracing::info!(?text, "message");
//!     }
//! }
//! client.close().await;
//! # Ok(())
//! # }
//! ```

mod client;
mod config;
pub mod dispatch;
mod driver;
mod error;
mod event;
pub mod pictures;
mod profile;
mod raw;
pub mod transfer;

pub use client::{Client, FileOffer, SendAck, Sending};
pub use config::{
    ClientConfig, Heartbeats, Lookup, Password, Receipts, Reconnect, SendPolicy, Server,
};
pub use error::Error;
pub use event::{Event, Events, Message};
pub use profile::Profile;
pub use raw::{RawConn, RawError};
pub use transfer::{Transfer, TransferError};

pub use im_codec as codec;
pub use im_proto_teamtalk as proto;

#[cfg(test)]
mod tests;
