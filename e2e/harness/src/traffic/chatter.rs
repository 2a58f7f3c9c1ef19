//! One person: a task that talks, a task that listens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use im_client::{Client, Event, Events, Message};
use im_core::Peer;
use rand::seq::IndexedRandom as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::history::{History, Mark, Seen, Talk};

/// The conversation that a user has with a peer.
pub(super) fn talk(user: u32, peer: Peer) -> Talk {
    match peer {
        Peer::User(other) => Talk::pair(user, other.get()),
        Peer::Group(group) => Talk::Group(group.get()),
    }
}

/// Reads the mark out of an encrypted text.
pub(super) fn mark_of(client: &Client, msg_data: &[u8]) -> Option<Mark> {
    let text = client.cipher().decrypt(msg_data).ok()?;
    std::str::from_utf8(&text)
        .ok()?
        .strip_prefix("mark ")?
        .parse()
        .ok()
}

pub(super) struct Speaker {
    pub(super) client: Client,
    pub(super) peers: Vec<Peer>,
    pub(super) pause: Duration,
    pub(super) history: History,
    pub(super) marks: Arc<AtomicU64>,
    pub(super) quiet: CancellationToken,
    pub(super) acks: TaskTracker,
}

/// Talks until asked to be quiet. Each ack is awaited by a task of its own, so that several messages
/// are on their way at once.
pub(super) async fn speak(speaker: Speaker) {
    let Speaker {
        client,
        peers,
        pause,
        history,
        marks,
        quiet,
        acks,
    } = speaker;
    while quiet
        .run_until_cancelled(tokio::time::sleep(pause))
        .await
        .is_some()
    {
        let Some(peer) = peers.choose(&mut rand::rng()).copied() else {
            return;
        };
        let mark = marks.fetch_add(1, Ordering::Relaxed);
        let (sender, talk) = (client.user_id(), talk(client.user_id(), peer));
        history.note(Seen::Sent { sender, talk, mark });
        let Ok(sending) = client.post_text(peer, &format!("mark {mark}")).await else {
            return;
        };
        let history = history.clone();
        acks.spawn(async move {
            if let Ok(ack) = sending.await {
                history.note(Seen::Acked {
                    mark,
                    msg_id: ack.msg_id,
                });
            }
        });
    }
}

/// Writes down what a terminal gets. Every login is a session of its own. Returns the longest time
/// between a loss of the connection and the next login.
pub(super) async fn listen(
    user: u32,
    client: Client,
    mut events: Events,
    history: History,
    sessions: Arc<AtomicU64>,
) -> Duration {
    let mut session = None;
    let mut lost: Option<Instant> = None;
    let mut longest = Duration::ZERO;
    while let Some(event) = events.recv().await {
        match event {
            Event::Connected { .. } => {
                let number = sessions.fetch_add(1, Ordering::Relaxed);
                history.note(Seen::Online {
                    session: number,
                    user,
                });
                session = Some(number);
                if let Some(lost) = lost.take() {
                    longest = longest.max(lost.elapsed());
                }
            }
            Event::Disconnected { .. } | Event::Closed { .. } => {
                if let Event::Closed { error: Some(error) } = &event {
                    eprintln!("client of user {user} gave up: {error:?}");
                }
                lost.get_or_insert_with(Instant::now);
                if let Some(session) = session.take() {
                    history.note(Seen::Offline { session });
                }
            }
            Event::Message(message) => {
                if let Some(pushed) =
                    session.and_then(|session| pushed(session, user, &client, &message))
                {
                    history.note(pushed);
                }
            }
            _ => {}
        }
    }
    longest
}

fn pushed(session: u64, user: u32, client: &Client, message: &Message) -> Option<Seen> {
    let data = &message.data;
    Some(Seen::Pushed {
        session,
        talk: talk(user, message.peer()?),
        msg_id: data.msg_id,
        sender: data.from_user_id,
        // A body that is not ours counts as mark 0, which nobody sent.
        mark: mark_of(client, &data.msg_data).unwrap_or(0),
    })
}
