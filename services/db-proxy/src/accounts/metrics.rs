//! What logins count.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// How a login ended, as a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum LoginResult {
    /// Good.
    Ok,
    /// Wrong name or password, or not active.
    Wrong,
    /// Too many failures before.
    LockedOut,
    /// Too many logins wait for a hash.
    Busy,
    /// The store does not answer.
    Failed,
}

impl LoginResult {
    /// The number that original database servers answer (backend specification 2.8.1).
    pub(super) const fn code(self) -> u32 {
        match self {
            Self::Ok => 0,
            Self::Wrong => 1,
            Self::Busy | Self::Failed => 2,
            Self::LockedOut => 6,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: LoginResult,
}

/// Counters of logins. `Default` counts without showing it to anybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccountMetrics {
    logins: Family<ResultLabel, Counter>,
    hashes: Counter,
    remembered: Counter,
}

impl AccountMetrics {
    /// Counters that this registry shows.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        registry.register(
            "im_db_proxy_logins",
            "Logins by result",
            this.logins.clone(),
        );
        registry.register(
            "im_db_proxy_password_hashes",
            "Password hashes computed",
            this.hashes.clone(),
        );
        registry.register(
            "im_db_proxy_remembered_logins",
            "Logins whose credentials were verified a short while ago",
            this.remembered.clone(),
        );
        this
    }

    pub(super) fn login(&self, result: LoginResult) {
        self.logins.get_or_create(&ResultLabel { result }).inc();
    }

    pub(super) fn hashed(&self) {
        self.hashes.inc();
    }

    pub(super) fn remembered(&self) {
        self.remembered.inc();
    }

    #[cfg(test)]
    pub(super) fn hashes(&self) -> u64 {
        self.hashes.get()
    }
}
