//! Puts the writer, the publisher and the read positions together: once, for the server and for every
//! test.

use std::sync::Arc;
use std::time::Duration;

use im_config::DbProxyConfig;
use im_order::FenceLost;
use im_store::Store;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::filter::Filter;
use crate::members::MemberCache;
use crate::metrics::Metrics;
use crate::positions::Positions;
use crate::publish::Publisher;
use crate::space::Space;
use crate::stored::StoredBytes;
use crate::writer::{Writer, WriterHandle, WriterParts};

/// What the parts that answer requests work with; cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Every durable fact. Messages, groups and members are *changed* through `writer` only, read
    /// positions through `positions` only.
    pub store: Arc<dyn Store>,
    /// Changes that need the order of the log.
    pub writer: WriterHandle,
    /// Pushes that are not kept, in order with the log, and the sessions that are online.
    pub publisher: Publisher,
    /// Read positions.
    pub positions: Positions,
    /// Whether there is space for large messages.
    pub space: Space,
    /// How much each user has stored.
    pub stored: StoredBytes,
    /// Members of groups as readers of the log need them.
    pub members: MemberCache,
    /// Counters.
    pub metrics: Metrics,
    /// Configuration of the role.
    pub config: Arc<DbProxyConfig>,
}

/// The running writer and what belongs to it. It stops when this is dropped.
pub struct Core {
    /// What callers work with.
    pub context: Context,
    /// Whether the store answers the writer.
    pub reachable: watch::Receiver<bool>,
    writer: JoinHandle<Result<(), FenceLost>>,
    /// The writer has ended, for whatever reason.
    ended: CancellationToken,
    stop: DropGuard,
}

/// How a writer ended that did not just do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum WriterEnd {
    /// Not in the time that it was given.
    #[error("wait for the writer to end")]
    Late,
    /// The log has another owner.
    #[error("add to the log as its owner")]
    Fenced(#[source] FenceLost),
    /// It panicked.
    #[error("keep the writer running")]
    Broken(#[source] JoinError),
}

impl Core {
    /// Starts the writer. Flushing positions and following route servers are the caller's, with the
    /// handles of the context.
    pub fn start(config: Arc<DbProxyConfig>, store: Arc<dyn Store>, metrics: Metrics) -> Self {
        Self::start_with(config, store, metrics, None)
    }

    /// The same with a filter that judges messages before they are stored, within the bounds of `config.filter`.
    pub fn start_with(
        config: Arc<DbProxyConfig>,
        store: Arc<dyn Store>,
        metrics: Metrics,
        filter: Option<Arc<dyn Filter>>,
    ) -> Self {
        let publisher = Publisher::new(&config.publish, metrics.clone());
        let positions = Positions::new(Arc::clone(&store), &config.positions, metrics.clone());
        let stored = StoredBytes::new(Arc::clone(&store), &config.stored, metrics.clone());
        let members = MemberCache::new(config.writer.cached_groups);
        let (writer, handle, reachable) = Writer::new(WriterParts {
            store: Arc::clone(&store),
            publisher: publisher.clone(),
            positions: positions.clone(),
            stored: stored.clone(),
            member_cache: members.clone(),
            metrics: metrics.clone(),
            config: config.writer.clone(),
            filter: filter.map(|filter| (filter, config.filter.clone())),
        });
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let (stopping, at_end) = (stop.clone(), ended.clone().drop_guard());
        let writer = tokio::spawn(async move {
            let done = writer.run(stopping).await;
            drop(at_end);
            done
        });
        Self {
            context: Context {
                store,
                writer: handle,
                publisher,
                positions,
                space: Space::new(&config.writer),
                stored,
                members,
                metrics,
                config,
            },
            reachable,
            writer,
            ended,
            stop: stop.drop_guard(),
        }
    }

    /// Fires when the writer has ended: told to, because the log has another owner, or by a panic.
    pub fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Lets the writer finish what is queued and end.
    ///
    /// # Errors
    /// It takes longer than `patience`, or it has ended before and did not finish what was queued.
    pub async fn stop(self, patience: Duration) -> Result<(), WriterEnd> {
        drop(self.stop);
        match tokio::time::timeout(patience, self.writer).await {
            Err(_) => Err(WriterEnd::Late),
            Ok(Err(broken)) => Err(WriterEnd::Broken(broken)),
            Ok(Ok(done)) => done.map_err(WriterEnd::Fenced),
        }
    }
}
