//! Cutting what was read into frames that own their bodies.

use std::collections::VecDeque;

use bytes::BytesMut;
use im_codec::{Frame, FrameError, FrameLimit, next_frame, peek_len, split_frame};

/// Bytes that tell how long a frame is.
const LENGTH: usize = 4;

/// Takes the frames out of what came before and what came now; the beginning of another one stays in
/// `buffer`, which holds nothing otherwise. Each byte is copied once.
///
/// # Errors
/// A frame says that it is shorter than its header, or longer than the limit.
pub(super) fn cut(
    buffer: &mut BytesMut,
    mut bytes: &[u8],
    limit: FrameLimit,
    frames: &mut VecDeque<Frame>,
) -> Result<(), FrameError> {
    while !bytes.is_empty() {
        if buffer.is_empty() {
            while let Some((frame, rest)) = split_frame(bytes, limit)? {
                frames.push_back(frame.to_frame());
                bytes = rest;
            }
        }
        let length = if buffer.is_empty() {
            peek_len(bytes, limit)?
        } else {
            peek_len(buffer, limit)?
        };
        let missing = length.unwrap_or(LENGTH) - buffer.len();
        let (part, rest) = bytes.split_at(missing.min(bytes.len()));
        if !part.is_empty() {
            buffer.reserve(missing);
            buffer.extend_from_slice(part);
        }
        bytes = rest;
        if let Some(frame) = next_frame(buffer, limit)? {
            frames.push_back(frame);
            *buffer = BytesMut::new();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use im_codec::{Command, encode_raw};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_are_the_same_however_their_bytes_arrive(
            sizes in prop::collection::vec(0..300_usize, 1..20),
            parts in prop::collection::vec(1..700_usize, 1..50),
        ) {
            let sent: Vec<_> = sizes.iter().enumerate().map(|(n, size)| {
                let body = vec![u8::try_from(n).unwrap(); *size];
                encode_raw(Command::FilePullDataRsp, u16::try_from(n).unwrap(), &body)
            }).collect();
            let stream = sent.concat();
            let (mut buffer, mut frames) = (BytesMut::new(), VecDeque::new());
            let mut rest = stream.as_slice();
            for part in parts.iter().cycle() {
                let (now, later) = rest.split_at((*part).min(rest.len()));
                cut(&mut buffer, now, FrameLimit::new(316), &mut frames).unwrap();
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert!(buffer.is_empty());
            let came: Vec<_> = frames.iter().map(Frame::to_bytes).collect();
            prop_assert_eq!(came, sent);
        }
    }

    #[test]
    fn a_frame_beyond_the_limit_is_refused_by_its_length_and_one_at_the_limit_taken() {
        let frame = |size: usize| encode_raw(Command::FilePullDataRsp, 0, &vec![0; size]);
        let limit = FrameLimit::new(100);
        let (mut buffer, mut frames) = (BytesMut::new(), VecDeque::new());
        cut(&mut buffer, &frame(84), limit, &mut frames).unwrap();
        assert_eq!(frames.len(), 1);
        for byte in &frame(85)[..3] {
            cut(&mut buffer, &[*byte], limit, &mut frames).unwrap();
        }
        assert!(cut(&mut buffer, &frame(85)[3..4], limit, &mut frames).is_err());
    }
}
