//! Frames arrive in any pieces.

use bytes::{Bytes, BytesMut};
use im_codec::{
    Command, DEFAULT_MAX_INBOUND, Frame, FrameDecoder, FrameError, FrameLimit, encode_raw,
    next_frame, split_frame,
};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio_util::codec::Decoder;

use crate::document::golden_frames;

fn golden_stream() -> (Vec<u8>, Vec<Bytes>) {
    let frames: Vec<_> = golden_frames()
        .into_iter()
        .map(|golden| Bytes::from(golden.bytes))
        .collect();
    (frames.concat(), frames)
}

/// Everything a decoder finds when the stream arrives in these pieces.
fn by_decoder(pieces: &[&[u8]]) -> Vec<Bytes> {
    let mut decoder = FrameDecoder::default();
    let mut buffer = BytesMut::new();
    let mut found = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while let Some(frame) = decoder.decode(&mut buffer).expect("good stream") {
            found.push(frame.to_bytes());
        }
    }
    assert!(
        matches!(decoder.decode_eof(&mut buffer), Ok(None)),
        "nothing is left"
    );
    found
}

/// The same with a borrowed scratch buffer: only an incomplete tail is kept from piece to piece.
fn by_slices(pieces: &[&[u8]]) -> Vec<Bytes> {
    let mut tail = Vec::new();
    let mut found = Vec::new();
    for piece in pieces {
        let scratch = [tail.as_slice(), piece].concat();
        let mut rest = scratch.as_slice();
        while let Some((frame, after)) =
            split_frame(rest, DEFAULT_MAX_INBOUND).expect("good stream")
        {
            found.push(frame.to_frame().to_bytes());
            rest = after;
        }
        tail = rest.to_vec();
    }
    assert!(tail.is_empty(), "nothing is left");
    found
}

#[test]
fn a_stream_may_be_cut_at_every_byte() {
    let (stream, frames) = golden_stream();
    for at in 0..=stream.len() {
        let (head, tail) = stream.split_at(at);
        assert_eq!(by_decoder(&[head, tail]), frames, "cut at {at}");
        assert_eq!(by_slices(&[head, tail]), frames, "cut at {at}");
    }
}

#[test]
fn a_stream_may_come_byte_by_byte() {
    let (stream, frames) = golden_stream();
    let pieces: Vec<_> = stream.chunks(1).collect();
    assert_eq!(by_decoder(&pieces), frames);
    assert_eq!(by_slices(&pieces), frames);
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_an_error() {
    let mut buffer = BytesMut::from(&golden_stream().0[..20]);
    let mut decoder = FrameDecoder::default();
    assert!(matches!(decoder.decode_eof(&mut buffer), Ok(Some(_))));
    assert!(matches!(
        decoder.decode_eof(&mut buffer),
        Err(FrameError::Io(_))
    ));
}

fn any_frame() -> impl Strategy<Value = Bytes> {
    (
        prop::sample::select(Command::ALL.to_vec()),
        any::<u16>(),
        vec(any::<u8>(), 0..200),
    )
        .prop_map(|(command, seq, body)| encode_raw(command, seq, &body))
}

proptest! {
    #[test]
    fn a_hundred_frames_in_one_buffer_all_come_out(frames in vec(any_frame(), 100)) {
        let stream = frames.concat();
        prop_assert_eq!(by_decoder(&[&stream]), frames.clone());
        prop_assert_eq!(by_slices(&[&stream]), frames);
    }

    #[test]
    fn frames_survive_any_chunking(
        frames in vec(any_frame(), 1..20),
        sizes in vec(1_usize..400, 1..10),
    ) {
        let stream = frames.concat();
        let mut pieces = Vec::new();
        let mut rest = stream.as_slice();
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(by_decoder(&pieces), frames.clone());
        prop_assert_eq!(by_slices(&pieces), frames);
    }

    #[test]
    fn random_bytes_never_panic_and_both_readers_agree(
        bytes in vec(prop_oneof![3 => Just(0_u8), 1 => any::<u8>()], 0..300),
        limit in 0_u32..200,
    ) {
        let limit = FrameLimit::new(limit);
        let mut buffer = BytesMut::from(bytes.as_slice());
        let mut rest = bytes.as_slice();
        loop {
            let owned = next_frame(&mut buffer, limit);
            let borrowed = split_frame(rest, limit);
            match (owned, borrowed) {
                (Ok(Some(owned)), Ok(Some((borrowed, after)))) => {
                    let Frame { header, ref body } = owned;
                    prop_assert_eq!(header.length as usize, 16 + body.len());
                    prop_assert!(header.length <= limit.get());
                    prop_assert_eq!(&owned, &borrowed.to_frame());
                    rest = after;
                }
                (Ok(None), Ok(None)) | (Err(_), Err(_)) => break,
                (owned, borrowed) => prop_assert!(false, "{owned:?} {borrowed:?}"),
            }
        }
        prop_assert_eq!(&buffer[..], rest);
    }

    #[test]
    fn a_length_out_of_bounds_is_refused_before_anything_is_reserved(
        length in prop_oneof![0_u32..16, DEFAULT_MAX_INBOUND.get() + 1..=u32::MAX],
        more in vec(any::<u8>(), 0..40),
    ) {
        let mut buffer = BytesMut::from([&length.to_be_bytes()[..], &more].concat().as_slice());
        let capacity = buffer.capacity();
        prop_assert!(FrameDecoder::default().decode(&mut buffer).is_err());
        prop_assert_eq!(buffer.capacity(), capacity);
    }
}
