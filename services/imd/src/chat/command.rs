//! What a line means.

use std::time::Duration;

/// The commands, for `/help`.
pub(super) const HELP: &str = "\
/people [TEXT]           everybody, or those whose name contains the text
/groups                  my groups
/with NAME               talk to a person
/group NAME              talk in a group
/history [N]             the last N messages of this conversation (20)
/older [N]               the N messages before the oldest one shown here (20)
/unread                  conversations with unread messages
/file PATH               send a file to this person; it waits for whoever is away
/picture PATH            send a picture to this conversation
/create NAME MEMBER...   make a group
/add MEMBER...           add people to this group
/remove MEMBER...        remove people from this group
/leave                   leave this group
/members                 who is in this group
/expect TEXT [SECONDS]   wait until somebody writes this, or a file of this name is here
                         (10 seconds)
/help                    this list
/quit                    log out
Anything else is sent to the present conversation; start with // to send a text that begins
with /. Names are login names, nicknames, their unique beginnings, or #ID; names with spaces go
in \"quotes\".";

const DEFAULT_HISTORY: u32 = 20;
/// Messages that one command shows.
const MAX_HISTORY: u32 = 10_000;
const DEFAULT_PATIENCE: Duration = Duration::from_secs(10);

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Nothing,
    Say(String),
    People(Option<String>),
    Groups,
    With(String),
    Group(String),
    History(u32),
    Older(u32),
    Unread,
    File(String),
    Picture(String),
    Create { name: String, members: Vec<String> },
    Add(Vec<String>),
    Remove(Vec<String>),
    Leave,
    Members,
    Expect { text: String, patience: Duration },
    Help,
    Quit,
}

/// Why a line means nothing; says what to type instead.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParseError {
    #[error("unknown command {0}; /help lists them")]
    Unknown(String),
    #[error("usage: {0}")]
    Usage(&'static str),
    #[error("a quote is not closed")]
    Quote,
    #[error("1 to {MAX_HISTORY} messages at a time; /older goes on")]
    Count,
}

impl Command {
    pub(super) fn parse(line: &str) -> Result<Self, ParseError> {
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Self::Nothing);
        }
        let Some(rest) = line.strip_prefix('/') else {
            return Ok(Self::Say(line.to_owned()));
        };
        if rest.starts_with('/') {
            return Ok(Self::Say(rest.to_owned()));
        }
        let (word, rest) = match rest.split_once(char::is_whitespace) {
            Some((word, rest)) => (word, rest.trim()),
            None => (rest, ""),
        };
        let words = split(rest)?;
        // A single name may be written without quotes.
        let name = || match words.as_slice() {
            [one] => Some(one.clone()),
            [] => None,
            _ => Some(rest.to_owned()),
        };
        Ok(match word {
            "people" => Self::People(name()),
            "groups" => Self::Groups,
            "with" => Self::With(name().ok_or(ParseError::Usage("/with NAME"))?),
            "group" => Self::Group(name().ok_or(ParseError::Usage("/group NAME"))?),
            "history" => Self::History(count(&words, "/history [N]")?),
            "older" => Self::Older(count(&words, "/older [N]")?),
            "unread" => Self::Unread,
            "file" => Self::File(name().ok_or(ParseError::Usage("/file PATH"))?),
            "picture" => Self::Picture(name().ok_or(ParseError::Usage("/picture PATH"))?),
            "create" => match words.split_first() {
                Some((name, members)) => Self::Create {
                    name: name.clone(),
                    members: members.to_vec(),
                },
                None => return Err(ParseError::Usage("/create NAME MEMBER...")),
            },
            "add" if words.is_empty() => return Err(ParseError::Usage("/add MEMBER...")),
            "add" => Self::Add(words),
            "remove" if words.is_empty() => return Err(ParseError::Usage("/remove MEMBER...")),
            "remove" => Self::Remove(words),
            "leave" => Self::Leave,
            "members" => Self::Members,
            "expect" => Self::expect(words)?,
            "help" => Self::Help,
            "quit" => Self::Quit,
            other => return Err(ParseError::Unknown(format!("/{other}"))),
        })
    }

    /// The last word may be the patience.
    fn expect(mut words: Vec<String>) -> Result<Self, ParseError> {
        let mut patience = DEFAULT_PATIENCE;
        if words.len() > 1
            && let Some(seconds) = words.last().and_then(|word| word.parse().ok())
        {
            patience = Duration::from_secs(seconds);
            words.pop();
        }
        if words.is_empty() {
            return Err(ParseError::Usage("/expect TEXT [SECONDS]"));
        }
        Ok(Self::Expect {
            text: words.join(" "),
            patience,
        })
    }
}

/// How many messages are wanted.
fn count(words: &[String], usage: &'static str) -> Result<u32, ParseError> {
    match words {
        [] => Ok(DEFAULT_HISTORY),
        [count] => match count.parse() {
            Ok(count) if (1..=MAX_HISTORY).contains(&count) => Ok(count),
            Ok(_) => Err(ParseError::Count),
            Err(_) => Err(ParseError::Usage(usage)),
        },
        _ => Err(ParseError::Usage(usage)),
    }
}

/// Words, with those in double quotes kept together.
fn split(text: &str) -> Result<Vec<String>, ParseError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    if quoted {
        return Err(ParseError::Quote);
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_slash_is_said_and_two_slashes_say_one() {
        assert_eq!(Command::parse("hello "), Ok(Command::Say("hello".into())));
        // Code keeps its indentation.
        assert_eq!(Command::parse("  /a"), Ok(Command::Say("  /a".into())));
        assert_eq!(Command::parse("//etc"), Ok(Command::Say("/etc".into())));
        assert_eq!(Command::parse("   "), Ok(Command::Nothing));
    }

    #[test]
    fn names_may_have_spaces() {
        let with = Ok(Command::With("Bob Smith".into()));
        assert_eq!(Command::parse("/with Bob Smith"), with);
        assert_eq!(Command::parse("/with \"Bob Smith\""), with);
        assert_eq!(
            Command::parse("/create \"The team\" bob \"Ann Lee\""),
            Ok(Command::Create {
                name: "The team".into(),
                members: vec!["bob".into(), "Ann Lee".into()],
            })
        );
    }

    #[test]
    fn paths_may_have_spaces() {
        let file = Ok(Command::File("My Documents/a b.txt".into()));
        assert_eq!(Command::parse("/file My Documents/a b.txt"), file);
        assert_eq!(Command::parse("/file \"My Documents/a b.txt\""), file);
        let picture = Ok(Command::Picture("a.png".into()));
        assert_eq!(Command::parse("/picture a.png "), picture);
    }

    #[test]
    fn numbers_are_optional() {
        assert_eq!(Command::parse("/history"), Ok(Command::History(20)));
        assert_eq!(Command::parse("/history 3"), Ok(Command::History(3)));
        assert_eq!(Command::parse("/older 500"), Ok(Command::Older(500)));
        for many in ["/history 0", "/older 10001"] {
            assert_eq!(Command::parse(many), Err(ParseError::Count));
        }
        assert_eq!(
            Command::parse("/expect good morning 2"),
            Ok(Command::Expect {
                text: "good morning".into(),
                patience: Duration::from_secs(2),
            })
        );
        assert_eq!(
            Command::parse("/expect 42"),
            Ok(Command::Expect {
                text: "42".into(),
                patience: DEFAULT_PATIENCE,
            })
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for line in [
            "/dance",
            "/with",
            "/history x",
            "/create",
            "/add",
            "/with \"b",
            "/file",
            "/picture  ",
        ] {
            assert!(Command::parse(line).is_err(), "{line}");
        }
    }
}
