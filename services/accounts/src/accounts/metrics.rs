//! What logins count.

use im_runtime::init_series;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::queue::Bound;

im_core::label_values! {
    /// How a login ended, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum LoginResult {
        /// Good.
        Ok,
        /// Wrong name or password, or not active.
        Wrong,
        /// Too many failures before.
        LockedOut,
        /// Not to be checked in time.
        Busy,
        /// The store does not answer.
        Failed,
    }
}

im_core::label_values! {
    /// Which limit a login met, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    enum Limit {
        /// Logins of everybody that wait.
        WaitingAll,
        /// Those of a network.
        WaitingNetwork,
        /// Those of an address.
        WaitingAddress,
        /// Those of a name.
        WaitingName,
        /// Those that wait to ask the store.
        WaitingLookups,
        /// The time after which nobody waits for the answer.
        Patience,
        /// The length of a name or a digest.
        Oversized,
        /// Failures before it.
        Slowed,
    }
}

impl LoginResult {
    /// The number that original database servers answer; they have none for a login that should be
    /// tried again later.
    pub(super) const fn code(self) -> u32 {
        match self {
            Self::Ok => 0,
            Self::Wrong => 1,
            Self::Failed => 2,
            Self::LockedOut => 6,
            Self::Busy => 7,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: LoginResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: Limit,
}

/// Counters of logins. `Default` counts without showing it to anybody.
#[derive(Clone, Debug, Default)]
pub struct AccountMetrics {
    logins: Family<ResultLabel, Counter>,
    limits: Family<LimitLabel, Counter>,
    waiting: Gauge,
    waiting_lookups: Gauge,
    hashes: Counter,
    remembered: Counter,
    remembered_writes: Counter,
    remembered_dropped: Counter,
}

impl AccountMetrics {
    /// Counters that this registry shows.
    pub fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        init_series(&this.logins, LoginResult::ALL, |result| ResultLabel {
            result,
        });
        init_series(&this.limits, Limit::ALL, |limit| LimitLabel { limit });
        registry.register(
            "im_db_proxy_logins",
            "Logins by result",
            this.logins.clone(),
        );
        registry.register(
            "im_db_proxy_logins_limited",
            "Logins that met a limit, by limit",
            this.limits.clone(),
        );
        registry.register(
            "im_db_proxy_logins_waiting",
            "Logins that wait for a password hash",
            this.waiting.clone(),
        );
        registry.register(
            "im_db_proxy_logins_waiting_lookups",
            "Logins that wait to ask the store",
            this.waiting_lookups.clone(),
        );
        registry.register(
            "im_db_proxy_password_hashes",
            "Password hashes computed",
            this.hashes.clone(),
        );
        registry.register(
            "im_db_proxy_remembered_logins",
            "Logins whose credentials were verified before",
            this.remembered.clone(),
        );
        registry.register(
            "im_db_proxy_remembered_logins_stored",
            "Verified credentials whose time was stored",
            this.remembered_writes.clone(),
        );
        registry.register(
            "im_db_proxy_remembered_logins_dropped",
            "Verified credentials that were not stored, because too many waited or the store failed",
            this.remembered_dropped.clone(),
        );
        this
    }

    pub(super) fn login(&self, result: LoginResult) {
        self.logins.get_or_create(&ResultLabel { result }).inc();
    }

    pub(super) fn shed(&self, bound: Bound) {
        self.limit(match bound {
            Bound::All => Limit::WaitingAll,
            Bound::Network => Limit::WaitingNetwork,
            Bound::Address => Limit::WaitingAddress,
            Bound::Name => Limit::WaitingName,
            Bound::Lookups => Limit::WaitingLookups,
            Bound::Patience => Limit::Patience,
        });
    }

    /// A name or digest was longer than any can be.
    pub(super) fn oversized(&self) {
        self.limit(Limit::Oversized);
    }

    /// A login had to wait because of failures before it.
    pub(super) fn slowed(&self) {
        self.limit(Limit::Slowed);
    }

    pub(super) fn waiting(&self, count: usize) {
        self.waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn waiting_lookups(&self, count: usize) {
        self.waiting_lookups
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn hashed(&self) {
        self.hashes.inc();
    }

    pub(super) fn remembered(&self) {
        self.remembered.inc();
    }

    pub(super) fn remembered_stored(&self, count: usize) {
        self.remembered_writes
            .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    pub(super) fn remembered_dropped(&self, count: usize) {
        self.remembered_dropped
            .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    fn limit(&self, limit: Limit) {
        self.limits.get_or_create(&LimitLabel { limit }).inc();
    }

    #[cfg(test)]
    pub(super) fn hashes(&self) -> u64 {
        self.hashes.get()
    }
}
