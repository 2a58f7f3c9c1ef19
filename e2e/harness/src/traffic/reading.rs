//! What is unread: some conversations are read, the counts told must follow from the history.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use im_client::Client;
use im_core::{GroupId, Peer, UserId};
use im_proto_teamtalk::base::SessionType;

use crate::checker::{Fault, check_unread};
use crate::history::{Stored, Talk};

/// Lets one user read a third of his conversations whole, a third to the middle and a third not at
/// all, and compares every unread count with the history.
pub(super) async fn check(
    client: &Client,
    talks: &BTreeSet<Talk>,
    conversations: &BTreeMap<Talk, Stored>,
) -> anyhow::Result<Vec<Fault>> {
    let user = client.user_id();
    let mut read = Vec::new();
    let own = talks
        .iter()
        .filter_map(|talk| Some((*talk, peer(user, *talk)?)));
    for ((talk, peer), turn) in own.zip(user..) {
        let stored = conversations
            .get(&talk)
            .context("a history that was read")?;
        let newest = stored.messages.last().map_or(0, |(id, ..)| *id);
        let position = match turn % 3 {
            0 => 0,
            1 => newest / 2,
            _ => newest,
        };
        if position > 0 {
            client.read_ack(peer, position).await?;
        }
        read.push((talk, stored, position));
    }
    // Behind the read acks on the same connection.
    let told: BTreeMap<Talk, u32> = client
        .unread()
        .await?
        .unreadinfo_list
        .iter()
        .map(|info| {
            let talk = if info.session_type == SessionType::Group as i32 {
                Talk::Group(info.session_id)
            } else {
                Talk::pair(user, info.session_id)
            };
            (talk, info.unread_cnt)
        })
        .collect();
    Ok(read
        .into_iter()
        .filter_map(|(talk, stored, position)| {
            let found = told.get(&talk).copied().unwrap_or(0);
            check_unread(user, talk, stored, position, found)
        })
        .collect())
}

/// The other end of a conversation of this user; `None` for those of others.
fn peer(user: u32, talk: Talk) -> Option<Peer> {
    match talk {
        Talk::Pair(a, b) if a == user => UserId::from_wire(b).map(Peer::User),
        Talk::Pair(a, b) if b == user => UserId::from_wire(a).map(Peer::User),
        Talk::Pair(..) => None,
        // Everybody is in every group.
        Talk::Group(id) => GroupId::from_wire(id).map(Peer::Group),
    }
}
