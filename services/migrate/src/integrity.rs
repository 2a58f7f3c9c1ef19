//! Whether what a store holds fits together: pure, over all its rows in the order of
//! [`SECTIONS`](im_store::SECTIONS).
//!
//! *Memory.* Some 80 bytes for each conversation, 8 for each person and group.

use std::collections::{BTreeMap, HashMap, HashSet};

use im_store::{CONVERSATION, Content, ContentPage, MESSAGES, StoreError, Value};
use serde::Serialize;

use crate::judge::name_of;

/// Of each kind, how many are told with their places.
const EXAMPLES: usize = 10;

/// Numbers of groups lie below this one, those of pairs above.
const FIRST_PAIR: u64 = 1 << 32;

/// What does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flaw {
    /// A position of the log is missing, or the log ends elsewhere than its partition says.
    LogHole,
    /// An id of a conversation is missing, and was not skipped by a restore.
    IdHole,
    /// A conversation says something else of its newest message than the message itself.
    Newest,
    /// A message, an inbox or a member of a conversation that does not exist.
    NoConversation,
    /// One of two people has no inbox for their conversation.
    NoInbox,
    /// A conversation of a group that does not exist.
    NoGroup,
    /// A message, an inbox or a member of somebody who does not exist.
    NoAccount,
    /// Of two people, the number of messages of the one does not follow from their authors.
    Count,
}

impl Flaw {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::LogHole => "the log has a hole",
            Self::IdHole => "ids are missing",
            Self::Newest => "the newest message is another one",
            Self::NoConversation => "there is no such conversation",
            Self::NoInbox => "one of both has no inbox",
            Self::NoGroup => "there is no such group",
            Self::NoAccount => "there is no such person",
            Self::Count => "messages of one side are miscounted",
        }
    }
}

/// A kind of flaw that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// How often.
    pub count: u64,
    /// Where, the first times.
    pub examples: Vec<String>,
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Integrity {
    /// Messages.
    pub messages: u64,
    /// Conversations, those without a message too.
    pub conversations: u64,
    /// People, bots and those who were taken out too.
    pub accounts: u64,
    /// The last position of the log.
    pub last_seq: u64,
    /// Messages that were stored before the one before them, by their times: a clock stepped. No flaw.
    pub earlier: u64,
    /// Messages whose body was taken away because it was old. No flaw.
    pub expired: u64,
    /// What does not fit.
    pub flaws: BTreeMap<Flaw, Found>,
}

impl Integrity {
    /// Whether everything fits.
    pub fn is_good(&self) -> bool {
        self.flaws.is_empty()
    }

    /// In words, one line each.
    pub fn words(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{} messages up to position {} in {} conversations of {} people; {} without their bodies, {} times a clock stepped back",
            self.messages,
            self.last_seq,
            self.conversations,
            self.accounts,
            self.expired,
            self.earlier
        )];
        for (flaw, found) in &self.flaws {
            lines.push(format!(
                "{} times {}: {}",
                found.count,
                flaw.words(),
                found.examples.join(", ")
            ));
        }
        lines.push(if self.is_good() {
            "everything fits together".to_owned()
        } else {
            "this store is DAMAGED".to_owned()
        });
        lines
    }

    fn add(&mut self, flaw: Flaw, place: impl FnOnce() -> String) {
        let found = self.flaws.entry(flaw).or_default();
        found.count += 1;
        if found.examples.len() < EXAMPLES {
            found.examples.push(place());
        }
    }
}

/// A message as far as it is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Newest {
    id: u64,
    seq: u64,
    time: u64,
    low_sent: u64,
}

#[derive(Debug, Default)]
struct Conv {
    says: Newest,
    seen: Newest,
    inboxes: u8,
}

/// Takes all rows, one page after the other.
#[derive(Debug, Default)]
pub(crate) struct Inspector {
    integrity: Integrity,
    accounts: HashSet<u64>,
    groups: HashSet<u64>,
    conversations: HashMap<u64, Conv>,
    /// Skipped ids: the last one, by conversation and the id before the first one.
    gaps: HashMap<(u64, u64), u64>,
    last_time: u64,
    is_whole: bool,
}

impl Inspector {
    /// Looks at what comes next.
    ///
    /// # Errors
    /// Rows that do not fit their section.
    pub(crate) fn take(&mut self, content: &Content) -> Result<(), StoreError> {
        match content {
            Content::Counts(_) => {}
            Content::Rows(page) => self.page(page)?,
            Content::End => self.is_whole = true,
        }
        Ok(())
    }

    fn page(&mut self, page: &ContentPage) -> Result<(), StoreError> {
        let section = page.checked()?;
        for row in &page.rows {
            let row = Row(row);
            match section.name {
                "account" => {
                    self.accounts.insert(row.number(0));
                }
                CONVERSATION => self.conversation(&row),
                "id_gap" => {
                    self.gaps
                        .insert((row.number(0), row.number(1)), row.number(2));
                }
                "chat_group" => {
                    self.groups.insert(row.number(0));
                }
                "inbox" => self.inbox(row.number(0), row.number(1)),
                "member" => self.member(row.number(0), row.number(1)),
                MESSAGES => self.message(&row),
                "part" => self.part(row.number(1)),
                _ => {}
            }
        }
        Ok(())
    }

