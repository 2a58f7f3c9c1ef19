//! Parts of an object.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{GetOptions, GetRange, ObjectStore as _, ObjectStoreExt as _};

use super::{Bucket, failed};
use crate::store::readable;
use crate::{BlobError, BlobInfo, BlobName, BlobReader, record};

/// The least that is asked for at once, in bytes: clients pull 32 KiB at a time, and each request costs a
/// round trip and its price.
const AHEAD: usize = 256 << 10;

impl Bucket {
    /// What is known of a blob: its last bytes.
    pub(super) async fn record(&self, name: BlobName) -> Result<BlobInfo, BlobError> {
        let options = GetOptions {
            range: Some(GetRange::Suffix(record::TAIL_BYTES as u64)),
            ..GetOptions::default()
        };
        let got = self.objects.get_opts(&self.key(name), options).await;
        let got = got.map_err(failed)?;
        let length = got.meta.size;
        let last = got.bytes().await.map_err(failed)?;
        record::read_tail(name, length, &last)
    }
}

/// An object that is read, and what was read of it beyond what somebody asked for.
#[derive(Debug)]
pub(super) struct S3Reader {
    bucket: Arc<Bucket>,
    info: BlobInfo,
    ahead: Mutex<(u64, Bytes)>,
}

impl S3Reader {
    pub(super) fn new(bucket: Arc<Bucket>, info: BlobInfo) -> Self {
        Self {
            bucket,
            info,
            ahead: Mutex::default(),
        }
    }

    /// So many bytes, if they were read before.
    fn read_before(&self, offset: u64, length: usize) -> Option<Bytes> {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, bytes) = &*ahead;
        let from = usize::try_from(offset.checked_sub(*start)?).ok()?;
        let to = from.checked_add(length)?;
        (to <= bytes.len()).then(|| bytes.slice(from..to))
    }
}

#[async_trait]
impl BlobReader for S3Reader {
    fn info(&self) -> &BlobInfo {
        &self.info
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Bytes, BlobError> {
        let length = readable(&self.info, offset, length)?;
        if length == 0 {
            return Ok(Bytes::new());
        }
        if let Some(bytes) = self.read_before(offset, length) {
            return Ok(bytes);
        }
        let end = offset.saturating_add(length.max(AHEAD) as u64);
        let range = offset..end.min(self.info.size);
        let wanted = range.end - range.start;
        let key = self.bucket.key(self.info.name);
        let bytes = self.bucket.objects.get_range(&key, range).await;
        let mut bytes = bytes.map_err(failed)?;
        if bytes.len() as u64 != wanted {
            return Err(BlobError::Corrupt("shorter than it was"));
        }
        let asked = bytes.split_to(length);
        let next = offset.saturating_add(length as u64);
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = (next, bytes);
        Ok(asked)
    }
}
