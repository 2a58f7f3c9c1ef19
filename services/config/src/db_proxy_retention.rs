//! How long bodies of messages are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;
use crate::{Check, Checker};

/// How long the bodies of messages are kept, by the kind of their conversation; 0s = for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Of conversations between two people.
    pub pairs: Span,
    /// Of groups.
    pub groups: Span,
    /// How often it is looked for what has become old.
    pub interval: Span,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self {
            pairs: Span::ZERO,
            groups: Span::ZERO,
            interval: Span::seconds(600),
        }
    }
}

impl Check for RetentionConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            pairs,
            groups,
            interval,
        } = self;
        for (key, kept) in [("pairs", pairs), ("groups", groups)] {
            checker.range(key, kept, &(Span::ZERO..=Span::days(36_500)));
            let is_off = kept.is_zero();
            checker.require(
                key,
                is_off || *kept >= Span::days(1),
                "be 0s or at least a day",
            );
        }
        checker.range("interval", interval, &(Span::seconds(1)..=Span::days(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_kept_for_ever_or_for_a_day_at_least() {
        RetentionConfig::default().validate().unwrap();
        let of = |pairs| RetentionConfig {
            pairs,
            ..RetentionConfig::default()
        };
        of(Span::days(1)).validate().unwrap();
        let error = of(Span::seconds(86_399)).validate().unwrap_err();
        assert!(error.to_string().contains("pairs"), "{error}");
    }
}
