//! What a request wants of something that never changes: a part of it, or nothing if it has it already.

use std::ops::Range;

/// The part that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// These bytes.
    Range(Range<u64>),
    /// None: what was asked for begins behind the end.
    None,
}

/// The part that a `Range` header asks for. One that is not understood, or that names several parts, asks
/// for nothing in particular, as RFC 9110 has it.
pub(crate) fn part(range: Option<&str>, size: u64) -> Part {
    let Some(spec) = range.and_then(|range| range.trim().strip_prefix("bytes=")) else {
        return Part::Whole;
    };
    let Some((first, last)) = spec.split_once('-') else {
        return Part::Whole;
    };
    let (first, last) = (number(first), number(last));
    let range = match (first, last) {
        (Ok(Some(first)), Ok(Some(last))) if first <= last => {
            first..last.saturating_add(1).min(size)
        }
        (Ok(Some(first)), Ok(None)) => first..size,
        (Ok(None), Ok(Some(count))) => size.saturating_sub(count)..size,
        _ => return Part::Whole,
    };
    if range.is_empty() {
        Part::None
    } else {
        Part::Range(range)
    }
}

/// What is no number.
struct NoNumber;

/// A number, or none where nothing stands. More than fits is the largest one.
fn number(text: &str) -> Result<Option<u64>, NoNumber> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        Ok(Some(text.parse().unwrap_or(u64::MAX)))
    } else {
        Err(NoNumber)
    }
}

/// Whether an `If-None-Match` header names this tag.
pub(crate) fn has_already(if_none_match: Option<&str>, tag: &str) -> bool {
    let weak = |text: &str| text.trim().trim_start_matches("W/") == tag;
    if_none_match.is_some_and(|list| list.trim() == "*" || list.split(',').any(weak))
}

/// Whether a `Range` header counts, with this `If-Range` beside it.
pub(crate) fn may_send_part(if_range: Option<&str>, tag: &str) -> bool {
    if_range.is_none_or(|validator| validator.trim() == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_a_part() {
        for (range, expected) in [
            ("bytes=0-0", 0..1),
            ("bytes=0-99", 0..100),
            ("bytes=0-100", 0..100),
            ("bytes=90-", 90..100),
            ("bytes=-1", 99..100),
            ("bytes=-1000", 0..100),
            (" bytes=1 - 2 ", 1..3),
            ("bytes=5-99999999999999999999999", 5..100),
        ] {
            assert_eq!(part(Some(range), 100), Part::Range(expected), "{range}");
        }
    }

    #[test]
    fn a_range_behind_the_end_has_nothing() {
        for range in [
            "bytes=100-",
            "bytes=100-200",
            "bytes=99999999999999999999999-",
            "bytes=-0",
        ] {
            assert_eq!(part(Some(range), 100), Part::None, "{range}");
        }
        assert_eq!(part(Some("bytes=0-"), 0), Part::None);
    }

    #[test]
    fn what_is_no_range_asks_for_all() {
        assert_eq!(part(None, 100), Part::Whole);
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=2-1",
            "bytes=a-b",
            "bytes=0-1,3-4",
            "lines=0-1",
            "bytes=+1-2",
        ] {
            assert_eq!(part(Some(range), 100), Part::Whole, "{range}");
        }
    }

    #[test]
    fn tags_are_compared_as_texts() {
        let tag = "\"ab\"";
        for list in ["\"ab\"", "W/\"ab\"", "\"x\", \"ab\"", "*", " \"ab\" "] {
            assert!(has_already(Some(list), tag), "{list}");
        }
        for list in ["", "ab", "\"abc\"", "\"AB\""] {
            assert!(!has_already(Some(list), tag), "{list}");
        }
        assert!(!has_already(None, tag));
        assert!(may_send_part(None, tag) && may_send_part(Some(tag), tag));
        assert!(
            !may_send_part(Some("W/\"ab\""), tag),
            "a part needs the very bytes"
        );
        assert!(!may_send_part(Some("Sun, 29 Nov 2026 10:00:00 GMT"), tag));
    }
}
