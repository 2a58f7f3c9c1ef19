//! Cutting frames out of a byte stream.
//!
//! Two ways lead to the same frames. [`next_frame`] (and the [`FrameDecoder`] over it) owns a
//! buffer and hands out bodies that share its memory. [`split_frame`] borrows from a scratch
//! buffer that many connections take turns in, so that an idle connection holds no buffer at all
//! and one in the middle of a frame holds only the part that has arrived.
//!
//! Invariant: a length below 16 or above the limit is an error as soon as its four bytes are
//! there, before anything is reserved for it. The stream is lost then: close the connection.

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::command::Command;
use crate::header::{HEADER_LEN, Header};

/// Largest frame a server accepts from a client unless configured otherwise: 1 MiB.
///
/// Original clients stay far below it in chats (voice takes some tens of KiB, a file block
/// 34 KiB). The largest thing they send is the Mac client's question for the presence of
/// everybody in one frame, at most six bytes for each person: 300 KB at 50,000 people. So this
/// leaves room for three times that, and 1,000 hostile connections can pin 1 GiB at most, for as
/// long as the idle timeout lets them.
pub const DEFAULT_MAX_INBOUND: FrameLimit = FrameLimit(1024 * 1024);

/// Largest frame a client library accepts from a server unless configured otherwise: 64 MiB.
///
/// The whole directory comes in one answer; at 50,000 people with long addresses and signatures
/// that is some tens of MiB.
pub const DEFAULT_MAX_FROM_SERVER: FrameLimit = FrameLimit(64 * 1024 * 1024);

/// Largest frame the original Android client accepts; it drops anything above.
pub const ANDROID_MAX_FRAME: usize = 409_600;

/// Room that is reserved at a time while a long frame comes in: memory follows the bytes that
/// arrived, not the length that was announced.
const RESERVE_STEP: usize = 64 * 1024;

/// The largest accepted frame in bytes, header included; at least 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrameLimit(u32);

impl FrameLimit {
    /// A limit; values below 16 are taken as 16.
    pub const fn new(bytes: u32) -> Self {
        Self(if bytes < 16 { 16 } else { bytes })
    }

    /// The limit in bytes.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for FrameLimit {
    fn default() -> Self {
        DEFAULT_MAX_INBOUND
    }
}

/// Why a byte stream cannot be cut into frames any further.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The announced length does not even cover the header.
    #[error("frame announces {length} bytes, less than its header")]
    TooShort {
        /// The announced length.
        length: u32,
    },
    /// The announced length is above the limit.
    #[error("frame announces {length} bytes, more than {limit}")]
    TooLong {
        /// The announced length.
        length: u32,
        /// The limit in force.
        limit: u32,
    },
    /// The stream failed, or ended inside a frame.
    #[error("read frame")]
    Io(#[from] std::io::Error),
}

/// A frame that owns its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The header as received.
    pub header: Header,
    /// What follows it.
    pub body: Bytes,
}

impl Frame {
    /// The command, if it is one of the protocol.
    pub fn command(&self) -> Option<Command> {
        self.header.command()
    }

    /// The whole frame in one piece, unchanged; the answer to a heartbeat.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_LEN + self.body.len());
        out.extend_from_slice(&self.header.to_bytes());
        out.extend_from_slice(&self.body);
        out.freeze()
    }
}

/// A frame that borrows its body from the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRef<'a> {
    /// The header as received.
    pub header: Header,
    /// What follows it.
    pub body: &'a [u8],
}

impl FrameRef<'_> {
    /// Copies the body, so that it outlives the buffer.
    pub fn to_frame(&self) -> Frame {
        Frame {
            header: self.header,
            body: Bytes::copy_from_slice(self.body),
        }
    }
}

/// The length of the frame that starts here, checked; nothing while fewer than four bytes are
/// there.
///
/// # Errors
/// The length is below that of a header, or above `limit`.
#[inline]
pub fn peek_len(bytes: &[u8], limit: FrameLimit) -> Result<Option<usize>, FrameError> {
    let Some(first) = bytes.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*first);
    if length > limit.0 {
        return Err(FrameError::TooLong {
            length,
            limit: limit.0,
        });
    }
    match length as usize {
        0..HEADER_LEN => Err(FrameError::TooShort { length }),
        length => Ok(Some(length)),
    }
}

/// The first frame of a slice and what follows it; nothing while it is incomplete.
///
/// # Errors
/// As [`peek_len`].
#[inline]
pub fn split_frame(
    bytes: &[u8],
    limit: FrameLimit,
) -> Result<Option<(FrameRef<'_>, &[u8])>, FrameError> {
    let Some(length) = peek_len(bytes, limit)? else {
        return Ok(None);
    };
    let Some((frame, rest)) = bytes.split_at_checked(length) else {
        return Ok(None);
    };
    let Some((header, body)) = frame.split_first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    Ok(Some((
        FrameRef {
            header: Header::parse(header),
            body,
        },
        rest,
    )))
}

/// Takes the first frame out of a buffer; nothing while it is incomplete. The body shares the
/// buffer's memory and keeps all of it alive: copy what must live long.
///
/// # Errors
/// As [`peek_len`]; the buffer is left as it is.
#[inline]
pub fn next_frame(buffer: &mut BytesMut, limit: FrameLimit) -> Result<Option<Frame>, FrameError> {
    let Some(length) = peek_len(buffer, limit)? else {
        return Ok(None);
    };
    if buffer.len() < length {
        return Ok(None);
    }
    let mut bytes = buffer.split_to(length);
    let Some(header) = bytes.first_chunk::<HEADER_LEN>().map(Header::parse) else {
        return Ok(None);
    };
    bytes.advance(HEADER_LEN);
    Ok(Some(Frame {
        header,
        body: bytes.freeze(),
    }))
}

/// [`next_frame`] for [`tokio_util::codec::FramedRead`].
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameDecoder {
    limit: FrameLimit,
}

impl FrameDecoder {
    /// A decoder with this limit.
    pub const fn new(limit: FrameLimit) -> Self {
        Self { limit }
    }
}

impl Decoder for FrameDecoder {
    type Item = Frame;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let frame = next_frame(buffer, self.limit)?;
        if frame.is_none()
            && let Some(length) = peek_len(buffer, self.limit)?
        {
            buffer.reserve(length.saturating_sub(buffer.len()).min(RESERVE_STEP));
        }
        Ok(frame)
    }
}

/// Frames are already encoded when they are sent.
impl Encoder<Bytes> for FrameDecoder {
    type Error = FrameError;

    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError> {
        buffer.extend_from_slice(&frame);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
