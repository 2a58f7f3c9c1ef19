//! A bucket of blobs: one object each, on a service that speaks the S3 protocol.
//!
//! Content is written to a folder of this machine first ([`crate::DirectoryOptions`] bounds it), and goes to
//! the bucket when it is whole: so a sender who takes hours holds no memory and no upload. An object that
//! fits into [`PART`] is put in one request under `If-None-Match: *`; a larger one is sent in parts under a
//! name of its own below `drafts/`, and then copied by the service under the same condition. Neither
//! replaces an object that is there.
//!
//! What a process that was killed has left: its folder is emptied at the next start, objects below
//! `drafts/` are deleted after a day. Parts of an upload that was never completed are no objects, so only a
//! rule of the bucket can remove them (`AbortIncompleteMultipartUpload`).

mod client;
mod read;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload,
};
use tokio::sync::Semaphore;

use self::read::S3Reader;
use crate::spool::{Spool, SpoolWriter};
use crate::{
    BlobError, BlobInfo, BlobName, BlobPage, BlobReader, BlobStore, BlobWriter, DirectoryOptions,
    LIST_MAX, Put, Room,
};

/// The largest request with content, in bytes: what one upload holds in memory.
const PART: usize = 8 << 20;

/// How many records of a page are asked for at a time.
const RECORDS_AT_ONCE: usize = 16;

/// How old what lies below `drafts/` is before nobody can be writing it any more.
const DRAFT_AGE: Duration = Duration::from_hours(24);

/// Which bucket, and how it is used.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct S3Options {
    /// The bucket; it must exist.
    pub bucket: String,
    /// Base URL of the service (`http://` or `https://`); empty: that of AWS for the region.
    pub endpoint: String,
    /// The region that requests are signed for.
    pub region: String,
    /// Whether the bucket is part of the host's name instead of the path.
    pub virtual_hosted: bool,
    /// What every key begins with; parts are separated by `/`.
    pub prefix: String,
    /// Files with the access key and with its secret, read again for every request; without them what AWS's
    /// tools look for: environment, web identity, the machine's role.
    pub keys: Option<(PathBuf, PathBuf)>,
    /// PEM file of the certificates that may have signed the service's; without it the usual roots, which the program has.
    pub ca_file: Option<PathBuf>,
    /// Uploads at a time, at least 1; each holds at most 8 MiB of memory.
    pub uploads: usize,
    /// The longest that one request may take, with its answer.
    pub timeout: Duration,
}

impl S3Options {
    /// A bucket of AWS in the region `us-east-1`, or that of the service at `endpoint`.
    pub fn new(bucket: impl Into<String>, endpoint: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            endpoint: endpoint.into(),
            region: "us-east-1".to_owned(),
            virtual_hosted: false,
            prefix: String::new(),
            keys: None,
            ca_file: None,
            uploads: 4,
            timeout: Duration::from_secs(30),
        }
    }
}

/// Blobs in a bucket. Cheap to clone. Several processes may share a prefix, each with a folder of its own.
#[derive(Clone, Debug)]
pub struct S3Store {
    bucket: Arc<Bucket>,
    spool: Spool,
}

#[derive(Debug)]
struct Bucket {
    objects: AmazonS3,
    prefix: Path,
    uploads: Semaphore,
}

impl S3Store {
    /// Opens a bucket, with a folder for what is on its way. Tries whether the bucket can be written and
    /// leaves objects as they are when they are written a second time.
    ///
    /// # Errors
    /// The folder cannot be made; a file of `options` cannot be read; the bucket does not answer, refuses
    /// the key, or replaces objects.
    pub async fn open(
        options: &S3Options,
        folder: PathBuf,
        spool: DirectoryOptions,
    ) -> Result<Self, BlobError> {
        let store = Self {
            bucket: Arc::new(Bucket {
                objects: client::build(options).await?,
                prefix: Path::parse(&options.prefix).map_err(other)?,
                uploads: Semaphore::new(options.uploads.max(1)),
            }),
            spool: Spool::open(folder, spool).await?,
        };
        store.bucket.prove().await?;
        store.spool.sweep().await?;
        Ok(store)
    }
}

