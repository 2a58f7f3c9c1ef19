//! What a file server counts.

use im_runtime::init_series;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::tasks::Unopened;

im_core::label_values! {
    /// Why something was refused or given up.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum Refusal {
        /// A task for a file without a byte, too large or with too long a name.
        Offer,
        /// A task of somebody who has as much as one person may.
        Person,
        /// A task, while there are as many tasks or files as there may be.
        Full,
        /// An upload that the disk has no room for.
        NoRoom,
        /// No place for the connection, or for more of its address.
        Place,
        /// A connection that gave its place to a newcomer.
        Evicted,
        /// Somebody who has no business with the task, or came twice.
        Task,
        /// A frame that is none, too long, or not the next one of its task.
        Frame,
        /// No task in time.
        LoginTimeout,
        /// Silence beyond the limit.
        Idle,
        /// A block that did not come, or was not taken, in time.
        Stalled,
        /// A task that waited or lived for too long.
        Expired,
        /// The store failed.
        Store,
    }
}

impl From<Unopened> for Refusal {
    fn from(why: Unopened) -> Self {
        match why {
            Unopened::Offer => Self::Offer,
            Unopened::Person => Self::Person,
            Unopened::Full => Self::Full,
        }
    }
}

im_core::label_values! {
    /// Which way bytes of files went.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum Way {
        /// From one client to another.
        Relayed,
        /// To the store.
        Uploaded,
        /// From the store.
        Downloaded,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabel {
    reason: Refusal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WayLabel {
    way: Way,
}

/// Counters and gauges of one file server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) connections: Gauge,
    pub(crate) tasks: Gauge,
    pub(crate) transfers: Gauge,
    pub(crate) files: Gauge,
    pub(crate) stored_bytes: Gauge,
    pub(crate) opened: Counter,
    pub(crate) expired_files: Counter,
    pub(crate) accept_errors: Counter,
    refused: Family<RefusalLabel, Counter>,
    bytes: Family<WayLabel, Counter>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        init_series(&this.refused, Refusal::ALL, |reason| RefusalLabel {
            reason,
        });
        init_series(&this.bytes, Way::ALL, |way| WayLabel { way });
        let gauges = [
            (
                "im_file_connections",
                "Open client connections",
                &this.connections,
            ),
            ("im_file_tasks", "Open tasks", &this.tasks),
            (
                "im_file_transfers",
                "Connections that take part in a task",
                &this.transfers,
            ),
            (
                "im_file_waiting_files",
                "Files that wait for their receivers",
                &this.files,
            ),
            (
                "im_file_stored_bytes",
                "Bytes of files that wait or are on their way here",
                &this.stored_bytes,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let counters = [
            ("im_file_opened_tasks", "Tasks opened", &this.opened),
            (
                "im_file_expired_files",
                "Files that nobody fetched in time",
                &this.expired_files,
            ),
            (
                "im_file_accept_errors",
                "Failed accepts",
                &this.accept_errors,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "im_file_refused",
            "Refused or given up, by reason",
            this.refused.clone(),
        );
        registry.register(
            "im_file_bytes",
            "Bytes of files, by the way they went",
            this.bytes.clone(),
        );
        this
    }

    pub(crate) fn refused(&self, reason: Refusal) {
        self.refused.get_or_create(&RefusalLabel { reason }).inc();
    }

    pub(crate) fn moved(&self, way: Way, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes.get_or_create(&WayLabel { way }).inc_by(bytes);
    }
}
