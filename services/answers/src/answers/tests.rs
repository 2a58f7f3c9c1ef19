//! Answers over a real store and writer, named after the sections they prove.

mod bounds;
mod buddy;
mod directory;
mod groups;
mod history;
mod sessions;
mod settings;
