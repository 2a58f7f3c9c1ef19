//! Any bytes in any pieces: both readers find the same frames, and memory follows what arrived.
//!
//! The first byte chooses the size of the pieces, the second the limit.
#![no_main]

use bytes::BytesMut;
use im_codec::{Command, FrameLimit, next_frame, split_frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[piece, limit], stream)) = data.split_first_chunk::<2>() else {
        return;
    };
    let limit = FrameLimit::new(u32::from(limit) * 64);
    let mut buffer = BytesMut::new();
    let mut rest = stream;
    for piece in stream.chunks(usize::from(piece) + 1) {
        buffer.extend_from_slice(piece);
        loop {
            match next_frame(&mut buffer, limit) {
                Ok(Some(frame)) => {
                    let (other, after) = split_frame(rest, limit).expect("good").expect("whole");
                    assert_eq!(frame, other.to_frame());
                    assert_eq!(frame.to_bytes(), rest[..rest.len() - after.len()]);
                    assert!(frame.header.length <= limit.get());
                    let _ = Command::from_client(&frame.header);
                    rest = after;
                }
                Ok(None) => break,
                Err(_) => {
                    assert!(split_frame(rest, limit).is_err());
                    return;
                }
            }
        }
        assert!(
            buffer.len() < limit.get() as usize,
            "less than one frame waits"
        );
    }
    assert!(matches!(split_frame(rest, limit), Ok(None)));
});
