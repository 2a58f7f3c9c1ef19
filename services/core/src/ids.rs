//! Typed identifiers. Zero on the wire means "nobody" or "none" and never becomes an id.

use std::fmt;
use std::num::NonZeroU32;

macro_rules! id_u32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(NonZeroU32);

        impl $name {
            /// Reads an id from the wire, where zero means "none".
            pub const fn from_wire(raw: u32) -> Option<Self> {
                match NonZeroU32::new(raw) {
                    Some(id) => Some(Self(id)),
                    None => None,
                }
            }

            /// The number as it travels.
            pub const fn get(self) -> u32 {
                self.0.get()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id_u32! {
    /// A person's account.
    UserId
}
id_u32! {
    /// A group; its numbers are separate from those of users.
    GroupId
}
id_u32! {
    /// A department of the directory.
    DepartmentId
}
id_u32! {
    /// Position of a message inside its conversation: dense from 1, but for what a restore skipped.
    MsgId
}

impl MsgId {
    /// From here on, clients take ids for messages of their own that are not sent yet (Android).
    pub const CLIENTS_OWN: u32 = 90_000_000;
}

/// Names one login of one terminal, unique over all msg servers and restarts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
