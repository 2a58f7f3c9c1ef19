//! What an import tells: how far it is, and what it has done.

use serde::Serialize;

use crate::oddities::Oddity;

/// What an import is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Looks at all ids of the original.
    Looking,
    /// People, departments and groups.
    People,
    /// Messages.
    Messages,
    /// Members, read positions, removed sessions.
    Members,
    /// Compares both sides.
    Comparing,
    /// Reads a store, or an archive of one.
    Reading,
    /// Fills a store.
    Filling,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// At what.
    pub stage: Stage,
    /// Rows that are done in this stage.
    pub done: u64,
    /// Rows that there may be at most; 0 where that is not known.
    pub most: u64,
}

/// How many there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Accounts that were read.
    pub accounts: u64,
    /// Departments.
    pub departments: u64,
    /// Links that clients show.
    pub discovery_items: u64,
    /// Groups.
    pub groups: u64,
    /// Members of groups, and those who have left.
    pub members: u64,
    /// Sessions that their users have removed.
    pub removed_sessions: u64,
    /// Conversations with unread messages, from Redis.
    pub unread: u64,
    /// Silenced groups, from Redis.
    pub silenced: u64,
    /// Rows of the tables of messages that were read, those that are left out included.
    pub rows: u64,
    /// Messages that were written.
    pub messages: u64,
    /// Of those, how many have another id now.
    pub renumbered: u64,
}

/// A conversation that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which one.
    pub conversation: String,
    /// Messages that the original has more than the store; 0 where they are as many, but others.
    pub more: i64,
}

/// What comparing both sides has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Messages of the original.
    pub messages: u64,
    /// Conversations that are not the same; at least so many when `whole` is false.
    pub different: u64,
    /// Whether all was compared: it ends early beyond a million conversations that are not the same.
    pub whole: bool,
    /// The first of them.
    pub examples: Vec<Difference>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Nothing was written.
    pub dry_run: bool,
    /// It went on behind an earlier import.
    pub resumed: bool,
    /// How many of each.
    pub counts: Counts,
    /// What was not as it should be.
    pub oddities: Vec<Oddity>,
    /// What comparing has found, if it was asked for.
    pub verification: Option<Verification>,
}

impl Report {
    /// Whether both sides are the same, as far as they were compared.
    pub fn is_good(&self) -> bool {
        let same = self.verification.as_ref();
        same.is_none_or(|found| found.different == 0 && found.whole)
    }

    /// In words, one line each.
    pub fn words(&self) -> Vec<String> {
        let Counts {
            accounts,
            departments,
            discovery_items,
            groups,
            members,
            removed_sessions,
            unread,
            silenced,
            rows,
            messages,
            renumbered,
        } = self.counts;
        let mut lines = Vec::new();
        if self.dry_run {
            lines.push("nothing was written".to_owned());
        }
        if self.resumed {
            lines.push("went on behind an earlier import".to_owned());
        }
        lines.push(format!(
            "{accounts} accounts, {departments} departments, {groups} groups, {members} members, {discovery_items} links"
        ));
        lines.push(format!(
            "{removed_sessions} removed sessions, {unread} conversations with unread messages, {silenced} silenced groups"
        ));
        lines.push(format!(
            "{rows} rows of messages read, {messages} written, {renumbered} of them under another id"
        ));
        for Oddity {
            says,
            count,
            examples,
            ..
        } in &self.oddities
        {
            lines.push(format!("{count} {says} ({})", examples.join("; ")));
        }
        if let Some(found) = &self.verification {
            lines.push(found.words());
        }
        lines
    }
}

impl Verification {
    fn words(&self) -> String {
        if self.different == 0 && self.whole {
            return format!(
                "compared: the {} messages of the original are the same in the store",
                self.messages
            );
        }
        let examples = self.examples.iter().map(|one| match one.more {
            0 => format!("{}: other messages", one.conversation),
            more if more > 0 => format!("{}: {more} are missing in the store", one.conversation),
            more => format!(
                "{}: the store has {} more",
                one.conversation,
                more.unsigned_abs()
            ),
        });
        let least = if self.whole { "" } else { "at least " };
        format!(
            "compared: {least}{} conversations are NOT the same ({})",
            self.different,
            examples.collect::<Vec<_>>().join("; ")
        )
    }
}
