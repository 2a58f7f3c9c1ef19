use md5::{Digest, Md5};

use super::*;

/// Printed by the library of the original clients.
const VECTORS: &[(&[u8], &str)] = &[
    (b"a", "8+lyaGSNdKxdsEEADyYxvw=="),
    (b"abc", "dIbTLhlolfiUHySIDbcC4Q=="),
    (b"hello", "nnZSBwfPCz60q69ddmfIJA=="),
    ("你好".as_bytes(), "UKheN9KmjZEOcj7ZdGedvw=="),
    (
        "测试一下系".as_bytes(),
        "QwB9cUDDjum6+FCm3O2Z8FzIdZRUsFN9eOwYZegap80=",
    ),
    ("[语音]".as_bytes(), "QhGXlpFjvMFUNrtl1aaPzA=="),
    (b"0123456789a", "xtwmvU8+ycWGsHDinxJ4OA=="),
    (b"0123456789ab", "pjioVtcJuh77LuSiew7aJw=="),
    (
        b"0123456789abc",
        "TAzR6N1CfvlADH+XckBekQr+GZ43+2mMfQMFqTsGBjY=",
    ),
    (
        b"0123456789abcd",
        "Rlbn1LN80nLF0+DTaMDu3XWXrZFfV+UBo37vcxL/NUY=",
    ),
    (
        b"0123456789abcde",
        "a3gZG+WxoUhb34fgUu4t/lzIdZRUsFN9eOwYZegap80=",
    ),
    (
        b"0123456789abcdef",
        "BY1wZOT9JPljcE5qNjw9cQfU6OB7fpsvZh6GP3dYB9g=",
    ),
    (
        b"0123456789abcdefg",
        "BY1wZOT9JPljcE5qNjw9cb8KZIXw13vDXaQLNJ72xE4=",
    ),
    (
        b"0123456789abcdefghijklmnopq",
        "BY1wZOT9JPljcE5qNjw9cQoX0Lx+wPua+a3bG+i2+4A=",
    ),
    (
        b"0123456789abcdefghijklmnopqr",
        "BY1wZOT9JPljcE5qNjw9cYhflm0LJDSNwlR7shHyL8g=",
    ),
    (
        b"0123456789abcdefghijklmnopqrs",
        "BY1wZOT9JPljcE5qNjw9ccNfNPhjsY1C7ImDdBMQTSHgAjGO8xbyD9tUy63YSSIG",
    ),
    (
        b"0123456789abcdefghijklmnopqrstu",
        "BY1wZOT9JPljcE5qNjw9cTlc69kKYZhOF8ZnA28HojhHKToxFDimz7C6XaPPPsPH",
    ),
    (
        b"0123456789abcdefghijklmnopqrstuv",
        "BY1wZOT9JPljcE5qNjw9cVzCT0QE8ifsZlmPqG2hzV5d5ib/7yMH525m4ID/jXE3",
    ),
    (
        b"0123456789abcdefghijklmnopqrstuvw",
        "BY1wZOT9JPljcE5qNjw9cVzCT0QE8ifsZlmPqG2hzV5zUxqcj3nDo/shXVnZWLis",
    ),
    (
        b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH",
        "BY1wZOT9JPljcE5qNjw9cVzCT0QE8ifsZlmPqG2hzV5ICLWbTbL2X/TKBOFPeLje",
    ),
    (
        b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHI",
        "BY1wZOT9JPljcE5qNjw9cVzCT0QE8ifsZlmPqG2hzV58hUhPbGArbIjRRmIYDgwdrF1ZRq04hpBraEeYfBkKkA==",
    ),
    (
        b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL",
        "BY1wZOT9JPljcE5qNjw9cVzCT0QE8ifsZlmPqG2hzV5l/Dqu9ccq5dz8RNPkJ5E5QsaGdXAbAz40WnyMGQayQQ==",
    ),
    (
        b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01",
        "BY1wZOT9JPljcE5qNjw9cVzCT0QE8ifsZlmPqG2hzV5l/Dqu9ccq5dz8RNPkJ5E5S50Fn7Nudhao4T8lYYq19cnohMByKVGA1RWLpS+E6JM=",
    ),
    ("😀".as_bytes(), "JY6zvGh+Pftwlm2lDS+Jiw=="),
    (
        "Hi 😀 世界".as_bytes(),
        "z00Wd7n0ZyV2natAQ6NOkHWXrZFfV+UBo37vcxL/NUY=",
    ),
    (b"\xed\xa0\xbd\xed\xb8\x80", "UmPt3lrb+bibYmsCmIqUcQ=="),
    (
        b"&$#@~^@[{:http://127.0.0.1:8700/g0/000/000/1428567890123456_140002.png:}]&$~@#@",
        "dgjzZcuwYVvgiMtBlzoa8eN8fHjZTwqiCiw3dkhroNnWF/qgmrunpXXARBygcixF3ft5iNKdtP+JakAehaqRzTn4q+GKO14J7yfizkrDyaVBAVnzCKm5LegjPyoRSA02",
    ),
    (
        b"hello &$#@~^@[{:http://10.0.0.5:8700/g0/000/000/1_2_320x240.jpg:}]&$~@#@ world",
        "kz6scIg+2elrFq5WK9Y7wk72rpZ5JUFiPUZYvVN0Ygh+yXqnNMa6IFmJSy8Z4+EfCraPYlQ3SlnG7LCga4KEbpor/Y9TxheGC87pLZteSJvs99ZazTMMX56fF5qDkbSW",
    ),
    (
        "[牙牙撒花]".as_bytes(),
        "qhNqCFdnwq2CTnAZHFBZKHWXrZFfV+UBo37vcxL/NUY=",
    ),
    (b"line1\r\nline2", "PDu3Ibb3BKPC283JN/HgJQ=="),
    (b"\x61\x00\x62", "oeKKVpzRf9DwemsUTRYWNw=="),
];

