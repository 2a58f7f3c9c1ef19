//! The life of an open store beside what it holds.

use async_trait::async_trait;
use im_core::Chain;
use im_store::{LogUse, RosterStore, StoreError, StoreLife, StoreUsage};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::MysqlStore;

/// Receipts that are forgotten in one statement: few, so that nobody waits long.
const FORGOTTEN_AT_ONCE: u64 = 1000;
const FORGET: &str = "DELETE FROM receipt WHERE at < UNIX_TIMESTAMP() - ? ORDER BY at LIMIT 1000";

#[async_trait]
impl StoreLife for MysqlStore {
    async fn run_maintenance(&self, stop: CancellationToken) {
        let inner = &self.inner;
        let receipts = async {
            let wait = inner.options.maintenance_interval;
            while stop.run_until_cancelled(sleep(wait)).await.is_some() {
                if let Err(error) = self.forget_receipts().await {
                    tracing::warn!(error = %Chain(&error), "receipts of old transactions stay");
                }
                if let Err(error) = self.forget_replicas().await {
                    tracing::warn!(error = %Chain(&error), "processes that have gone stay on record");
                }
            }
        };
        let password = async {
            if let Some(password) = inner.password.clone() {
                let pools = [&inner.readers.pool, &inner.changers];
                password.follow(&pools, &stop).await;
            }
        };
        tokio::join!(receipts, password);
    }

    fn usage(&self) -> StoreUsage {
        StoreUsage {
            // The server's own business.
            log: LogUse {
                bytes: 0,
                limit: u64::MAX,
                held: false,
            },
            changes: self.inner.changes.counts(),
        }
    }

    fn roster(&self) -> Option<&dyn RosterStore> {
        Some(self)
    }

    async fn close(&self) -> Result<(), StoreError> {
        Self::close(self).await
    }
}

impl MysqlStore {
    /// Forgets receipts that nobody asks for any more; how many.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn forget_receipts(&self) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        loop {
            let done = sqlx::query(FORGET)
                .bind(self.inner.options.receipts_kept.as_secs())
                .execute(&self.inner.changers)
                .await?;
            forgotten += done.rows_affected();
            if done.rows_affected() < FORGOTTEN_AT_ONCE {
                return Ok(forgotten);
            }
        }
    }
}
