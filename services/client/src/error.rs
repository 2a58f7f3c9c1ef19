//! What can go wrong for a caller.

use std::io;
use std::time::Duration;

use im_codec::text::TextError;
use im_codec::{DecodeError, FrameError};
use im_core::{Classify, ErrorKind};
use im_proto_teamtalk::base::KickReasonType;

use crate::dispatch::DispatchError;

/// Why a connection could not be made, or a request was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The dispatcher gave no address.
    #[error("look up msg server")]
    Dispatch(#[from] DispatchError),
    /// The msg server cannot be reached.
    #[error("connect to {address}")]
    Connect {
        /// Where to.
        address: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The server refused the login.
    #[error("login refused with result {code}: {text}")]
    Refused {
        /// `ResultType` of the answer.
        code: i32,
        /// The server's words.
        text: String,
    },
    /// The server is busy and has said when to come again.
    #[error("server is busy, try again in {} ms", .retry_after.as_millis())]
    Busy {
        /// How long to wait.
        retry_after: Duration,
    },
    /// There was no answer in time. It may still have had its effect.
    #[error("no answer in time")]
    Timeout,
    /// A message was not acknowledged in time. It may be stored all the same.
    #[error("message was not acknowledged")]
    Unacknowledged,
    /// The connection was lost before the answer came.
    #[error("connection lost")]
    Disconnected,
    /// The server told this terminal to leave (`KickReasonType`).
    #[error("{}", kicked(*.reason))]
    Kicked {
        /// Why.
        reason: i32,
    },
    /// The client is closed.
    #[error("client is closed")]
    Closed,
    /// The server's bytes are no frames.
    #[error("read frame")]
    Frame(#[from] FrameError),
    /// The server's answer is not what the protocol says.
    #[error("decode answer")]
    Decode(#[from] DecodeError),
    /// The text cannot be encrypted.
    #[error("encrypt text")]
    Text(#[from] TextError),
    /// The command has no answer to wait for, or carries another message.
    #[error("command does not fit the request")]
    WrongCommand,
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Dispatch(source) => source.kind(),
            Self::Refused { code, .. } if *code == wrong_credentials() => ErrorKind::Denied,
            Self::Refused { .. }
            | Self::Busy { .. }
            | Self::Connect { .. }
            | Self::Timeout
            | Self::Unacknowledged
            | Self::Disconnected
            | Self::Closed => ErrorKind::Unavailable,
            Self::Kicked { .. } => ErrorKind::Conflict,
            Self::Frame(_) | Self::Decode(_) => ErrorKind::Internal,
            Self::Text(_) | Self::WrongCommand => ErrorKind::Invalid,
        }
    }
}

/// Why a terminal was told to leave, as far as the protocol says. An administrator gives the reason of a
/// phone.
fn kicked(reason: i32) -> String {
    match KickReasonType::try_from(reason) {
        Ok(KickReasonType::KickReasonDuplicateUser) => {
            "the same person has logged in at another terminal of this kind".to_owned()
        }
        Ok(KickReasonType::KickReasonMobileKick) => {
            "ended from the person's phone, or by an administrator".to_owned()
        }
        Err(_) => format!("told to leave by the server, for a reason of number {reason}"),
    }
}

/// The result code of a wrong name or password.
const fn wrong_credentials() -> i32 {
    im_proto_teamtalk::base::ResultType::RefuseReasonDbValidateFailed as i32
}

impl Error {
    /// Whether another attempt with the same configuration may succeed.
    pub fn is_retryable(&self) -> bool {
        self.kind().is_retryable()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_session_ended_is_said_in_words() {
        let text = |reason| Error::Kicked { reason }.to_string();
        assert!(text(1).contains("another terminal"), "{}", text(1));
        assert!(text(2).contains("administrator"), "{}", text(2));
        assert!(text(7).ends_with("number 7"), "{}", text(7));
    }
}