impl Bucket {
    fn key(&self, name: BlobName) -> Path {
        self.blobs().join(name.to_string())
    }

    fn blobs(&self) -> Path {
        self.prefix.clone().join("blobs")
    }

    fn drafts(&self) -> Path {
        self.prefix.clone().join("drafts")
    }

    async fn create(&self, key: &Path, bytes: Bytes) -> Result<(), BlobError> {
        let put = self
            .objects
            .put_opts(key, bytes.into(), PutMode::Create.into());
        put.await.map(drop).map_err(failed)
    }

    /// That objects can be written and deleted, and that none is replaced.
    async fn prove(&self) -> Result<(), BlobError> {
        let key = self.drafts().join(BlobName::random().to_string());
        self.create(&key, Bytes::from_static(b"probe")).await?;
        let again = self.create(&key, Bytes::from_static(b"again")).await;
        self.objects.delete(&key).await.map_err(failed)?;
        match again {
            Err(BlobError::Taken) => Ok(()),
            Ok(()) => Err(BlobError::Unavailable(io::Error::other(
                "the service replaces an object that is put with If-None-Match",
            ))),
            Err(error) => Err(error),
        }
    }

    /// Sends what is too large for one request, then lets the service give it its name.
    async fn send_in_parts(
        &self,
        key: &Path,
        draft: &mut SpoolWriter,
        length: u64,
    ) -> Result<(), BlobError> {
        let from = self.drafts().join(BlobName::random().to_string());
        let mut upload = self.objects.put_multipart(&from).await.map_err(failed)?;
        if let Err(error) = send_parts(&mut *upload, draft, length).await {
            abort(&mut *upload).await;
            return Err(error);
        }
        let create = CopyOptions::new().with_mode(CopyMode::Create);
        let copied = self.objects.copy_opts(&from, key, create).await;
        if let Err(error) = self.objects.delete(&from).await {
            tracing::warn!(error = %im_core::Chain(&error), "draft left in the bucket for a day");
        }
        copied.map_err(failed)
    }
}

async fn send_parts(
    upload: &mut dyn MultipartUpload,
    draft: &mut SpoolWriter,
    length: u64,
) -> Result<(), BlobError> {
    let mut sent = 0;
    while sent < length {
        let part = draft.read(sent, PART).await?;
        if part.is_empty() {
            return Err(BlobError::Corrupt("shorter than what was written"));
        }
        sent += part.len() as u64;
        let part = upload.put_part(PutPayload::from(part));
        part.await.map_err(failed)?;
    }
    upload.complete().await.map(drop).map_err(failed)
}

async fn abort(upload: &mut dyn MultipartUpload) {
    if let Err(error) = upload.abort().await {
        tracing::warn!(error = %im_core::Chain(&error), "parts of an upload left in the bucket");
    }
}

#[async_trait]
impl BlobStore for S3Store {
    async fn begin(&self, put: Put) -> Result<Box<dyn BlobWriter>, BlobError> {
        let key = self.bucket.key(put.name);
        match self.bucket.objects.head(&key).await.map_err(failed) {
            Err(BlobError::NotFound) => {}
            Ok(_) => return Err(BlobError::Taken),
            Err(error) => return Err(error),
        }
        let draft = self.spool.begin(put, |_| Ok(())).await?;
        Ok(Box::new(S3Writer {
            bucket: Arc::clone(&self.bucket),
            draft,
            key,
        }))
    }

    async fn head(&self, name: BlobName) -> Result<BlobInfo, BlobError> {
        self.bucket.record(name).await
    }

    async fn open(&self, name: BlobName) -> Result<Box<dyn BlobReader>, BlobError> {
        let info = self.bucket.record(name).await?;
        Ok(Box::new(S3Reader::new(Arc::clone(&self.bucket), info)))
    }

