//! What the server of a pod is asked for in an annotation, which it reads as a file.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

/// What a msg server is asked for, in the words of its key `msg.orders_file`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Take nobody new, and let all go.
    Drain {
        /// Since when; it names the order.
        since: Timestamp,
        /// Sessions per second.
        per_second: u32,
    },
    /// Let some go, the idlest first.
    Shed {
        /// Since when; it names the order.
        since: Timestamp,
        /// How many.
        sessions: u32,
        /// Sessions per second.
        per_second: u32,
    },
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drain { since, per_second } => write!(f, "drain {since} {per_second}"),
            Self::Shed {
                since,
                sessions,
                per_second,
            } => write!(f, "shed {since} {sessions} {per_second}"),
        }
    }
}

/// The text of an annotation is no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoOrder;

impl FromStr for Order {
    type Err = NoOrder;

    fn from_str(text: &str) -> Result<Self, NoOrder> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let time = |word: &str| word.parse().map_err(|_| NoOrder);
        let number = |word: &str| word.parse().map_err(|_| NoOrder);
        match *words.as_slice() {
            ["drain", since, per_second] => Ok(Self::Drain {
                since: time(since)?,
                per_second: number(per_second)?,
            }),
            ["shed", since, sessions, per_second] => Ok(Self::Shed {
                since: time(since)?,
                sessions: number(sessions)?,
                per_second: number(per_second)?,
            }),
            _ => Err(NoOrder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_written() {
        let since = Timestamp::constant(1_700_000_000, 5);
        let drain = Order::Drain {
            since,
            per_second: 250,
        };
        assert_eq!(
            drain.to_string(),
            "drain 2023-11-14T22:13:20.000000005Z 250"
        );
        let shed = Order::Shed {
            since,
            sessions: 40,
            per_second: 9,
        };
        for order in [drain, shed] {
            assert_eq!(order.to_string().parse(), Ok(order));
        }
        for text in [
            "",
            "drain",
            "drain now 1",
            "shed 2023-11-14T22:13:20Z 1",
            "stop it",
        ] {
            assert_eq!(text.parse::<Order>(), Err(NoOrder), "{text}");
        }
    }
}
