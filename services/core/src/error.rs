//! One classification for the errors of every seam, and how logs show them.

use std::error::Error;
use std::fmt;

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

/// An error with its causes, on one line, as logs show it.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("read a number")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn an_error_is_shown_with_its_causes_on_one_line() {
        let cause = "x".parse::<u8>().unwrap_err();
        let text = format!("read a number: {cause}");
        assert_eq!(Chain(&Outer(cause)).to_string(), text);
    }
}