    async fn delete(&self, name: BlobName) -> Result<bool, BlobError> {
        let key = self.bucket.key(name);
        // The service does not say whether it had what it deletes.
        match self.bucket.objects.head(&key).await.map_err(failed) {
            Ok(_) => {}
            Err(BlobError::NotFound) => return Ok(false),
            Err(error) => return Err(error),
        }
        match self.bucket.objects.delete(&key).await.map_err(failed) {
            Ok(()) => Ok(true),
            Err(BlobError::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, after: Option<BlobName>, limit: usize) -> Result<BlobPage, BlobError> {
        let limit = limit.clamp(1, LIST_MAX);
        let folder = self.bucket.blobs();
        let objects = match after {
            Some(name) => {
                let after = self.bucket.key(name);
                self.bucket.objects.list_with_offset(Some(&folder), &after)
            }
            None => self.bucket.objects.list(Some(&folder)),
        };
        // What has another name is none of ours.
        let names = objects.map_err(failed).try_filter_map(async |object| {
            let name = object.location.filename();
            Ok(name.and_then(|name| name.parse::<BlobName>().ok()))
        });
        let mut names: Vec<BlobName> = names.take(limit + 1).try_collect().await?;
        let mut page = BlobPage::default();
        if names.len() > limit {
            names.truncate(limit);
            page.next = names.last().copied();
        }
        let bucket = &self.bucket;
        let mut records = futures::stream::iter(names)
            .map(|name| bucket.record(name))
            .buffered(RECORDS_AT_ONCE);
        while let Some(record) = records.next().await {
            match record {
                Ok(info) => page.blobs.push(info),
                // Deleted meanwhile.
                Err(BlobError::NotFound) => {}
                Err(BlobError::Corrupt(_)) => page.corrupt += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(page)
    }

    async fn sweep(&self) -> Result<usize, BlobError> {
        let mut swept = self.spool.sweep().await?;
        let before = SystemTime::now() - DRAFT_AGE;
        let mut drafts = self.bucket.objects.list(Some(&self.bucket.drafts()));
        while let Some(draft) = drafts.try_next().await.map_err(failed)? {
            if SystemTime::from(draft.last_modified) < before {
                let deleted = self.bucket.objects.delete(&draft.location).await;
                match deleted.map_err(failed) {
                    Ok(()) => swept += 1,
                    Err(BlobError::NotFound) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(swept)
    }

    async fn room(&self) -> Result<Option<Room>, BlobError> {
        Ok(None)
    }
}

/// A blob on its way into the bucket.
#[derive(Debug)]
struct S3Writer {
    bucket: Arc<Bucket>,
    draft: SpoolWriter,
    key: Path,
}

#[async_trait]
impl BlobWriter for S3Writer {
    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        self.draft.write(bytes).await
    }

    fn written(&self) -> u64 {
        self.draft.written()
    }

    async fn finish(self: Box<Self>) -> Result<BlobInfo, BlobError> {
        // A call that is cancelled is done to the end, so that it leaves no parts in the bucket.
        let upload = tokio::spawn(self.upload());
        upload
            .await
            .map_err(|error| BlobError::Unavailable(error.into()))?
    }
}

impl S3Writer {
    async fn upload(mut self: Box<Self>) -> Result<BlobInfo, BlobError> {
        let (info, length) = self.draft.seal().await?;
        let _turn = self.bucket.uploads.acquire().await;
        let sent = if length <= PART as u64 {
            let bytes = self.draft.read(0, PART).await?;
            self.bucket.create(&self.key, bytes).await
        } else {
            let bucket = &self.bucket;
            bucket
                .send_in_parts(&self.key, &mut self.draft, length)
                .await
        };
        match sent {
            Ok(()) => Ok(info),
            // The answer to a request that was done can be lost, and the next one finds what it did.
            Err(BlobError::Taken) if self.bucket.record(info.name).await? == info => Ok(info),
            Err(error) => Err(error),
        }
    }
}

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BlobError {
    BlobError::Unavailable(io::Error::other(error))
}

fn failed(error: object_store::Error) -> BlobError {
    match error {
        object_store::Error::NotFound { .. } => BlobError::NotFound,
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => {
            BlobError::Taken
        }
        error => other(error),
    }
}
