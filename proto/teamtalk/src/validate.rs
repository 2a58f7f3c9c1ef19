//! The check of a received body, straight on its bytes and without allocating.
//!
//! It rejects what a proto2 parser of the original servers rejects: bytes that are no protocol
//! buffer, a required field that is missing, and a required enumeration whose value nobody
//! declared (such a parser keeps the value aside and finds the field missing). It tolerates
//! what that parser tolerates: unknown fields, a known field under the wrong wire type (which
//! counts as unknown), undeclared values of optional enumerations, packed lists.
//!
//! Invariant: after [`decode_checked`] every required enumeration holds a declared value.
//!
//! Known differences, none of which an original client meets:
//! - prost insists on UTF-8 in strings and on the right wire type for fields it knows, so
//!   [`decode_checked`] rejects two kinds of body that [`validate`] accepts;
//! - when a required field is sent more than once, each occurrence must be good, and nested
//!   messages are judged one by one instead of merged;
//! - groups (the obsolete wire type) may nest at most [`MAX_DEPTH`] deep.

use bytes::Bytes;

use crate::schema::{FieldKind, Label, MessageKind, MessageRule, TeamtalkMessage};

/// How deep messages and unknown groups may nest. The protocol itself needs two.
pub const MAX_DEPTH: usize = 16;

/// Why a body is not acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The body ends inside a field.
    #[error("body ends inside a field")]
    Truncated,
    /// The bytes are no protocol buffer.
    #[error("body is not a protocol buffer")]
    Malformed,
    /// Messages or groups are nested too deep.
    #[error("body is nested too deep")]
    TooDeep,
    /// A required field is missing, or a required enumeration has an undeclared value.
    #[error("required field {field} of {message} is missing")]
    Missing {
        /// Full name of the message that lacks the field.
        message: &'static str,
        /// Name of the field.
        field: &'static str,
    },
}

/// Why a body could not become a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The original servers would have ignored it too.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// prost rejected it: text that is not UTF-8, or a known field under a wrong wire type.
    #[error("decode body")]
    Prost(#[from] prost::DecodeError),
}

/// Checks a body and decodes it. `bytes` fields share the memory of `body`.
///
/// # Errors
/// It breaks a rule of its message, or prost cannot read it.
#[inline]
pub fn decode_checked<M: TeamtalkMessage>(body: Bytes) -> Result<M, DecodeError> {
    validate(M::KIND, &body)?;
    Ok(M::decode(body)?)
}

/// Checks a body without decoding it.
///
/// # Errors
/// The first rule of its message that it breaks.
#[inline]
pub fn validate(kind: MessageKind, body: &[u8]) -> Result<(), Violation> {
    check(kind.rule(), body, MAX_DEPTH)
}

fn check(rule: &'static MessageRule, body: &[u8], depth: usize) -> Result<(), Violation> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Violation::TooDeep);
    };
    let mut seen = 0_u64;
    let mut input = Input(body);
    while let Some(key) = input.key()? {
        let Some((position, field)) = rule.field(key.number) else {
            input.skip(key, depth)?;
            continue;
        };
        let good = match (field.kind, key.wire) {
            (FieldKind::Number, Wire::Varint) => {
                input.varint()?;
                true
            }
            (FieldKind::Enum(declared), Wire::Varint) => {
                let value = input.varint()?;
                if field.label == Label::Required && !is_declared(declared, value) {
                    return Err(missing(rule, position));
                }
                true
            }
            (FieldKind::Text | FieldKind::Bytes, Wire::Length) => {
                input.chunk()?;
                true
            }
            (FieldKind::Message(nested), Wire::Length) => {
                check(nested, input.chunk()?, depth)?;
                true
            }
            (FieldKind::Number | FieldKind::Enum(_), Wire::Length)
                if field.label == Label::Repeated =>
            {
                let mut packed = Input(input.chunk()?);
                while !packed.0.is_empty() {
                    packed.varint()?;
                }
                true
            }
            _ => {
                input.skip(key, depth)?;
                false
            }
        };
        if good {
            seen |= 1 << position;
        }
    }
    let lacking = rule.required & !seen;
    if lacking == 0 {
        Ok(())
    } else {
        Err(missing(rule, lacking.trailing_zeros() as usize))
    }
}

/// Values travel as 64 bits, of which a parser of an enumeration looks at the low 32.
fn is_declared(declared: u64, value: u64) -> bool {
    let low = value & u64::from(u32::MAX);
    low < 64 && declared >> low & 1 == 1
}

#[cold]
fn missing(rule: &'static MessageRule, position: usize) -> Violation {
    let field = rule.fields.get(position).map_or("", |field| field.name);
    Violation::Missing {
        message: rule.name,
        field,
    }
}

/// How a field's value is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wire {
    Varint,
    Fixed64,
    Length,
    GroupStart,
    GroupEnd,
    Fixed32,
}

#[derive(Clone, Copy)]
struct Key {
    number: u32,
    wire: Wire,
}

/// The bytes that were not looked at yet.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// The next field's key, or nothing at the end.
    #[inline]
    fn key(&mut self) -> Result<Option<Key>, Violation> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_| Violation::Malformed)?;
        let wire = match key & 7 {
            0 => Wire::Varint,
            1 => Wire::Fixed64,
            2 => Wire::Length,
            3 => Wire::GroupStart,
            4 => Wire::GroupEnd,
            5 => Wire::Fixed32,
            _ => return Err(Violation::Malformed),
        };
        match key >> 3 {
            0 => Err(Violation::Malformed),
            number => Ok(Some(Key { number, wire })),
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Violation> {
        match self.0.split_first() {
            Some((&first, rest)) if first < 0x80 => {
                self.0 = rest;
                Ok(u64::from(first))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Violation> {
        let mut value = 0_u64;
        let mut rest = self.0;
        for shift in (0..64).step_by(7) {
            let (&byte, after) = rest.split_first().ok_or(Violation::Truncated)?;
            rest = after;
            // The tenth byte has room for a single bit.
            if shift == 63 && byte > 1 {
                return Err(Violation::Malformed);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                self.0 = rest;
                return Ok(value);
            }
        }
        Err(Violation::Malformed)
    }

    /// A length and that many bytes.
    #[inline]
    fn chunk(&mut self) -> Result<&'a [u8], Violation> {
        let length = self.varint()?;
        let length = usize::try_from(length).map_err(|_| Violation::Truncated)?;
        self.take(length)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Violation> {
        let (chunk, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Violation::Truncated)?;
        self.0 = rest;
        Ok(chunk)
    }

    /// Steps over the value of a field nobody knows.
    fn skip(&mut self, key: Key, depth: usize) -> Result<(), Violation> {
        match key.wire {
            Wire::Varint => self.varint().map(drop),
            Wire::Fixed64 => self.take(8).map(drop),
            Wire::Fixed32 => self.take(4).map(drop),
            Wire::Length => self.chunk().map(drop),
            Wire::GroupStart => self.skip_group(key.number, depth),
            Wire::GroupEnd => Err(Violation::Malformed),
        }
    }

    fn skip_group(&mut self, number: u32, depth: usize) -> Result<(), Violation> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Violation::TooDeep);
        };
        while let Some(key) = self.key()? {
            match key.wire {
                Wire::GroupEnd if key.number == number => return Ok(()),
                _ => self.skip(key, depth)?,
            }
        }
        Err(Violation::Truncated)
    }
}

#[cfg(test)]
mod tests;
