//! Members of groups, and sessions that their users have removed: when all messages are there.

use std::collections::{BTreeSet, HashMap, HashSet};

use im_core::time::UnixSeconds;
use im_core::{Conversation, GroupId, Peer, UserId};
use im_store::{
    ConversationState, OpenStore, ReadLimit, TransferBatch, TransferredMember, TransferredView,
};

use crate::MigrateError;
use crate::import::Target;
use crate::judge::Judge;
use crate::oddities::OddityKind;
use crate::people::count;
use crate::report::Counts;
use crate::source::{MemberSource, SessionSource, Source};

/// Takes them over. Members of `removed` groups have left.
pub(crate) async fn run(
    source: &mut Source,
    target: &Target<'_>,
    removed: &HashSet<u32>,
    judge: &mut Judge,
    counts: &mut Counts,
) -> Result<(), MigrateError> {
    let mut after = (0, 0);
    loop {
        let rows = source.members(after).await?;
        let Some(last) = rows.last() else { break };
        after = (last.group, last.user);
        let members = members(&rows, target, removed, judge).await?;
        counts.members += count(&members);
        let batch = TransferBatch {
            members,
            ..TransferBatch::default()
        };
        target.transfer(batch).await?;
    }
    let mut after = SessionSource {
        user: 0,
        peer: 0,
        kind: 0,
    };
    loop {
        let rows = source.removed_sessions(after).await?;
        let Some(last) = rows.last() else { break };
        after = *last;
        let views = removed_views(&rows, target).await?;
        counts.removed_sessions += count(&views);
        let batch = TransferBatch {
            views,
            ..TransferBatch::default()
        };
        target.transfer(batch).await?;
    }
    Ok(())
}

async fn members(
    rows: &[MemberSource],
    target: &Target<'_>,
    removed: &HashSet<u32>,
    judge: &mut Judge,
) -> Result<Vec<TransferredMember>, MigrateError> {
    let groups: BTreeSet<u32> = rows.iter().map(|row| row.group).collect();
    let wanted = groups.iter().copied().filter_map(GroupId::from_wire);
    let wanted: Vec<_> = wanted.map(Conversation::Group).collect();
    let states = states(target, &wanted).await?;
    let mut joins = HashMap::new();
    let mut members = Vec::with_capacity(rows.len());
    for row in rows {
        let here = || format!("user {} of group {}", row.user, row.group);
        let ids = GroupId::from_wire(row.group).zip(UserId::from_wire(row.user));
        let found = ids.and_then(|(group, user)| {
            let state = states.get(&Conversation::Group(group))?;
            let is_known = judge.known.groups.contains(&row.group);
            is_known.then_some((group, user, state))
        });
        let Some((group, user, state)) = found else {
            judge.oddities.note(OddityKind::NoMember, here);
            continue;
        };
        if row.rows > 1 {
            judge.oddities.note(OddityKind::SameMember, here);
        }
        let last = state.last_id;
        let key = (row.group, row.joined);
        let joined_id = match joins.get(&key) {
            Some(joined) => *joined,
            None => {
                let joined = before(target.store, group, row.joined, last).await?;
                joins.insert(key, joined);
                joined
            }
        };
        members.push(TransferredMember {
            group,
            user,
            active: row.status == 0 && !removed.contains(&row.group),
            joined_id,
            read_id: last,
            created: UnixSeconds::from_wire(row.created),
            updated: UnixSeconds::from_wire(row.updated.max(row.created)),
        });
    }
    Ok(members)
}

/// The newest id of a group's messages that are older than a time: whoever joined then sees those behind it.
async fn before(
    store: &dyn OpenStore,
    group: GroupId,
    time: u32,
    last: u32,
) -> Result<u32, MigrateError> {
    // `low` is older or 0, `high` is not or behind the last.
    let (mut low, mut high) = (0, last.saturating_add(1));
    // Most have been there from the beginning.
    let mut middle = 1;
    while high - low > 1 {
        let conversation = Conversation::Group(group);
        let found = store
            .by_ids(conversation, &[middle], 0, ReadLimit::rows(1))
            .await?;
        let is_older = found.first().is_some_and(|one| one.time.get() < time);
        if is_older {
            low = middle;
        } else {
            high = middle;
        }
        middle = low + (high - low) / 2;
    }
    Ok(low)
}

async fn removed_views(
    rows: &[SessionSource],
    target: &Target<'_>,
) -> Result<Vec<TransferredView>, MigrateError> {
    let of = |row: &SessionSource| {
        let user = UserId::from_wire(row.user)?;
        let peer = Peer::from_wire(row.kind, row.peer)?;
        Some((user, Conversation::of(user, peer)?))
    };
    let wanted: BTreeSet<_> = rows.iter().filter_map(of).map(|(_, of)| of).collect();
    let wanted: Vec<_> = wanted.into_iter().collect();
    let states = states(target, &wanted).await?;
    let views = rows
        .iter()
        .filter_map(of)
        .filter_map(|(user, conversation)| {
            let last = states.get(&conversation)?.last_id;
            (last > 0).then_some(TransferredView {
                user,
                conversation,
                read_id: None,
                removed_at: Some(last),
                shield: None,
            })
        });
    Ok(views.collect())
}

/// The states of conversations that are there.
pub(crate) async fn states(
    target: &Target<'_>,
    wanted: &[Conversation],
) -> Result<HashMap<Conversation, ConversationState>, MigrateError> {
    let found = target.store.conversation_states(wanted).await?;
    let found = wanted.iter().copied().zip(found);
    Ok(found
        .filter_map(|(conversation, state)| Some((conversation, state?)))
        .collect())
}
