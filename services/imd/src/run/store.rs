//! The store of a process that runs db-proxy.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use im_config::ImdConfig;
use im_store::{ChangeCounts, OpenStore, StoreUsage, store_at, store_in};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::config::BadConfig;
use crate::kinds::{kinds, sqlite};

/// Seconds between two looks at when the store was last copied.
const BACKUP_SECONDS: u64 = 15;

/// Opens the store that is configured: by its URL, or in this data directory.
pub(super) async fn open(
    data_dir: &Path,
    config: &ImdConfig,
) -> anyhow::Result<Arc<dyn OpenStore>> {
    let place = match &config.store.url {
        Some(url) => store_at(url, &kinds(config)).map_err(BadConfig::Store)?,
        None => store_in(data_dir, &sqlite(&config.sqlite)),
    };
    Ok(place.open().await?)
}

/// Maintains the store while the others run, and closes it after them.
pub(super) async fn keep(
    store: Arc<dyn OpenStore>,
    log: StoreLog,
    stop: CancellationToken,
) -> Result<(), im_store::StoreError> {
    tokio::join!(
        store.run_maintenance(stop.clone()),
        log.show(store.as_ref(), stop)
    );
    store.close().await
}

/// What is shown of the store's write-ahead log.
#[derive(Clone, Debug, Default)]
pub(super) struct StoreLog {
    bytes: Gauge,
    limit: Gauge,
    held: Gauge,
    changes: Counter,
    change_commits: Counter,
    last_backup: Gauge,
}

impl StoreLog {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        let counters = [
            (
                "im_store_changes",
                "Changes of accounts and settings",
                &this.changes,
            ),
            (
                "im_store_change_commits",
                "Transactions that stored changes of accounts and settings, gathered",
                &this.change_commits,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let gauges = [
            (
                "im_store_log_bytes",
                "Bytes of the write-ahead log in use",
                &this.bytes,
            ),
            (
                "im_store_log_limit_bytes",
                "Bytes of the write-ahead log above which nothing is stored",
                &this.limit,
            ),
            (
                "im_store_log_held",
                "1 while a reader keeps the write-ahead log from starting again, beyond half of its limit",
                &this.held,
            ),
        ];
        let backup = (
            "im_store_last_backup_seconds",
            "Unix time of the last backup of the embedded store; 0 before the first, and of other stores",
            &this.last_backup,
        );
        for (name, help, gauge) in gauges.into_iter().chain([backup]) {
            registry.register(name, help, gauge.clone());
        }
        this
    }

    async fn show(&self, store: &dyn OpenStore, stop: CancellationToken) {
        let bytes = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let mut shown = ChangeCounts::default();
        let mut seconds = 0_u64;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let StoreUsage {
                log,
                changes: counts,
            } = store.usage();
            self.bytes.set(bytes(log.bytes));
            self.limit.set(bytes(log.limit));
            self.held.set(i64::from(log.held));
            self.changes.inc_by(counts.changes - shown.changes);
            self.change_commits.inc_by(counts.commits - shown.commits);
            shown = counts;
            if seconds.is_multiple_of(BACKUP_SECONDS) {
                let at = store.last_backup().await;
                self.last_backup.set(at.map_or(0, i64::from));
            }
            seconds = seconds.wrapping_add(1);
        }
    }
}
