//! The words for order: where in the log something stands, what a batch covers, and who may add.
//!
//! Messages are committed in one order per [`Partition`]; a place in it is a [`CommitSeq`]. Every hop on
//! the way of a message says "after → through" as a [`Span`]; whoever stands before `after` has missed
//! something and reads the log. Whoever adds to a partition owns it for a [`Tenure`], and each of its
//! transactions is bound to a [`Fence`]. A store has one partition.
//!
//! No role computes with bare numbers where one of these is meant: they become numbers on the wire and in
//! the store only, by `from_wire` and `to_wire`. This crate performs no I/O and has no dependencies.

mod owner;
mod roster;
mod seq;
mod span;

pub use owner::{Fence, FenceLost, Ownership, Partition, Tenure};
pub use roster::{Candidate, Replica, Roster, Standing};
pub use seq::CommitSeq;
pub use span::Span;
