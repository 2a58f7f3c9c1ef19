//! What is wrong with a specification.

use std::fmt;

/// A field of an ImCluster and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// Path of the field, such as `spec.roles.msg.config[msg.rate_limit]`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl SpecError {
    /// What is wrong with a field.
    pub fn new(field: &str, message: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            message: message.into().trim().to_owned(),
        }
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl std::error::Error for SpecError {}
