//! The push role: tells phones of messages while nobody is there to get them, and receivers that subscribed of
//! what is stored.
//!
//! It follows the log (`im-follower`), so that no message waits for it and none is told of that is not stored;
//! requests go out by `im-outbound`.
//! Who is told is decided from what db-proxy and route say; a provider that is down keeps its own notices
//! waiting and nothing else.
//!
//! * `notice` – what a notice is, and what it says: text, JSON of the original, ids; pure.
//! * `choose` – who is told; pure.
//! * `presence` – asks the route servers who is online.
//! * `provider` – one trait; a webhook, Apple, Google.
//! * `work` – messages to notices, notices to providers.
//! * `hooks` – deliveries to subscriptions.
//! * `server` – puts it all together.
//!
//! *Invariants*
//! - Neither a token nor a text of anybody is in a line of the log.
//! - What a notice is made from goes to nobody but the provider of that device, and the text only with
//!   `push.preview = "text"`. Events carry texts only with `push.subscriptions.text`.
#![forbid(unsafe_code)]

mod choose;
mod hooks;
mod metrics;
mod notice;
mod presence;
mod provider;
mod server;
mod work;

pub use im_outbound::TrustError;
pub use provider::ProviderError;
pub use server::{Deps, Server, ServerError};
