//! What two stores are compared by: of each section the rows and their BLAKE3, of each conversation the messages, the newest id
//! and a sum of their hashes.

use std::collections::BTreeSet;
use std::collections::HashMap;

use im_store::{ContentPage, MESSAGES, SECTIONS, Section, Value};

use super::rows::put_row;

/// What is known of a conversation: 32 bytes, so that a million takes some 50 MiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conversation {
    pub(crate) messages: u32,
    /// Its newest id.
    pub(crate) last: u32,
    /// In any order the same; the id is in each of the hashes.
    hashes: u128,
}

/// Sums of what has come so far.
#[derive(Debug)]
pub(crate) struct Summing {
    sections: Vec<(u64, blake3::Hasher)>,
    conversations: HashMap<u64, Conversation>,
}

/// Sums of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Rows, and BLAKE3 of them, by section.
    pub(crate) sections: Vec<(u64, [u8; 32])>,
    /// By the number of the conversation.
    pub(crate) conversations: HashMap<u64, Conversation>,
}

impl Summing {
    pub(crate) fn new() -> Self {
        Self {
            sections: vec![(0, blake3::Hasher::new()); SECTIONS.len()],
            conversations: HashMap::new(),
        }
    }

    /// Adds a page; its rows as bytes. `None` for a section that there is not.
    pub(crate) fn page(&mut self, page: &ContentPage) -> Option<Vec<u8>> {
        let section = SECTIONS.get(page.section)?;
        let (rows, hasher) = self.sections.get_mut(page.section)?;
        let mut bytes = Vec::new();
        for row in &page.rows {
            let from = bytes.len();
            put_row(&mut bytes, section, row);
            *rows += 1;
            if section.name == MESSAGES {
                let row_bytes = bytes.get(from..).unwrap_or_default();
                add_message(&mut self.conversations, section, row, row_bytes);
            }
        }
        hasher.update(&bytes);
        Some(bytes)
    }

    /// Rows of a section so far, and their BLAKE3.
    pub(crate) fn section(&self, place: usize) -> Option<(u64, [u8; 32])> {
        let (rows, hasher) = self.sections.get(place)?;
        Some((*rows, *hasher.finalize().as_bytes()))
    }

    pub(crate) fn finish(self) -> Sums {
        let sections = self.sections.iter();
        let sections = sections.map(|(rows, hasher)| (*rows, *hasher.finalize().as_bytes()));
        Sums {
            sections: sections.collect(),
            conversations: self.conversations,
        }
    }
}

fn add_message(
    conversations: &mut HashMap<u64, Conversation>,
    section: &Section,
    row: &[Value],
    bytes: &[u8],
) {
    let number = |name: &str| {
        let at = section
            .columns
            .iter()
            .position(|column| column.name == name);
        match at.and_then(|at| row.get(at)) {
            Some(Value::Number(number)) => *number,
            _ => 0,
        }
    };
    let found = conversations.entry(number("conv")).or_default();
    found.messages = found.messages.saturating_add(1);
    found.last = found
        .last
        .max(u32::try_from(number("id")).unwrap_or(u32::MAX));
    let mut half = [0; 16];
    let mut hasher = blake3::Hasher::new();
    hasher.update(bytes).finalize_xof().fill(&mut half);
    found.hashes = found.hashes.wrapping_add(u128::from_le_bytes(half));
}

impl Sums {
    /// Sections that are not the same on both sides.
    pub(crate) fn different_sections(&self, other: &Self) -> Vec<&'static str> {
        let both = self.sections.iter().zip(&other.sections);
        let both = SECTIONS.iter().zip(both);
        let different = both.filter(|(_, (one, other))| one != other);
        different.map(|(section, _)| section.name).collect()
    }

    /// Numbers of conversations that are not the same, in order.
    pub(crate) fn different_conversations(&self, other: &Self) -> BTreeSet<u64> {
        let numbers = self.conversations.keys().chain(other.conversations.keys());
        let numbers = numbers.copied();
        let of = |sums: &Self, number: &u64| sums.conversations.get(number).copied();
        numbers
            .filter(|number| of(self, number) != of(other, number))
            .collect()
    }

    /// Messages of a conversation.
    pub(crate) fn messages(&self, number: u64) -> u32 {
        let found = self.conversations.get(&number);
        found.map_or(0, |found| found.messages)
    }
}
