//! Builds batches as the writer does.

pub(crate) use im_store::contract::log::{Known, Log, at, id, key, pair, standing, user};
