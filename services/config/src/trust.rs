//! Whose certificates are trusted outside.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Check, Checker};

/// Roots of trust for servers outside, such as push providers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrustConfig {
    /// File with the certificates (PEM) that are trusted instead of the roots that the program carries, which
    /// are those of the web.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

impl Check for TrustConfig {
    fn check(&self, _: &mut Checker) {
        let Self { ca_file: _ } = self;
    }
}
