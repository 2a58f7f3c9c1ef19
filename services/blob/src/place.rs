//! Where blobs are kept.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{BlobError, BlobStore, DirectoryOptions, DirectoryStore, S3Options, S3Store};

/// Where drafts are in the folder of a role.
pub(crate) const DRAFTS: &str = "draft";

/// A store that is not open yet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BlobPlace {
    /// A directory.
    Directory(PathBuf),
    /// A bucket.
    Bucket {
        /// Which one.
        bucket: S3Options,
        /// Folder for what is on its way; no other process uses it.
        folder: PathBuf,
    },
}

impl BlobPlace {
    /// Opens it; `options` say how the directory is used, or the folder for what is on its way to a bucket.
    ///
    /// # Errors
    /// As [`DirectoryStore::open`] and [`S3Store::open`].
    pub async fn open(&self, options: DirectoryOptions) -> Result<Arc<dyn BlobStore>, BlobError> {
        match self {
            Self::Directory(path) => Ok(Arc::new(DirectoryStore::open(path, options).await?)),
            Self::Bucket { bucket, folder } => {
                // Beside it may be what was kept here before there was a bucket.
                let store = S3Store::open(bucket, folder.join(DRAFTS), options).await?;
                Ok(Arc::new(store))
            }
        }
    }

    /// The directory, or the folder for what is on its way.
    pub fn folder(&self) -> &Path {
        match self {
            Self::Directory(path) => path,
            Self::Bucket { folder, .. } => folder,
        }
    }
}

/// As `/var/lib/im/files` or `s3://bucket/prefix`.
impl fmt::Display for BlobPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Bucket { bucket, .. } => write!(f, "s3://{}/{}", bucket.bucket, bucket.prefix),
        }
    }
}
