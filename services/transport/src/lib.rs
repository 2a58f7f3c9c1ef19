//! Transport: bytes of one socket, as the ports for clients have it.
//!
//! A [`Transport`] is a socket and a stack of layers that do no I/O of their own. What is read goes
//! through a buffer that all connections of a thread share, so an idle connection owns no memory
//! here; what is written goes to the socket as it is queued, many pieces in one write.
//!
//! The stack is an enum, not a trait object: each layer turns the bytes read below it into those of
//! the layer above (`Stack::open`), and pieces to be written into those of the layer below
//! (`Stack::seal`). A variant may hold another stack. Which one a connection gets is decided once,
//! by its first bytes; today there is one.
#![forbid(unsafe_code)]

mod socket;
mod stack;

pub use socket::{Received, Transport};
use stack::Stack;
