//! The cipher of text messages: AES-256 block by block under a key every client has compiled in,
//! then base64. It hides nothing; it is here because clients show garbage, or crash, on text that
//! is not of this form.
//!
//! The clear text is followed by zeros up to whole blocks, and the last four bytes hold its
//! length, big-endian. Clear text is bytes: old Android clients write characters beyond U+FFFF
//! in a form that is not UTF-8. Decryption is as lenient as the original's: white space and `=`
//! may stand anywhere, and there may be more blocks than needed.

use aes::Aes256;
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The key of all original clients.
pub const DEFAULT_KEY: &[u8; 32] = b"12345678901234567890123456789012";

/// `[语音]` encrypted under [`DEFAULT_KEY`]: what lists of conversations show for a voice message.
pub const VOICE_PLACEHOLDER: &str = "QhGXlpFjvMFUNrtl1aaPzA==";

/// `[长消息]` in the same way: what the lists show for a message that is too long for them.
pub const LONG_PLACEHOLDER: &str = "jggAgky5kQTC8R1iCWlzDw==";

const BLOCK: usize = 16;
/// Size of the length behind the text.
const TRAILER: usize = 4;

/// Accepts bits that do not fill a byte, as the original does; `=` is gone by then.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Why a text cannot be encrypted or decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// There is nothing to work on, or more than a length can express.
    #[error("text is empty or too long")]
    Empty,
    /// A character outside the base64 alphabet, or nothing left without the white space.
    #[error("ciphertext is not base64")]
    NotBase64,
    /// The bytes do not fill whole blocks.
    #[error("ciphertext does not fill whole blocks")]
    NotBlocks,
    /// The length behind the text is larger than the text: another key, or no ciphertext at all.
    #[error("ciphertext holds an impossible length")]
    BadLength,
}

impl TextError {
    /// The number the original library returns.
    pub const fn number(self) -> i32 {
        match self {
            Self::Empty => -1,
            Self::NotBase64 => -2,
            Self::NotBlocks => -3,
            Self::BadLength => -4,
        }
    }
}

/// The cipher under one key. Cheap to use, not free to make: keep it.
#[derive(Clone)]
pub struct TextCipher {
    aes: Aes256,
}

impl Default for TextCipher {
    fn default() -> Self {
        Self::new(DEFAULT_KEY)
    }
}

impl std::fmt::Debug for TextCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TextCipher")
    }
}

impl TextCipher {
    /// The cipher under another key, for installations that changed it in every client.
    pub fn new(key: &[u8; 32]) -> Self {
        Self {
            aes: Aes256::new(&Array::from(*key)),
        }
    }

    /// Encrypts; the result is what `msg_data` of a text message holds.
    ///
    /// # Errors
    /// The text is empty, or of 4 GiB or more.
    pub fn encrypt(&self, text: &[u8]) -> Result<String, TextError> {
        let length = u32::try_from(text.len()).map_err(|_| TextError::Empty)?;
        if length == 0 {
            return Err(TextError::Empty);
        }
        let size = (text.len() + TRAILER).next_multiple_of(BLOCK);
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(text);
        bytes.resize(size - TRAILER, 0);
        bytes.extend_from_slice(&length.to_be_bytes());

        let (blocks, _) = Array::slice_as_chunks_mut(&mut bytes);
        self.aes.encrypt_blocks(blocks);
        Ok(STANDARD.encode(bytes))
    }

    /// Decrypts `msg_data` of a text message.
    ///
    /// # Errors
    /// It is empty, or not what [`TextCipher::encrypt`] makes under this key.
    pub fn decrypt(&self, ciphertext: &[u8]) -> Result<Vec<u8>, TextError> {
        if ciphertext.is_empty() {
            return Err(TextError::Empty);
        }
        let digits: Vec<u8> = ciphertext
            .iter()
            .copied()
            .filter(|byte| *byte != b'=' && !is_space(*byte))
            .collect();
        let mut bytes = LENIENT.decode(digits).map_err(|_| TextError::NotBase64)?;
        if bytes.is_empty() {
            return Err(TextError::NotBase64);
        }
        let (blocks, rest) = Array::slice_as_chunks_mut(&mut bytes);
        if !rest.is_empty() {
            return Err(TextError::NotBlocks);
        }
        self.aes.decrypt_blocks(blocks);

        let trailer = bytes.last_chunk::<TRAILER>().ok_or(TextError::NotBlocks)?;
        let length = usize::try_from(u32::from_be_bytes(*trailer)).unwrap_or(usize::MAX);
        if length > bytes.len() {
            return Err(TextError::BadLength);
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Whether every client can decrypt this: never deliver anything else as text.
    pub fn is_ciphertext(&self, msg_data: &[u8]) -> bool {
        self.decrypt(msg_data).is_ok()
    }
}

/// White space of the C locale.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

#[cfg(test)]
mod tests;
