//! How messages look on the terminal.

use im_client::codec::text::TextCipher;
use im_client::pictures::{Piece, pieces};
use im_client::proto::base::MsgType;

/// The clear text of a message, or what stands for it. Control characters could drive the
/// terminal, so they are replaced.
pub(super) fn content(cipher: &TextCipher, msg_type: i32, data: &[u8]) -> String {
    match MsgType::try_from(msg_type) {
        Ok(MsgType::SingleText | MsgType::GroupText) => match cipher.decrypt(data) {
            Ok(text) => message(&readable(&String::from_utf8_lossy(&text))),
            Err(_) => "(text that cannot be decrypted)".to_owned(),
        },
        Ok(MsgType::SingleAudio | MsgType::GroupAudio) => match data.first_chunk::<4>() {
            Some(seconds) => format!("(voice message, {} s)", u32::from_be_bytes(*seconds)),
            None => "(voice message)".to_owned(),
        },
        Err(_) => "(unknown kind of message)".to_owned(),
    }
}

/// The clear text as it was written; nothing of what is no text.
pub(super) fn text(cipher: &TextCipher, msg_type: i32, data: &[u8]) -> String {
    match MsgType::try_from(msg_type) {
        Ok(MsgType::SingleText | MsgType::GroupText) => {
            let text = cipher.decrypt(data).unwrap_or_default();
            String::from_utf8_lossy(&text).into_owned()
        }
        _ => String::new(),
    }
}

/// A text with its pictures named.
pub(super) fn readable(text: &str) -> String {
    let shown = pieces(text).into_iter().map(|piece| match piece {
        Piece::Text(words) => words.to_owned(),
        Piece::Picture(url) => format!("(picture {url})"),
    });
    shown.collect()
}

/// On one line, without anything that drives the terminal.
pub(super) fn printable(text: &str) -> String {
    im_core::text::printable(text).into_owned()
}

/// The same of a text of several lines: those below the first are indented, so that none of them looks
/// like somebody else's.
fn message(text: &str) -> String {
    let lines = text.trim_end_matches(['\r', '\n']).lines();
    let lines: Vec<String> = lines
        .map(|line| printable(&line.replace('\t', "    ")))
        .collect();
    lines.join("\n        ")
}

/// Hour and minute of a Unix time here; with the date unless it is today.
pub(super) fn clock(seconds: u32, now: u32) -> String {
    let zone = jiff::tz::TimeZone::system();
    let local = |seconds: u32| {
        jiff::Timestamp::from_second(i64::from(seconds))
            .map(|time| time.to_zoned(zone.clone()))
            .ok()
    };
    match (local(seconds), local(now)) {
        (Some(time), Some(now)) if time.date() == now.date() => time.strftime("%H:%M").to_string(),
        (Some(time), _) => time.strftime("%Y-%m-%d %H:%M").to_string(),
        (None, _) => seconds.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_the_cursor_is_printed() {
        let cipher = TextCipher::default();
        for (text, shown) in [
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("nna\u{202e}", "nna\\u{202e}"),
            ("a\r\n[12:00] Ben: no\n", "a\n        [12:00] Ben: no"),
            ("\tx", "    x"),
            (
                "see &$#@~^@[{:http://a/1.png:}]&$~@#@!",
                "see (picture http://a/1.png)!",
            ),
        ] {
            let data = cipher.encrypt(text.as_bytes()).unwrap();
            assert_eq!(content(&cipher, 1, data.as_bytes()), shown);
        }
        assert_eq!(content(&cipher, 1, b"?"), "(text that cannot be decrypted)");
        assert_eq!(
            content(&cipher, 2, &[0, 0, 0, 3, 9]),
            "(voice message, 3 s)"
        );
    }

    #[test]
    fn only_other_days_show_their_date() {
        let now = 1_763_700_000;
        assert_eq!(clock(now, now).len(), "12:34".len());
        assert_eq!(clock(now - 3 * 86_400, now).len(), "2025-11-18 12:34".len());
    }
}
