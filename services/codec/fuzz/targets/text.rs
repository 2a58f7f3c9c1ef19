//! Any bytes as ciphertext, and any bytes as clear text.
#![no_main]

use im_codec::text::TextCipher;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let cipher = TextCipher::default();
    if let Ok(clear) = cipher.decrypt(data) {
        assert!(clear.len() <= data.len());
    }
    match cipher.encrypt(data) {
        Ok(secret) => assert_eq!(cipher.decrypt(secret.as_bytes()).as_deref(), Ok(data)),
        Err(_) => assert!(data.is_empty()),
    }
});
