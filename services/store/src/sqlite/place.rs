//! The embedded store by its directory, and its life while it is open.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use im_core::time::UnixSeconds;
use tokio_util::sync::CancellationToken;

use super::{SqliteOptions, SqliteStore, upgrade};
use crate::backup::noted;
use crate::{
    BackupCopy, BackupError, DataDir, OpenError, OpenStore, SchemaState, SchemaStep, StoreError,
    StoreLife, StorePlace, StoreUsage, backup, restore, restore_stream, spool,
};

/// A data directory with an embedded store, or for one.
#[derive(Debug)]
pub(crate) struct SqlitePlace {
    dir: PathBuf,
    options: SqliteOptions,
}

impl SqlitePlace {
    pub(crate) fn new(dir: PathBuf, options: SqliteOptions) -> Self {
        Self { dir, options }
    }
}

#[async_trait(?Send)]
impl StorePlace for SqlitePlace {
    async fn open(&self) -> Result<Arc<dyn OpenStore>, OpenError> {
        let dir = DataDir::open(&self.dir)?;
        Ok(Arc::new(
            SqliteStore::open(dir, self.options.clone()).await?,
        ))
    }

    async fn schema(&self) -> Result<SchemaState, OpenError> {
        Ok(upgrade::state(&self.dir).await?)
    }

    async fn upgrade(&self, tell: &mut dyn FnMut(SchemaStep)) -> Result<(), OpenError> {
        upgrade::run(&self.dir, &self.options, tell).await
    }

    async fn back_up(&self, to: &Path) -> Result<(), BackupError> {
        backup(&self.dir, to).await
    }

    async fn restore(&self, from: &Path, skip_ids: u32) -> Result<(), BackupError> {
        restore(from, &self.dir, skip_ids).await
    }

    async fn spool(&self, keep_free: u64) -> Result<BackupCopy, BackupError> {
        spool(&self.dir, keep_free).await
    }

    async fn restore_stream(
        &self,
        from: File,
        name: &Path,
        skip_ids: u32,
    ) -> Result<(), BackupError> {
        restore_stream(from, name, &self.dir, skip_ids).await
    }
}

#[async_trait]
impl StoreLife for SqliteStore {
    async fn run_maintenance(&self, stop: CancellationToken) {
        Self::run_maintenance(self, stop).await;
    }

    fn usage(&self) -> StoreUsage {
        StoreUsage {
            log: self.log_use(),
            changes: self.change_counts(),
        }
    }

    async fn last_backup(&self) -> Option<UnixSeconds> {
        let dir = self.data_dir().path().to_path_buf();
        // Reading may wait for a disk.
        let read = tokio::task::spawn_blocking(move || noted::last(&dir)).await;
        read.ok().flatten()
    }

    async fn close(&self) -> Result<(), StoreError> {
        Self::close(self).await
    }
}