fn bytes_of(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|digits| u8::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap())
        .collect()
}

/// Encrypts blocks as they are, however they are padded.
fn encrypt_blocks(clear: &[u8]) -> String {
    let mut bytes = clear.to_vec();
    let (blocks, rest) = Array::slice_as_chunks_mut(&mut bytes);
    assert!(rest.is_empty());
    TextCipher::default().aes.encrypt_blocks(blocks);
    STANDARD.encode(bytes)
}

#[test]
fn texts_encrypt_as_the_original_library_does() {
    let cipher = TextCipher::default();
    for (clear, secret) in VECTORS {
        assert_eq!(cipher.encrypt(clear).as_deref(), Ok(*secret));
        assert_eq!(cipher.decrypt(secret.as_bytes()).as_deref(), Ok(*clear));
    }
}

#[test]
fn long_texts_encrypt_as_the_original_library_does() {
    let cipher = TextCipher::default();
    for (count, length, digest) in [
        (255, 364, "b4121f8329dc06fef75b9d86e5393b64"),
        (256, 364, "161c2deb17d9f9c259967cab045fc10b"),
        (1000, 1344, "671cd25264f9ec17a8fe2e5c0763df6b"),
        (4096, 5484, "c06c3a68679cd17bb5c21fb39528a1b7"),
    ] {
        let clear = vec![b'x'; count];
        let secret = cipher.encrypt(&clear).unwrap();
        assert_eq!(secret.len(), length);
        assert_eq!(Md5::digest(&secret).as_slice(), bytes_of(digest));
        assert_eq!(cipher.decrypt(secret.as_bytes()), Ok(clear));
    }
}

#[test]
fn the_length_stands_at_the_end_of_the_last_block() {
    for (secret, blocks) in [
        (
            "8+lyaGSNdKxdsEEADyYxvw==",
            "61000000000000000000000000000001",
        ),
        (
            "UKheN9KmjZEOcj7ZdGedvw==",
            "e4bda0e5a5bd00000000000000000006",
        ),
        (
            "pjioVtcJuh77LuSiew7aJw==",
            "3031323334353637383961620000000c",
        ),
        (
            "TAzR6N1CfvlADH+XckBekQr+GZ43+2mMfQMFqTsGBjY=",
            "303132333435363738396162630000000000000000000000000000000000000d",
        ),
        (
            "BY1wZOT9JPljcE5qNjw9cQfU6OB7fpsvZh6GP3dYB9g=",
            "3031323334353637383961626364656600000000000000000000000000000010",
        ),
    ] {
        assert_eq!(encrypt_blocks(&bytes_of(blocks)), secret);
    }
}

