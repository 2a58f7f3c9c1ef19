//! The text of a people file, in whatever encoding it came.

use encoding_rs::{Encoding, GB18030, UTF_8, UTF_16BE, UTF_16LE};

/// Bytes that are looked at for a guess.
const SAMPLE: usize = 64 << 10;

/// A text, and what was assumed to read it.
#[derive(Debug, PartialEq, Eq)]
pub struct Text {
    /// The text, each line of which ends with `\n`.
    pub text: String,
    /// The encoding, where nobody named it and nothing in the file does.
    pub guess: Option<&'static str>,
}

/// The encoding that a label such as `gbk` or `windows-1252` names.
///
/// # Errors
/// There is no such encoding.
pub fn encoding(label: &str) -> Result<&'static Encoding, String> {
    Encoding::for_label(label.as_bytes()).ok_or_else(|| {
        format!(
            "there is no encoding {label:?}; known are utf-8, utf-16le, utf-16be, gb18030, big5, \
             windows-1252, shift_jis, euc-kr, koi8-r and the others of the Encoding Standard"
        )
    })
}

/// Reads bytes: by a mark at their beginning, as the encoding that was named, as UTF-8, or as what they
/// can only be. Every end of a line becomes `\n`.
///
/// # Errors
/// They are no text of that encoding, or of none that can be told.
pub fn decode(bytes: &[u8], named: Option<&'static Encoding>) -> Result<Text, String> {
    let (encoding, guess) = match (Encoding::for_bom(bytes), named) {
        (Some((marked, _)), _) => (marked, false),
        (None, Some(named)) => (named, false),
        (None, None) if std::str::from_utf8(bytes).is_ok() => (UTF_8, false),
        (None, None) => (guess(bytes).ok_or_else(|| not_utf8(bytes))?, true),
    };
    let (text, _, malformed) = encoding.decode(bytes);
    if malformed {
        return Err(format!(
            "the file is no {}: name its encoding with --encoding, over HTTP as charset of Content-Type",
            encoding.name()
        ));
    }
    Ok(Text {
        text: text.replace("\r\n", "\n").replace('\r', "\n"),
        guess: guess.then_some(encoding.name()),
    })
}

/// UTF-16 without a mark, or Chinese in GB18030: what bytes that are no UTF-8 can be told to be.
fn guess(bytes: &[u8]) -> Option<&'static Encoding> {
    let sample = bytes.get(..SAMPLE).unwrap_or(bytes);
    let zeros = |odd: usize| {
        sample
            .iter()
            .skip(odd)
            .step_by(2)
            .filter(|byte| **byte == 0)
            .count()
    };
    let half = sample.len() / 2;
    // Separators and digits are ASCII in every table: half of each such character is zero.
    if half > 0 && zeros(1) * 5 > half && zeros(0) * 20 < half {
        return Some(UTF_16LE);
    }
    if half > 0 && zeros(0) * 5 > half && zeros(1) * 20 < half {
        return Some(UTF_16BE);
    }
    let (_, _, malformed) = GB18030.decode(bytes);
    (!malformed && looks_chinese(sample)).then_some(GB18030)
}

/// Both bytes of the usual Chinese characters are high. In Latin alphabets a high byte mostly stands
/// alone between ASCII letters.
fn looks_chinese(bytes: &[u8]) -> bool {
    let (mut pairs, mut alone) = (0_usize, 0_usize);
    let mut rest = bytes;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first < 0x80 {
            continue;
        }
        match behind.split_first() {
            Some((second, behind)) if *second >= 0xa1 => {
                pairs += 1;
                rest = behind;
            }
            _ => alone += 1,
        }
    }
    pairs > 4 * alone
}

fn not_utf8(bytes: &[u8]) -> String {
    let good = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    let (before, rest) = bytes.split_at(good.min(bytes.len()));
    let line = before.split(|byte| *byte == b'\n').count();
    let byte = rest.first().copied().unwrap_or_default();
    format!(
        "line {line} has the byte 0x{byte:02X}, which is no UTF-8: save the file as UTF-8, or name its \
         encoding, such as --encoding windows-1252 or --encoding gb18030, over HTTP as charset of \
         Content-Type"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEOPLE: &str = "name,nick\nlilei,李雷\nhan,韩梅梅\n";

    fn read(bytes: &[u8]) -> Text {
        decode(bytes, None).unwrap()
    }

    fn utf16(text: &str, mark: bool, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        let mark = mark.then_some(0xfeff);
        mark.into_iter()
            .chain(text.encode_utf16())
            .flat_map(bytes)
            .collect()
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_file() {
        let text = read(format!("\u{feff}{PEOPLE}").as_bytes());
        assert_eq!((text.text.as_str(), text.guess), (PEOPLE, None));
        for bytes in [
            utf16(PEOPLE, true, u16::to_le_bytes),
            utf16(PEOPLE, true, u16::to_be_bytes),
        ] {
            let text = read(&bytes);
            assert_eq!((text.text.as_str(), text.guess), (PEOPLE, None));
        }
    }

    #[test]
    fn utf_16_and_gb18030_are_guessed_and_the_guess_is_named() {
        for (bytes, name) in [
            (utf16(PEOPLE, false, u16::to_le_bytes), "UTF-16LE"),
            (utf16(PEOPLE, false, u16::to_be_bytes), "UTF-16BE"),
            (GB18030.encode(PEOPLE).0.into_owned(), "gb18030"),
        ] {
            let text = read(&bytes);
            assert_eq!((text.text.as_str(), text.guess), (PEOPLE, Some(name)));
        }
    }

    #[test]
    fn latin_letters_are_not_guessed_and_the_line_is_told() {
        let latin = encoding("windows-1252").unwrap();
        let bytes = latin.encode("name,nick\ngérard,Gérard Lévêque\n").0;
        let error = decode(&bytes, None).unwrap_err();
        assert!(
            error.starts_with("line 2 has the byte 0xE9") && error.contains("--encoding"),
            "{error}"
        );
        let text = decode(&bytes, Some(latin)).unwrap();
        assert_eq!(text.text, "name,nick\ngérard,Gérard Lévêque\n");
        assert_eq!(text.guess, None);
        assert!(encoding("klingon").is_err());
        assert!(decode(b"\xff\xfe\xff", Some(encoding("gbk").unwrap())).is_err());
    }

    #[test]
    fn every_end_of_a_line_is_one() {
        for text in ["a\r\nb\r\n", "a\rb\r", "a\nb\n"] {
            assert_eq!(read(text.as_bytes()).text, "a\nb\n");
        }
    }
}
