//! Random conversations against a model that counts message by message.

use std::collections::{BTreeMap, BTreeSet};

use crate::{MemberChange, Preview, ReadPosition, Store};
use im_core::Conversation;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::groups::change;
use crate::contract::log::{Log, at, pair, standing, user};

const USERS: u32 = 4;
const RUNS: u32 = 12;

#[derive(Clone, Debug)]
enum Step {
    Send {
        sender: u32,
        conversation: usize,
    },
    Read {
        reader: u32,
        conversation: usize,
        part: u32,
    },
    Remove {
        reader: u32,
        conversation: usize,
    },
    Leave {
        member: u32,
    },
    Join {
        member: u32,
    },
}

fn step(random: &mut StdRng) -> Step {
    let who = random.random_range(1..=USERS);
    let conversation = random.random_range(0..7);
    match random.random_range(0..15) {
        0..8 => Step::Send {
            sender: who,
            conversation,
        },
        8..12 => Step::Read {
            reader: who,
            conversation,
            part: random.random_range(0..=4),
        },
        12 => Step::Remove {
            reader: who,
            conversation,
        },
        13 => Step::Leave { member: who },
        _ => Step::Join { member: who },
    }
}

/// One conversation as a person would describe it.
#[derive(Default)]
struct Model {
    senders: Vec<u32>,
    times: Vec<u32>,
    /// What each member has not seen, what he may see, and whether his list shows it.
    members: BTreeMap<u32, Seen>,
}

#[derive(Default)]
struct Seen {
    unread: BTreeSet<u32>,
    listed: bool,
}

pub async fn agrees_with_a_naive_model(store: &dyn Store) {
    // The same conversations in every run.
    let mut random = StdRng::seed_from_u64(1);
    let mut log = Log::default();
    for run in 0..RUNS {
        let count = random.random_range(1..120);
        let steps: Vec<Step> = (0..count).map(|_| step(&mut random)).collect();
        play(store, &mut log, run * 100, &steps).await;
    }
}

/// Plays the steps with users of their own, so that runs share a store but nothing else.
async fn play(store: &dyn Store, log: &mut Log, base: u32, steps: &[Step]) {
    let all: Vec<u32> = (base + 1..=base + USERS).collect();
    let group = log.group(store, &all, 1).await;
    let mut conversations = vec![Conversation::Group(group)];
    for a in 1..USERS {
        conversations.extend((a + 1..=USERS).map(|b| pair(base + a, base + b)));
    }
    let mut models: Vec<Model> = conversations.iter().map(|_| Model::default()).collect();
    models[0].members = all.iter().map(|user| (*user, Seen::default())).collect();

    for (time, step) in (10..).zip(steps) {
        match *step {
            Step::Send {
                sender,
                conversation: index,
            } => {
                let (sender, conversation) = (base + sender, conversations[index]);
                let model = &mut models[index];
                if let Conversation::Pair(a, b) = conversation {
                    if sender != a.get() && sender != b.get() {
                        continue;
                    }
                    for member in [a.get(), b.get()] {
                        model.members.entry(member).or_default();
                    }
                } else if !model.members.contains_key(&sender) {
                    continue;
                }
                log.send(sender, conversation, time, "x");
                log.commit(store).await.unwrap();
                model.senders.push(sender);
                model.times.push(time);
                let newest = u32::try_from(model.senders.len()).unwrap();
                for (member, seen) in &mut model.members {
                    seen.listed = true;
                    if *member != sender {
                        seen.unread.insert(newest);
                    }
                }
                if index == 0 {
                    // Sending to a group reads it; the caller's part.
                    model.members.get_mut(&sender).unwrap().unread.clear();
                    read(store, sender, conversation, newest).await;
                }
            }
            Step::Read {
                reader,
                conversation: index,
                part,
            } => {
                let (reader, model) = (base + reader, &mut models[index]);
                let upto = u32::try_from(model.senders.len()).unwrap() * part / 4;
                read(store, reader, conversations[index], upto).await;
                if let Some(seen) = model.members.get_mut(&reader) {
                    seen.unread.retain(|id| *id > upto);
                }
            }
            Step::Remove {
                reader,
                conversation: index,
            } => {
                let reader = base + reader;
                let removed = store
                    .remove_session(user(reader), conversations[index])
                    .await
                    .unwrap();
                let seen = models[index].members.get_mut(&reader);
                let was_listed = seen.map(std::mem::take).is_some_and(|seen| seen.listed);
                if !was_listed && let Some(seen) = models[index].members.get_mut(&reader) {
                    assert!(seen.unread.is_empty());
                }
                assert_eq!(removed, was_listed);
            }
            Step::Leave { member } => {
                let last_id = u32::try_from(models[0].senders.len()).unwrap();
                if models[0].members.remove(&(base + member)).is_some() {
                    let change = change(group, MemberChange::Remove, &[base + member], last_id);
                    store
                        .change_members(standing(store).await, &change)
                        .await
                        .unwrap();
                }
            }
            Step::Join { member } => {
                let last_id = u32::try_from(models[0].senders.len()).unwrap();
                if let std::collections::btree_map::Entry::Vacant(entry) =
                    models[0].members.entry(base + member)
                {
                    entry.insert(Seen::default());
                    let change = change(group, MemberChange::Add, &[base + member], last_id);
                    store
                        .change_members(standing(store).await, &change)
                        .await
                        .unwrap();
                }
            }
        }
    }
    for reader in all {
        check(store, reader, &conversations, &models).await;
    }
}

async fn read(store: &dyn Store, reader: u32, conversation: Conversation, read_id: u32) {
    let position = ReadPosition {
        user: user(reader),
        conversation,
        read_id,
    };
    store.store_read_positions(&[position]).await.unwrap();
}

async fn check(store: &dyn Store, reader: u32, conversations: &[Conversation], models: &[Model]) {
    let mut listed = Vec::new();
    let mut unread = BTreeMap::new();
    for (conversation, model) in conversations.iter().zip(models) {
        let Some(seen) = model.members.get(&reader) else {
            continue;
        };
        if seen.listed {
            listed.push((*model.times.last().unwrap(), *conversation));
        }
        if !seen.unread.is_empty() {
            unread.insert(*conversation, u32::try_from(seen.unread.len()).unwrap());
        }
    }
    listed.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    let listed: Vec<Conversation> = listed.into_iter().map(|(_, which)| which).collect();
    let views = store
        .recent_sessions(user(reader), at(0), Preview::rows(100))
        .await
        .unwrap();
    let seen: Vec<Conversation> = views.iter().map(|view| view.conversation).collect();
    assert_eq!(seen, listed);

    let found = store
        .unread_sessions(user(reader), &[], Preview::rows(100))
        .await
        .unwrap();
    let counts: BTreeMap<Conversation, u32> = found
        .views
        .iter()
        .map(|view| (view.conversation, view.unread(user(reader))))
        .collect();
    assert_eq!(counts, unread);
    let total: u64 = unread.values().copied().map(u64::from).sum();
    assert_eq!(found.total, total);
    let newest = store
        .unread_sessions(user(reader), &[], Preview::rows(1))
        .await
        .unwrap();
    assert_eq!(newest.views.first(), found.views.first());
    assert_eq!(
        (newest.views.len(), newest.total),
        (found.views.len().min(1), total)
    );
}
