//! What of the original is not as it should be: counted, with examples.

use serde::Serialize;

/// Examples that are kept of each kind.
const EXAMPLES: usize = 5;

macro_rules! kinds {
    ($($kind:ident = $says:literal;)*) => {
        /// A kind of oddity.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum OddityKind {
            $(#[doc = $says] $kind,)*
        }

        impl OddityKind {
            const ALL: &[Self] = &[$(Self::$kind),*];

            /// What has become of it, in words.
            pub fn says(self) -> &'static str {
                match self {
                    $(Self::$kind => $says,)*
                }
            }
        }
    };
}

kinds! {
    SameName = "accounts with the name of another: those that could not log in have #ID behind it now";
    NoName = "accounts without a name: they are called user#ID";
    NoPassword = "accounts whose password is not of the original form: they cannot log in until they get one";
    RelativeAvatar = "avatars without a host: give --avatar-base, they were taken as they are";
    SameDepartment = "departments with the name of another at the same place: they have #ID behind it now";
    LostDepartment = "departments whose parent is missing: they stand at the top now";
    UnknownDepartment = "accounts of a department that is missing";
    RemovedGroup = "groups marked as deleted: taken over with their messages, without members";
    GroupType = "groups of an unknown type: taken for temporary ones";
    NoMember = "members of a group that is missing: left out";
    SameMember = "members with several rows: one of them as a member makes them one";
    SameRelation = "pairs with several relations: their messages are one conversation now";
    RemovedRelation = "pairs whose relations are all marked as deleted: taken over";
    SelfRelation = "relations of people with themselves: left out with their messages";
    RemovedMessage = "messages marked as deleted: left out";
    MessageType = "messages of an unknown type: left out";
    NoGroup = "messages to a group that is missing: left out";
    NoSender = "messages without a sender or receiver, or to the sender: left out";
    ForeignRelation = "messages under the relation of other people: left out";
    OtherReceiver = "messages to somebody else than their relation says: taken over as the relation says";
    NoRelation = "messages whose relation is missing: taken over as sender and receiver say";
    UnknownUser = "messages of a sender who has no account: taken over";
    EmptyMessage = "messages without text: taken over, and shown to nobody";
    NoTime = "messages without a time: taken over, at the beginning";
    NoNumber = "messages that were stored without a number (4294967295): they have one now";
    Renumbered = "conversations whose ids were not unique and dense: numbered anew in the order of time";
    Unfinished = "conversations that were numbered anew because a message is missing whose id was to come";
    NoAudio = "audio messages whose row of IMAudio is missing: taken over without sound";
    NoAudioFile = "audio messages whose file is missing: taken over without sound";
    LongAudio = "audio messages that are too long: taken over without sound";
    NoAudioFolder = "audio messages: give --files, they were taken over without sound";
    UnknownCount = "unread counts of conversations or people that are missing: left out";
}

/// A kind, how often, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Oddity {
    /// Which kind.
    pub kind: OddityKind,
    /// In words.
    pub says: &'static str,
    /// How often.
    pub count: u64,
    /// The first few.
    pub examples: Vec<String>,
}

/// All that were seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    seen: Vec<Oddity>,
}

impl Oddities {
    /// Counts one.
    pub fn note(&mut self, kind: OddityKind, example: impl FnOnce() -> String) {
        self.note_many(kind, 1, example);
    }

    /// Counts several of which one is told.
    pub fn note_many(&mut self, kind: OddityKind, count: u64, example: impl FnOnce() -> String) {
        let at = match self.seen.iter().position(|seen| seen.kind == kind) {
            Some(at) => at,
            None => {
                self.seen.push(Oddity {
                    kind,
                    says: kind.says(),
                    count: 0,
                    examples: Vec::new(),
                });
                self.seen.len() - 1
            }
        };
        if let Some(seen) = self.seen.get_mut(at) {
            seen.count += count;
            if seen.examples.len() < EXAMPLES {
                seen.examples.push(example());
            }
        }
    }

    /// How often a kind was seen.
    pub fn count(&self, kind: OddityKind) -> u64 {
        let seen = self.seen.iter().find(|seen| seen.kind == kind);
        seen.map_or(0, |seen| seen.count)
    }

    /// In the order of the kinds.
    pub fn into_list(mut self) -> Vec<Oddity> {
        let place = |kind| OddityKind::ALL.iter().position(|other| *other == kind);
        self.seen.sort_by_key(|seen| place(seen.kind));
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_the_first_are_told() {
        let mut oddities = Oddities::default();
        for n in 0..7 {
            oddities.note(OddityKind::NoTime, || format!("row {n}"));
        }
        oddities.note_many(OddityKind::SameName, 3, || "ann".to_owned());
        assert_eq!(oddities.count(OddityKind::NoTime), 7);
        assert_eq!(oddities.count(OddityKind::NoGroup), 0);
        let list = oddities.into_list();
        let kinds: Vec<_> = list.iter().map(|one| (one.kind, one.count)).collect();
        assert_eq!(kinds, [(OddityKind::SameName, 3), (OddityKind::NoTime, 7)]);
        assert_eq!(list[1].examples.len(), EXAMPLES);
        assert_eq!(list[1].examples[4], "row 4");
    }
}
