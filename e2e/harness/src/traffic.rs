//! People who chat while a test breaks things, and write down what they see.
//!
//! Every message carries a unique mark. Clients are the project's own library: they reconnect and
//! resend by themselves, so at the end every message must be acknowledged, stored once, and seen.

mod chatter;
mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, bail};
use im_client::{Client, ClientConfig, Password, Reconnect};
use im_core::{GroupId, Peer, UserId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::checker::{self, Fault};
use crate::history::{History, Mark, Stored, Talk};
use crate::{people, wait};

/// What the people do. The platform may be anywhere: all that is needed is a login server that
/// answers, and the people `u1`, `u2`, … in its directory ([`people::write_csv`]).
#[derive(Clone, Debug)]
pub struct Plan {
    /// Login servers to choose from.
    pub urls: Vec<String>,
    /// Users `1..=users` take part.
    pub users: u32,
    /// Groups of all users that user 1 makes first.
    pub groups: u32,
    /// Time between two messages of one user.
    pub pause: Duration,
    /// Ids that a restore has skipped in every conversation, which have no message yet.
    pub skipped: u32,
    /// Changes made to each client's configuration.
    pub tune: fn(&mut ClientConfig),
}

/// For [`Plan::tune`]: a client comes back as the Windows client does, to the address that it was
/// given at first and to no other, and is otherwise the project's own.
pub fn same_address(config: &mut ClientConfig) {
    config.reconnect = Some(Reconnect::WINDOWS);
}

impl Plan {
    /// Six people and a group, twenty messages per second each at most.
    pub fn small(url: &str) -> Self {
        Self {
            urls: vec![url.to_owned()],
            users: 6,
            groups: 1,
            pause: Duration::from_millis(50),
            skipped: 0,
            tune: |_| {},
        }
    }
}

/// Running traffic.
#[derive(Debug)]
pub struct Traffic {
    history: History,
    clients: Vec<Client>,
    talks: BTreeSet<Talk>,
    groups: Vec<GroupId>,
    skipped: u32,
    quiet: CancellationToken,
    senders: TaskTracker,
    listeners: JoinSet<Duration>,
}

/// What a test gets at the end.
#[derive(Debug)]
pub struct Outcome {
    /// Broken promises; empty is good.
    pub faults: Vec<Fault>,
    /// Messages stored.
    pub stored: usize,
    /// Longest time in which one of the clients had no session after it had one.
    pub absence: Duration,
    /// Everything that was seen, for further checks.
    pub history: History,
    /// The stored conversations.
    pub conversations: BTreeMap<Talk, Stored>,
}

impl Traffic {
    /// Logs everybody in, makes the groups and starts to chat.
    pub async fn start(plan: Plan) -> anyhow::Result<Self> {
        let history = History::new();
        let mut listeners = JoinSet::new();
        let sessions = Arc::new(AtomicU64::new(1));
        let mut clients = Vec::new();
        for id in 1..=plan.users {
            let url = plan
                .urls
                .get(id as usize % plan.urls.len().max(1))
                .context("name a login")?;
            let password = Password::clear(people::PASSWORD);
            let mut config = ClientConfig::new(url.as_str(), people::name(id), password);
            config.sending.deadline = Duration::from_mins(3);
            (plan.tune)(&mut config);
            let (client, events) = Client::connect(config)
                .await
                .with_context(|| format!("log u{id} in"))?;
            listeners.spawn(chatter::listen(
                id,
                client.clone(),
                events,
                history.clone(),
                Arc::clone(&sessions),
            ));
            clients.push(client);
        }
        let everybody: Vec<UserId> = (1..=plan.users).filter_map(UserId::from_wire).collect();
        let first = clients.first().context("at least one user")?;
        let mut groups = Vec::new();
        for n in 1..=plan.groups {
            let made = first
                .create_group(&format!("group {n}"), "", &everybody)
                .await?;
            let id = made.group_id.and_then(GroupId::from_wire);
            groups.push(id.with_context(|| format!("make a group: result {}", made.result_code))?);
        }
        let mut traffic = Self {
            history,
            clients,
            talks: BTreeSet::new(),
            groups,
            skipped: plan.skipped,
            quiet: CancellationToken::new(),
            senders: TaskTracker::new(),
            listeners,
        };
        traffic.chat(plan.pause);
        Ok(traffic)
    }

    fn chat(&mut self, pause: Duration) {
        let marks = Arc::new(AtomicU64::new(1));
        let users: Vec<UserId> = self
            .clients
            .iter()
            .filter_map(|c| UserId::from_wire(c.user_id()))
            .collect();
        for client in &self.clients {
            let peers: Vec<Peer> = users
                .iter()
                .filter(|user| user.get() != client.user_id())
                .map(|user| Peer::User(*user))
                .chain(self.groups.iter().map(|group| Peer::Group(*group)))
                .collect();
            self.talks.extend(
                peers
                    .iter()
                    .map(|peer| chatter::talk(client.user_id(), *peer)),
            );
            self.senders.spawn(chatter::speak(chatter::Speaker {
                client: client.clone(),
                peers,
                pause,
                history: self.history.clone(),
                marks: Arc::clone(&marks),
                quiet: self.quiet.clone(),
                acks: self.senders.clone(),
            }));
        }
    }

    /// What has been seen so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The clients, in order of their users' ids.
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// The groups that were made.
    pub fn groups(&self) -> &[GroupId] {
        &self.groups
    }

    /// Waits until `count` further messages have been acknowledged.
    pub async fn progress(&self, count: usize, limit: Duration) -> anyhow::Result<()> {
        let target = self.history.acked() + count;
        wait::until("further acknowledged messages", limit, || async {
            (self.history.acked() >= target).then_some(())
        })
        .await
    }

    /// Stops talking, waits until every message is acknowledged and everybody online has everything,
    /// reads the stored history and the unread counts, and gives the verdict.
    pub async fn finish(self, limit: Duration) -> anyhow::Result<Outcome> {
        self.quiet.cancel();
        self.senders.close();
        if tokio::time::timeout(limit, self.senders.wait())
            .await
            .is_err()
        {
            bail!("messages are still unacknowledged after {limit:?}");
        }
        for client in &self.clients {
            tokio::time::timeout(limit, client.wait_connected(true)).await??;
        }
        let conversations = self.read_all().await?;
        // Pushes may still be under way; what is missing must come, what is wrong stays wrong.
        let settled = wait::until("all pushes", wait::SOON, || async {
            let faults = checker::check(&self.history.snapshot(), &conversations);
            let waiting = faults
                .iter()
                .any(|fault| matches!(fault, Fault::Missed { .. }));
            (!waiting).then_some(faults)
        })
        .await;
        let mut faults = match settled {
            Ok(faults) => faults,
            Err(_) => checker::check(&self.history.snapshot(), &conversations),
        };
        for client in &self.clients {
            faults.extend(reading::check(client, &self.talks, &conversations).await?);
        }
        for client in &self.clients {
            client.close().await;
        }
        let absences = self.listeners.join_all().await;
        let stored = conversations
            .values()
            .map(|history| history.messages.len())
            .sum();
        Ok(Outcome {
            faults,
            stored,
            absence: absences.into_iter().max().unwrap_or_default(),
            history: self.history,
            conversations,
        })
    }

    async fn read_all(&self) -> anyhow::Result<BTreeMap<Talk, Stored>> {
        let mut conversations = BTreeMap::new();
        for talk in &self.talks {
            let (reader, peer) = match talk {
                Talk::Pair(low, high) => (*low, UserId::from_wire(*high).map(Peer::User)),
                Talk::Group(id) => (1, GroupId::from_wire(*id).map(Peer::Group)),
            };
            let client = self
                .clients
                .iter()
                .find(|client| client.user_id() == reader);
            let (client, peer) = client.zip(peer).context("a reader of the conversation")?;
            let mut stored = read(client, peer).await?;
            if self.skipped > 0 {
                stored.gaps.push(1..=self.skipped);
            }
            conversations.insert(*talk, stored);
        }
        Ok(conversations)
    }
}

/// Reads a whole conversation, page by page from the newest message.
pub async fn read(client: &Client, peer: Peer) -> anyhow::Result<Stored> {
    let mut messages: Vec<(u32, u32, Mark)> = Vec::new();
    let mut begin = 0;
    loop {
        let page = client
            .history(peer, begin, 100)
            .await
            .context("read history")?;
        for message in &page.msg_list {
            let mark =
                chatter::mark_of(client, &message.msg_data).context("a message with a mark")?;
            messages.push((message.msg_id, message.from_session_id, mark));
        }
        match page.msg_list.last() {
            Some(oldest) if oldest.msg_id > 1 => begin = oldest.msg_id - 1,
            _ => break,
        }
    }
    messages.reverse();
    Ok(Stored {
        messages,
        gaps: Vec::new(),
    })
}
