//! The client protocol on the wire: the 16-byte header, frames, the table of all commands, and
//! the cipher of text messages.
//!
//! Pure functions over byte buffers: no socket, no runtime. A frame is cut out of the receive
//! buffer without copying its body ([`next_frame`]), classified by [`Command::from_client`], and
//! its body checked and decoded by [`decode_checked`]. An outgoing frame is written once into
//! shared bytes ([`encode`]) and may be sent to any number of connections.
//!
//! Invariant: nothing here allocates or waits because of a length that was announced but not
//! yet checked against a bound.

mod command;
mod encode;
mod frame;
mod header;
pub mod text;

pub use command::{ClientCommand, Command, CommandName, Direction, Handler, Odd, Service};
pub use encode::{
    append, append_raw, encode, encode_raw, heartbeat, stamp_seq, stamp_seq_in_place,
};
pub use frame::{
    ANDROID_MAX_FRAME, DEFAULT_MAX_FROM_SERVER, DEFAULT_MAX_INBOUND, Frame, FrameDecoder,
    FrameError, FrameLimit, FrameRef, next_frame, peek_len, split_frame,
};
pub use header::{HEADER_LEN, Header};
pub use im_proto_teamtalk::{
    DecodeError, MessageKind, TeamtalkMessage, Violation, decode_checked, validate,
};
