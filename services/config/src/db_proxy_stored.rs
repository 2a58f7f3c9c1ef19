//! How much one user may store.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};
use crate::{Check, Checker};

/// Bytes of messages of one user, as the writer stores them: bodies, and 96 for each message besides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoredConfig {
    /// Bytes of messages of one user at once.
    pub burst: ByteSize,
    /// Bytes of messages of one user in 24 hours, those at once included.
    pub per_day: ByteSize,
    /// How often the figures of those who have stored much are written to the store; what they store
    /// in between is forgotten in a crash, and so is a 64th of `burst`.
    pub flush: Span,
}

impl Default for StoredConfig {
    fn default() -> Self {
        Self {
            // An afternoon of speech.
            burst: ByteSize::mib(64),
            per_day: ByteSize::mib(1_024),
            flush: Span::seconds(10),
        }
    }
}

impl StoredConfig {
    /// Bytes of messages of one user per second after the burst.
    pub fn per_second(&self) -> u64 {
        let rest = self.per_day.as_u64().saturating_sub(self.burst.as_u64());
        (rest / 86_400).max(1)
    }
}

impl Check for StoredConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            burst,
            per_day,
            flush,
        } = self;
        let least = ByteSize::kib(1);
        checker.range("burst", burst, &(least..=ByteSize::mib(2_048)));
        let most = ByteSize::mib(1 << 20);
        checker.range("per_day", per_day, &(least..=most));
        checker.not_below("per_day", per_day, "burst", burst);
        checker.range("flush", flush, &(Span::millis(100)..=Span::seconds(600)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_stores_at_most_what_the_day_allows() {
        let stored = StoredConfig::default();
        stored.validate().unwrap();
        let most = stored.burst.as_u64() + 86_400 * stored.per_second();
        assert!(most <= 1 << 30, "{most}");
        assert!(most > 1_000 << 20, "{most}");
    }
}
