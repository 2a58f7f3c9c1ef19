//! What an unknown key was meant to be.

use std::fmt;

/// Names that a message lists; more than these help nobody.
const MOST_NAMES: usize = 8;

/// A refusal of a TOML parser, with at most a few of the names that it would have taken.
#[derive(Debug)]
pub struct TomlError(String);

impl TomlError {
    pub(crate) fn of(error: &toml::de::Error) -> Self {
        let message = error.message();
        Self(error.to_string().replace(message, &shorten(message)))
    }
}

impl fmt::Display for TomlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TomlError {}

/// A message about an unknown key with the nearest known one instead of all of them.
pub(crate) fn shorten(message: &str) -> String {
    let Some((head, list)) = message.split_once(", expected ") else {
        return message.to_owned();
    };
    let Some(unknown) = head
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.strip_suffix('`'))
    else {
        return message.to_owned();
    };
    let known: Vec<&str> = list.split('`').skip(1).step_by(2).collect();
    let near = known
        .iter()
        .map(|name| (distance(unknown, name), *name))
        .filter(|(distance, name)| *distance <= name.len().max(3) / 3)
        .min_by_key(|(distance, _)| *distance);
    match near {
        Some((_, name)) => format!("{head}, perhaps `{name}` is meant"),
        None if known.len() <= MOST_NAMES => message.to_owned(),
        None => format!("{head}; `imd config show` lists all keys"),
    }
}

/// How many characters must be put in, taken out or replaced to make one text of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (n, c) in one.chars().enumerate() {
        let mut left = n + 1;
        let mut next = vec![left];
        for (d, pair) in other.iter().zip(row.windows(2)) {
            if let [diagonal, above] = pair {
                left = (diagonal + usize::from(c != *d))
                    .min(above + 1)
                    .min(left + 1);
                next.push(left);
            }
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_single_changes() {
        for (one, other, expected) in [
            ("", "abc", 3),
            ("rate_limt", "rate_limit", 1),
            ("kitten", "sitting", 3),
            ("same", "same", 0),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_one() {
        let list = "`backlog`, `rate_limit`, `rate_burst`";
        assert_eq!(
            shorten(&format!(
                "unknown field `rate_limt`, expected one of {list}"
            )),
            "unknown field `rate_limt`, perhaps `rate_limit` is meant"
        );
        let few = "unknown field `zzzzzzzz`, expected one of `a`, `b`";
        assert_eq!(shorten(few), few);
        let many: Vec<String> = (0..50).map(|n| format!("`some_key_{n}`")).collect();
        assert_eq!(
            shorten(&format!(
                "unknown field `zzz`, expected one of {}",
                many.join(", ")
            )),
            "unknown field `zzz`; `imd config show` lists all keys"
        );
        assert_eq!(shorten("invalid type: x"), "invalid type: x");
    }
}
