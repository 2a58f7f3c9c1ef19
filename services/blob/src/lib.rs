//! Blobs: bytes that are written once, read in parts and deleted as a whole, behind one trait.
//!
//! A blob has a name that nobody can guess ([`BlobName`]), a media type and a few bytes of its owner's
//! ([`BlobMeta`]). It is written as a stream ([`BlobStore::begin`], [`BlobWriter`]) within a bound, and is
//! there only once [`BlobWriter::finish`] has answered; then it is on disk, and its BLAKE3 hash is known.
//! A writer that is dropped, or whose process dies, leaves nothing that [`BlobStore`] shows, and what it
//! leaves on disk goes with [`BlobStore::sweep`].
//!
//! There are two stores: a directory ([`DirectoryStore`]) and a bucket of an S3-compatible service
//! ([`S3Store`]). What every store must do is the contract in `tests/it/contract.rs`.

mod directory;
mod error;
mod name;
mod place;
mod record;
mod s3;
mod spool;
mod store;

pub use directory::DirectoryStore;
pub use error::BlobError;
pub use name::{BlobName, NameError};
pub use place::BlobPlace;
pub use record::{BlobMeta, CONTENT_TYPE_BYTES, MetaError, TAG_BYTES};
pub use s3::{S3Options, S3Store};
pub use spool::DirectoryOptions;
pub use store::{
    BlobInfo, BlobPage, BlobReader, BlobStore, BlobWriter, LIST_MAX, Put, READ_MAX, Room, expire,
};
