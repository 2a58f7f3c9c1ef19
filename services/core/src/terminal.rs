//! Terminal types and their classes.

/// The program on the other end of a client connection (`IM.BaseDefine.ClientType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ClientType {
    /// Windows desktop.
    Windows = 0x01,
    /// macOS desktop.
    Mac = 0x02,
    /// iPhone and iPad.
    Ios = 0x11,
    /// Android phone.
    Android = 0x12,
}

/// One terminal of each class may be online per user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TerminalClass {
    /// Windows and Mac.
    Pc,
    /// iOS and Android.
    Mobile,
}

impl ClientType {
    /// Reads the wire number; `None` for values the protocol does not define.
    pub const fn from_wire(raw: u32) -> Option<Self> {
        match raw {
            0x01 => Some(Self::Windows),
            0x02 => Some(Self::Mac),
            0x11 => Some(Self::Ios),
            0x12 => Some(Self::Android),
            _ => None,
        }
    }

    /// The wire number.
    pub const fn to_wire(self) -> u32 {
        self as u32
    }

    /// Class by bit 0x10.
    pub const fn class(self) -> TerminalClass {
        match self {
            Self::Windows | Self::Mac => TerminalClass::Pc,
            Self::Ios | Self::Android => TerminalClass::Mobile,
        }
    }
}
