//! Texts that other people wrote: which characters nobody sees, and how to show them to an administrator.
//!
//! A terminal obeys control characters, and characters that turn the direction of writing or take no
//! room make one text look like another. Names are refused with them; whatever else is shown passes
//! through [`printable`].

use std::borrow::Cow;

/// Joins or keeps apart what stands beside it: in emoji and in several scripts a part of the spelling.
const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];

/// Whether a character is not seen, or changes how others are seen: control characters, marks of
/// direction, blanks without width, separators of lines, tags, fillers.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// The first unseen character and its place, counted from 1. With `joiners`, those that spell emoji
/// and some scripts are no such characters.
pub fn first_unseen(text: &str, joiners: bool) -> Option<(usize, char)> {
    let unseen = |c: char| is_unseen(c) && !(joiners && JOINERS.contains(&c));
    (1..).zip(text.chars()).find(|(_, c)| unseen(*c))
}

/// What the character does, for messages.
pub fn unseen_kind(c: char) -> &'static str {
    match c {
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            "a mark of direction"
        }
        '\t' => "a tab",
        '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => "an end of a line",
        c if c.is_control() => "a control character",
        _ => "an invisible character",
    }
}

/// The text on one line, harmless to a terminal: what is not seen or drives a terminal is written as
/// `\u{1b}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    if first_unseen(text, true).is_none() {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unseen(c) && !JOINERS.contains(&c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drives_a_terminal_or_is_not_seen_is_written_out() {
        for (text, shown) in [
            ("ann", "ann"),
            ("\u{1b}[2Jx\n", "\\u{1b}[2Jx\\u{a}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("nna\u{202e}", "nna\\u{202e}"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("a\u{2028}b", "a\\u{2028}b"),
            ("\u{e0041}", "\\u{e0041}"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn letters_of_all_scripts_and_emoji_stay() {
        for text in [
            "李雷",
            "rene\u{301}",
            "👩\u{200d}💻",
            "می\u{200c}خواهم",
            "שלום",
            "a  b",
        ] {
            assert_eq!(printable(text), text);
        }
    }

    #[test]
    fn the_first_unseen_character_is_found_with_its_place() {
        assert_eq!(first_unseen("an\u{202e}n", false), Some((3, '\u{202e}')));
        assert_eq!(first_unseen("a\u{200d}n", false), Some((2, '\u{200d}')));
        assert_eq!(first_unseen("a\u{200d}n", true), None);
        assert_eq!(first_unseen("李雷", false), None);
        assert_eq!(unseen_kind('\u{202e}'), "a mark of direction");
        assert_eq!(unseen_kind('\u{1b}'), "a control character");
        assert_eq!(unseen_kind('\u{200b}'), "an invisible character");
    }
}
