//! Connections of clients that speak HTTP: accepted within bounds, served, and let go.
//!
//! What roles with an HTTP port share: who gets a place, how long a head may take, how fast a body must
//! come and an answer be taken, TLS from files that may change, and how much an address may ask for. What
//! is answered is the role's.
//!
//! *Invariants*
//! - A connection is served only while it has a place, and gives it back after its socket.
//! - A client that is slower than agreed in its head, its body or its answer is closed.
//! - A certificate that cannot be used never takes the place of one that can.
#![forbid(unsafe_code)]

mod line;
mod listener;
mod meter;
mod pace;
mod quota;
mod tls;
mod turn;

pub use line::Line;
pub use listener::{Limits, Peer, Serve, Stops, accept};
pub use meter::{Closed, Meter};
pub use quota::{Left, Quota};
pub use tls::{Tls, TlsError, TlsFiles};
pub use turn::{InTurn, Live};
