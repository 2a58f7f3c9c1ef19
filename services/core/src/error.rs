//! One classification for the errors of every seam.

/// What an error means to the caller: decides the gRPC code, the metric label and retrying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is not valid; retrying cannot help.
    Invalid,
    /// The thing does not exist.
    NotFound,
    /// The caller may not do this.
    Denied,
    /// It contradicts the present state (already exists, lost ownership).
    Conflict,
    /// A bound is reached; try later.
    Exhausted,
    /// A dependency does not answer; try later.
    Unavailable,
    /// A defect of ours or of stored data.
    Internal,
}

impl ErrorKind {
    /// Whether the same request may succeed later without a change by the caller.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Exhausted | Self::Unavailable)
    }

    /// Stable lower-case word for logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::Conflict => "conflict",
            Self::Exhausted => "exhausted",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

/// Implemented by every error that crosses a crate boundary.
pub trait Classify {
    /// The class of this error.
    fn kind(&self) -> ErrorKind;
}
