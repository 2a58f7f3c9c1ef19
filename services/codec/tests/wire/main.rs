//! The codec as its users see it: published frames, cut and merged streams, random messages.

mod document;
mod golden;
mod messages;
mod streams;
