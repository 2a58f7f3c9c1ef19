//! Any body under any message: the check and prost agree, and what passes encodes to a body that
//! passes and stays the same.
//!
//! The first two bytes are a command number; numbers of no command choose any message.
#![no_main]

use bytes::Bytes;
use im_codec::{Command, DecodeError, MessageKind, validate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((id, body)) = data.split_first_chunk::<2>() else {
        return;
    };
    let id = u16::from_be_bytes(*id);
    let kind = Command::from_id(id).map_or_else(
        || MessageKind::ALL[usize::from(id) % MessageKind::ALL.len()],
        Command::message,
    );
    let checked = validate(kind, body);
    match kind.canonical(Bytes::copy_from_slice(body)) {
        Ok(canonical) => {
            assert_eq!(checked, Ok(()));
            assert_eq!(
                kind.canonical(Bytes::from(canonical.clone())),
                Ok(canonical)
            );
        }
        Err(DecodeError::Violation(violation)) => assert_eq!(checked, Err(violation)),
        Err(DecodeError::Prost(error)) => {
            assert_eq!(checked, Ok(()));
            let text = error.to_string();
            assert!(
                text.contains("UTF-8") || text.contains("wire type"),
                "{text}"
            );
        }
    }
});