#[test]
fn the_placeholder_is_the_encrypted_word_voice() {
    let cipher = TextCipher::default();
    assert_eq!(
        cipher.encrypt("[语音]".as_bytes()).as_deref(),
        Ok(VOICE_PLACEHOLDER)
    );
}

#[test]
fn white_space_and_padding_characters_are_of_no_account() {
    let cipher = TextCipher::default();
    let clear = "测试一下".as_bytes();
    for secret in [
        "9IELmyN7fAqqsTe5bGFUSg==",
        "9IELmyN7fAqq\r\nsTe5bGFUSg",
        " 9IELmyN7fAqqsTe5bGFUSg=\t",
        "9I=EL=myN7fAqqsTe5bGFUSg\u{b}\u{c}",
        // Bits that fill no byte.
        "9IELmyN7fAqqsTe5bGFUSh",
    ] {
        assert_eq!(
            cipher.decrypt(secret.as_bytes()).as_deref(),
            Ok(clear),
            "{secret}"
        );
    }
}

#[test]
fn more_blocks_than_needed_are_accepted() {
    let cipher = TextCipher::default();
    for (secret, clear) in [
        ("ClDKUwlVIS2dKkjkeVCgMXhBcO9Py71/6d9d2PDnimM=", "abc"),
        (
            "BY1wZOT9JPljcE5qNjw9cXuUZ55SZL+EBpxoZDMH74AH1Ojge36bL2Yehj93WAfY",
            "0123456789abcdef",
        ),
        ("IAXPK8Ea6rjD8A3pFzq613EIj09F1+nyVcH4WpMg+fc=", "你好"),
    ] {
        assert_eq!(
            cipher.decrypt(secret.as_bytes()).as_deref(),
            Ok(clear.as_bytes())
        );
    }
}

#[test]
fn failures_have_the_numbers_of_the_original() {
    let cipher = TextCipher::default();
    let number = |secret: &[u8]| cipher.decrypt(secret).map_err(TextError::number);
    assert_eq!(cipher.encrypt(b"").map_err(TextError::number), Err(-1));
    assert_eq!(number(b""), Err(-1));
    for secret in [
        &b"!!!!"[..],
        b"====",
        b" \n",
        b"A",
        b"9IELmyN7fAqqsTe5bGFUSg\xff\xff",
        b"-_-_",
    ] {
        assert_eq!(number(secret), Err(-2), "{secret:?}");
    }
    assert_eq!(number(b"YWJj"), Err(-3));
    let too_long = encrypt_blocks(&bytes_of("61000000000000000000000000000011"));
    assert_eq!(number(too_long.as_bytes()), Err(-4));
    let just_fits = encrypt_blocks(&bytes_of("61000000000000000000000000000010"));
    assert_eq!(
        number(just_fits.as_bytes()).map(|clear| clear.len()),
        Ok(16)
    );
}

#[test]
fn only_ciphertext_of_this_key_is_fit_for_delivery() {
    let cipher = TextCipher::default();
    assert!(cipher.is_ciphertext(VOICE_PLACEHOLDER.as_bytes()));
    let long = cipher.decrypt(LONG_PLACEHOLDER.as_bytes()).unwrap();
    assert_eq!(long, "[长消息]".as_bytes());
    assert!(!cipher.is_ciphertext("hello".as_bytes()));
    assert!(!cipher.is_ciphertext(b"OggS\0\x02"));
    let other = TextCipher::new(&[7; 32]);
    let secret = other.encrypt(b"abc").unwrap();
    assert_eq!(other.decrypt(secret.as_bytes()).as_deref(), Ok(&b"abc"[..]));
    assert!(!cipher.is_ciphertext(secret.as_bytes()));
}

#[test]
fn a_cipher_is_named_without_its_key() {
    assert_eq!(format!("{:?}", TextCipher::default()), "TextCipher");
}