    fn conversation(&mut self, row: &Row<'_>) {
        let says = Newest {
            id: row.number(2),
            seq: row.number(3),
            time: row.number(4),
            low_sent: row.number(5),
        };
        let conv = Conv {
            says,
            ..Conv::default()
        };
        self.conversations.insert(row.number(0), conv);
    }

    fn inbox(&mut self, user: u64, number: u64) {
        self.somebody(user, number);
        match self.conversations.get_mut(&number) {
            Some(conv) => conv.inboxes = conv.inboxes.saturating_add(1),
            None => self.integrity.add(Flaw::NoConversation, || {
                format!("inbox of {user} for {}", name_of(number))
            }),
        }
    }

    fn member(&mut self, number: u64, user: u64) {
        self.somebody(user, number);
        if !self.conversations.contains_key(&number) {
            self.integrity.add(Flaw::NoConversation, || {
                format!("member {user} of {}", name_of(number))
            });
        }
    }

    fn somebody(&mut self, user: u64, number: u64) {
        if !self.accounts.contains(&user) {
            self.integrity
                .add(Flaw::NoAccount, || format!("{user} in {}", name_of(number)));
        }
    }

    /// Messages come in the order of the log.
    fn message(&mut self, row: &Row<'_>) {
        let number = row.number(1);
        let (seq, id, sender) = (row.number(0), row.number(2), row.number(3));
        let (time, low_sent) = (row.number(5), row.number(6));
        let it = &mut self.integrity;
        it.messages += 1;
        if seq != it.last_seq + 1 {
            let last = it.last_seq;
            it.add(Flaw::LogHole, || format!("{seq} follows {last}"));
        }
        it.last_seq = seq;
        it.earlier += u64::from(time < self.last_time);
        self.last_time = time;
        it.expired += u64::from(row.is_empty(8));
        self.somebody(sender, number);
        let it = &mut self.integrity;
        let Some(conv) = self.conversations.get_mut(&number) else {
            it.add(Flaw::NoConversation, || {
                format!("message {id} of {}", name_of(number))
            });
            return;
        };
        let before = conv.seen;
        let skipped = self.gaps.get(&(number, before.id)).copied();
        if id != skipped.unwrap_or(before.id) + 1 {
            it.add(Flaw::IdHole, || {
                format!("{}: {id} follows {}", name_of(number), before.id)
            });
        }
        if number >= FIRST_PAIR {
            let of_low = u64::from(number >> 32 == sender);
            if low_sent != before.low_sent + of_low {
                it.add(Flaw::Count, || format!("{}: message {id}", name_of(number)));
            }
        }
        conv.seen = Newest {
            id,
            seq,
            time,
            low_sent,
        };
    }

    fn part(&mut self, last_seq: u64) {
        let seen = self.integrity.last_seq;
        if last_seq != seen {
            self.integrity.add(Flaw::LogHole, || {
                format!("the log ends at {seen}, and is said to end at {last_seq}")
            });
        }
    }

    /// What all of it amounts to; `None` when the rows did not come to their end.
    pub(crate) fn end(mut self) -> Option<Integrity> {
        if !self.is_whole {
            return None;
        }
        let mut numbers: Vec<_> = self.conversations.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            let Some(conv) = self.conversations.get(&number) else {
                continue;
            };
            // A conversation without a message of its own says nothing of a newest one but what was skipped.
            if conv.seen.id != 0 && conv.seen != conv.says {
                let (says, seen) = (conv.says.id, conv.seen.id);
                self.integrity.add(Flaw::Newest, || {
                    format!("{}: {seen}, and it says {says}", name_of(number))
                });
            }
            let is_pair = number >= FIRST_PAIR;
            if is_pair && conv.inboxes != 2 {
                self.integrity.add(Flaw::NoInbox, || name_of(number));
            }
            if !is_pair && !self.groups.contains(&number) {
                self.integrity.add(Flaw::NoGroup, || name_of(number));
            }
        }
        self.integrity.conversations = count(self.conversations.len());
        self.integrity.accounts = count(self.accounts.len());
        Some(self.integrity)
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Fields by their places; a page has been held against its section.
struct Row<'r>(&'r [Value]);

impl Row<'_> {
    fn number(&self, at: usize) -> u64 {
        match self.0.get(at) {
            Some(Value::Number(number)) => *number,
            _ => 0,
        }
    }

    fn is_empty(&self, at: usize) -> bool {
        matches!(self.0.get(at), Some(Value::Bytes(bytes)) if bytes.is_empty())
    }
}

#[cfg(test)]
mod tests;
