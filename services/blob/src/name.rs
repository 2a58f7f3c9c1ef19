//! Names of blobs: 128 random bits, and nothing else, so that no name leads out of a store.

use std::fmt;
use std::str::FromStr;

/// The name of a blob: 16 bytes from the system's random numbers.
///
/// Written it is 32 digits of lower-case hexadecimal. Whoever knows a name may be let to the blob, so it
/// is not logged as a whole: `Debug` shows the first four digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobName([u8; 16]);

impl BlobName {
    /// A name that nobody can guess.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The name with these bytes. They must be random.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the name.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, ..] = self.0;
        write!(f, "BlobName({first:02x}{second:02x}…)")
    }
}

/// A text that is not the name of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("name a blob with 32 digits of lower-case hexadecimal")]
pub struct NameError;

impl FromStr for BlobName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return Err(NameError);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| NameError)?;
        Ok(Self(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let name = BlobName::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        let text = "000102030405060708090a0b0c0d0eff";
        assert_eq!(name.to_string(), text);
        assert_eq!(text.parse(), Ok(name));
        let random = BlobName::random();
        assert_eq!(random.to_string().parse(), Ok(random));
        assert_ne!(random, BlobName::random());
    }

    #[test]
    fn nothing_else_is_a_name() {
        for text in [
            "",
            "000102030405060708090a0b0c0d0ef",
            "000102030405060708090a0b0c0d0efff",
            "000102030405060708090A0B0C0D0EFF",
            "+00102030405060708090a0b0c0d0eff",
            "../../../../../../../etc/passwd0",
            "/00102030405060708090a0b0c0d0eff",
            "000102030405060708090a0b0c0d0e\u{e9}",
            "0001020304050607 8090a0b0c0d0eff",
        ] {
            assert_eq!(text.parse::<BlobName>(), Err(NameError), "{text}");
        }
    }

    #[test]
    fn logs_do_not_show_a_whole_name() {
        let name = BlobName::from_bytes([0xab; 16]);
        assert_eq!(format!("{name:?}"), "BlobName(abab…)");
    }
}
