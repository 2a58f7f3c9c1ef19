//! What is asked of this server in a file: to let all of its clients go, or some. Pure.
//!
//! One line of words: `drain KEY RATE` or `shed KEY SESSIONS RATE`, sessions per second. A key names what
//! is asked; it has no blanks.

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Nothing: what was asked before is taken back.
    #[default]
    Nothing,
    /// Nobody new is taken, and all go.
    Drain {
        /// Names it.
        key: String,
        /// At most so many sessions a second.
        per_second: u32,
    },
    /// Some go, the idlest first. Under one key once.
    Shed {
        /// Names it.
        key: String,
        /// So many sessions.
        sessions: u32,
        /// At most so many a second.
        per_second: u32,
    },
}

impl Ask {
    /// Reads a text without blanks around it; `None` if it asks for nothing that there is.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let number = |word: &str| word.parse().ok();
        match *words.as_slice() {
            [] => Some(Self::Nothing),
            ["drain", key, rate] => Some(Self::Drain {
                key: key.to_owned(),
                per_second: number(rate)?,
            }),
            ["shed", key, sessions, rate] => Some(Self::Shed {
                key: key.to_owned(),
                sessions: number(sessions)?,
                per_second: number(rate)?,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_one_line_of_words() {
        assert_eq!(Ask::parse(""), Some(Ask::Nothing));
        let (key, per_second) = ("2026-11-30T22:00:00Z".to_owned(), 250);
        assert_eq!(
            Ask::parse("drain 2026-11-30T22:00:00Z 250"),
            Some(Ask::Drain {
                key: key.clone(),
                per_second
            })
        );
        assert_eq!(
            Ask::parse("shed 2026-11-30T22:00:00Z  40 250"),
            Some(Ask::Shed {
                key,
                sessions: 40,
                per_second
            })
        );
        for text in [
            "drain",
            "drain a",
            "drain a b",
            "drain a -1",
            "shed a 1",
            "stop",
            "shed a 1 2 3",
        ] {
            assert_eq!(Ask::parse(text), None, "{text}");
        }
    }
}
