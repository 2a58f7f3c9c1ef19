//! The codec as its users see it: published frames, cut and merged streams, random messages.

mod golden;
mod messages;
mod streams;
