//! The words for order: where in the log something stands, and what a batch covers.
//!
//! Messages are committed in one order; a place in it is a [`CommitSeq`]. Every hop on
//! the way of a message says "after → through" as a [`Span`]; whoever stands before `after` has missed
//! something and reads the log.
//!
//! No role computes with bare numbers where one of these is meant: they become numbers on the wire and in
//! the store only, by `from_wire` and `to_wire`. This crate performs no I/O and has no dependencies.

mod seq;
mod span;

pub use seq::CommitSeq;
pub use span::Span;
