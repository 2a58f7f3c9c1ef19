//! Files of people: what `imd directory import` and the HTTP API read, and what the API writes.
//!
//! A file is a table, YAML or JSON by lines, with columns of the usual words in any order. Reading is all or
//! nothing: a file with a bad line gives no people, and each bad line is named.

mod columns;
mod departments;
mod ndjson;
mod row;
mod table;
mod text;
mod write;
mod yaml;

pub use departments::paths;
pub use encoding_rs::Encoding;
pub use row::{BadLine, Reading};
pub use text::{Text, decode, encoding};
pub use write::Writer;

use im_proto_rpc::v1::DirectoryRow;

/// Forms of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A table, its cells separated by commas, semicolons or tabs.
    Table,
    /// A list of mappings.
    Yaml,
    /// One object per line (NDJSON).
    Ndjson,
}

/// The people of a file.
///
/// # Errors
/// The lines that cannot be taken, each with what is wrong with it.
pub fn rows(
    text: &str,
    format: Format,
    reading: &Reading,
) -> Result<Vec<DirectoryRow>, Vec<BadLine>> {
    match format {
        Format::Table => table::rows(text, reading),
        Format::Yaml => yaml::rows(text, reading),
        Format::Ndjson => ndjson::rows(text, reading),
    }
}
