//! How far an import is, as the store keeps it with the rows.

use im_store::TransferState;
use serde::{Deserialize, Serialize};

use crate::MigrateError;
use crate::window::Position;

/// The state of the messages.
const MESSAGES: &str = "teamtalk/messages";
/// Begins the names of conversations that turned out not to be dense.
pub(crate) const TURNED: &str = "teamtalk/renumbered/";
/// Begins all of them.
pub(crate) const ALL: &str = "teamtalk/";

/// How far the messages are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// Where the log ended with it.
    pub(crate) end: u64,
    /// One for each table.
    pub(crate) tables: Vec<Position>,
    /// Rows that were read and are not stored yet, by table and key.
    pub(crate) held: Vec<(usize, u32)>,
}

impl Saved {
    /// As the store keeps it.
    pub(crate) fn state(&self) -> Result<TransferState, MigrateError> {
        let value = serde_json::to_vec(self);
        Ok(TransferState {
            name: MESSAGES.to_owned(),
            value: value.map_err(|error| MigrateError::State(error.to_string()))?,
        })
    }
}

/// That a conversation turned out not to be dense.
pub(crate) fn turned(conversation: u64) -> TransferState {
    TransferState {
        name: format!("{TURNED}{conversation}"),
        value: Vec::new(),
    }
}

/// What the store has of an import: how far it is, and the conversations that turned out not to be dense.
pub(crate) fn read(states: &[TransferState]) -> Result<(Option<Saved>, Vec<u64>), MigrateError> {
    let mut saved = None;
    let mut turned = Vec::new();
    for TransferState { name, value } in states {
        let odd = |why: String| MigrateError::State(format!("{name}: {why}"));
        if name == MESSAGES {
            saved = Some(serde_json::from_slice(value).map_err(|error| odd(error.to_string()))?);
        } else if let Some(number) = name.strip_prefix(TURNED) {
            turned.push(number.parse().map_err(|_| odd("no number".to_owned()))?);
        }
    }
    Ok((saved, turned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_read_again_and_what_makes_no_sense_is_named() {
        let saved = Saved {
            end: 7,
            tables: vec![
                Position {
                    from: 3,
                    above: [5, 9].into(),
                },
                Position::default(),
            ],
            held: vec![(1, 4)],
        };
        let mut states = vec![saved.state().unwrap(), turned(1 << 32 | 2)];
        let read_again = read(&states).unwrap();
        assert_eq!(read_again, (Some(saved), vec![1 << 32 | 2]));
        states[0].value = b"{".to_vec();
        let error = read(&states).unwrap_err().to_string();
        assert!(error.contains("teamtalk/messages"), "{error}");
    }
}
