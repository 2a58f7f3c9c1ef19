//! The 16 bytes in front of every body, all numbers big-endian.

use bytes::{Buf, BufMut};

use crate::command::Command;

/// Size of a header.
pub const HEADER_LEN: usize = 16;

/// Version of frames made here.
const VERSION: u16 = 1;

/// A frame's header. Every value of `version`, `flag` and `reserved` is accepted: each original
/// client writes others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Bytes of the whole frame, these 16 included.
    pub length: u32,
    /// 1 in frames made here.
    pub version: u16,
    /// 0 in frames made here.
    pub flag: u16,
    /// Service; clients look at it first, servers do not need it.
    pub service_id: u16,
    /// Command; all that servers dispatch by.
    pub command_id: u16,
    /// Chosen by the requester and echoed by the answer; 0 in everything unsolicited.
    pub seq: u16,
    /// 0 in frames made here.
    pub reserved: u16,
}

impl Header {
    /// The header of a frame made here, with a body of `body_len` bytes.
    ///
    /// A body of 4 GiB cannot be announced; the length saturates, and no peer accepts it.
    #[inline]
    pub fn new(command: Command, seq: u16, body_len: usize) -> Self {
        Self {
            length: u32::try_from(HEADER_LEN.saturating_add(body_len)).unwrap_or(u32::MAX),
            version: VERSION,
            flag: 0,
            service_id: command.service() as u16,
            command_id: command as u16,
            seq,
            reserved: 0,
        }
    }

    /// Reads a header.
    #[inline]
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Self {
        let mut bytes = bytes.as_slice();
        Self {
            length: bytes.get_u32(),
            version: bytes.get_u16(),
            flag: bytes.get_u16(),
            service_id: bytes.get_u16(),
            command_id: bytes.get_u16(),
            seq: bytes.get_u16(),
            reserved: bytes.get_u16(),
        }
    }

    /// Writes it.
    #[inline]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut out = bytes.as_mut_slice();
        out.put_u32(self.length);
        out.put_u16(self.version);
        out.put_u16(self.flag);
        out.put_u16(self.service_id);
        out.put_u16(self.command_id);
        out.put_u16(self.seq);
        out.put_u16(self.reserved);
        bytes
    }

    /// The command, if it is one of the protocol.
    #[inline]
    pub fn command(&self) -> Option<Command> {
        Command::from_id(self.command_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANDROID_HEARTBEAT: [u8; 16] = [0, 0, 0, 0x10, 0, 6, 0, 0, 0, 7, 7, 1, 0, 3, 0, 0x30];

    #[test]
    fn every_field_stands_where_the_protocol_puts_it() {
        let header = Header::parse(&ANDROID_HEARTBEAT);
        assert_eq!(
            header,
            Header {
                length: 16,
                version: 6,
                flag: 0,
                service_id: 7,
                command_id: 0x0701,
                seq: 3,
                reserved: 0x30
            }
        );
        assert_eq!(header.to_bytes(), ANDROID_HEARTBEAT);
        assert_eq!(header.command(), Some(Command::HeartBeat));
    }

    #[test]
    fn own_headers_have_version_one_and_zeros() {
        let header = Header::new(Command::LoginRes, 0xff03, 55);
        assert_eq!(
            header.to_bytes(),
            [0, 0, 0, 71, 0, 1, 0, 0, 0, 1, 1, 4, 0xff, 3, 0, 0]
        );
    }
}
