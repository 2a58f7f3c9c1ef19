//! Brings into memory what a batch needs.

use std::collections::HashSet;
use std::sync::Arc;

use im_core::{Conversation, UserId};
use im_store::{Store, StoreError};

use super::job::{Incoming, Receiver};
use super::plan::{Known, Memory};
use crate::members::Members;

/// Reads the state of every conversation of the batch that is not remembered. What does not exist is
/// not remembered, except a pair of existing users.
pub(super) async fn load<'a>(
    memory: &mut Memory,
    store: &dyn Store,
    sends: impl Iterator<Item = &'a Incoming>,
) -> Result<(), StoreError> {
    let mut missing = HashSet::new();
    let mut wanted = Vec::new();
    for send in sends {
        let known = match send.receiver() {
            Receiver::User(_) => memory.conversations.touch(&send.conversation),
            Receiver::Group(group) => {
                memory.conversations.touch(&send.conversation) & memory.groups.touch(&group)
            }
        };
        if !known && missing.insert(send.conversation) {
            wanted.push((send.conversation, send.receiver()));
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let conversations: Vec<Conversation> = wanted.iter().map(|(which, _)| *which).collect();
    let states = store.conversation_states(&conversations).await?;
    let mut unspoken = Vec::new();
    for ((conversation, receiver), state) in wanted.into_iter().zip(states) {
        match (state, receiver) {
            (Some(state), _) => {
                if let Conversation::Group(group) = conversation {
                    let members = store.members(group).await?;
                    memory.groups.insert(group, Arc::new(Members::new(members)));
                }
                let known = Known {
                    row: Some(state.row),
                    last_id: state.last_id,
                    low_sent: state.low_sent,
                };
                memory.conversations.insert(conversation, known);
            }
            (None, Receiver::User(user)) => unspoken.push((conversation, user)),
            (None, Receiver::Group(_)) => {}
        }
    }
    load_unspoken(memory, store, unspoken).await
}

/// Pairs without a conversation may have one if the receiver exists.
async fn load_unspoken(
    memory: &mut Memory,
    store: &dyn Store,
    pairs: Vec<(Conversation, UserId)>,
) -> Result<(), StoreError> {
    let mut asked: Vec<UserId> = pairs.iter().map(|(_, user)| *user).collect();
    asked.sort_unstable();
    asked.dedup();
    asked.retain(|user| !memory.users.touch(user));
    if !asked.is_empty() {
        for profile in store.profiles(&asked).await? {
            memory.users.insert(profile.id, ());
        }
    }
    for (conversation, receiver) in pairs {
        if memory.users.contains(&receiver) {
            memory.conversations.insert(
                conversation,
                Known {
                    row: None,
                    last_id: memory.skipped,
                    low_sent: 0,
                },
            );
        }
    }
    Ok(())
}
