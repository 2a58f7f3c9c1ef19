//! Doing what the lines say and showing what happens.

mod files;
mod groups;
mod knowledge;
mod pictures;
mod sending;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use im_client::proto::base::{GroupModifyType, UnreadInfo, UserStatType};
use im_client::{Client, Event, Events, Message};
use im_core::{GroupId, Peer, UserId};
use tokio::time::{Instant, timeout_at};

use super::command::{Command, HELP};
use super::input::Input;
use super::people::People;
use super::show;
use files::{Incoming, Moved};
use sending::{Sent, beginning};

pub(super) use files::Receiving;

/// Received texts that `/expect` may still find.
const MAX_HEARD: usize = 256;
/// Messages in one question for history.
const HISTORY_PAGE: u32 = 100;
/// Ids in one question for presence, as the Windows client asks.
const PRESENCE_BATCH: usize = 300;

/// Whether the chat goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Quit,
}

/// Something that was on its way and is not any more.
pub(super) struct Progress(Done);

enum Done {
    Sent(Sent),
    Moved(Moved),
}

/// One person's chat.
pub(super) struct Session<W> {
    client: Client,
    people: People,
    current: Option<Peer>,
    /// Received and not yet found by `/expect`.
    heard: VecDeque<String>,
    /// Newest message shown of each conversation.
    shown: HashMap<Peer, u32>,
    /// Oldest message shown of each conversation; 0 when there is none before it.
    oldest: HashMap<Peer, u32>,
    /// Texts on their way.
    sending: FuturesUnordered<BoxFuture<'static, Sent>>,
    /// Files and pictures on their way, and what they are called.
    moving: FuturesUnordered<BoxFuture<'static, Moved>>,
    tasks: HashSet<String>,
    /// Files that wait at the server, to be fetched when others have come.
    waiting: VecDeque<Incoming>,
    receiving: Receiving,
    /// Where the platform's pictures are, once it was asked.
    pictures: Option<String>,
    scripted: bool,
    /// It was said that the connection is lost.
    lost: bool,
    /// The login that the greeting is about was heard of.
    connected: bool,
    out: W,
}

impl<W: Write> Session<W> {
    pub(super) fn new(client: Client, out: W, receiving: Receiving, scripted: bool) -> Self {
        Self {
            client,
            people: People::default(),
            current: None,
            heard: VecDeque::new(),
            shown: HashMap::new(),
            oldest: HashMap::new(),
            sending: FuturesUnordered::new(),
            moving: FuturesUnordered::new(),
            tasks: HashSet::new(),
            waiting: VecDeque::new(),
            receiving,
            pictures: None,
            scripted,
            lost: false,
            connected: false,
            out,
        }
    }

    /// Learns who is there and says what waits.
    pub(super) async fn greet(&mut self) -> anyhow::Result<()> {
        self.load_people().await?;
        self.load_groups().await?;
        let me = self.people.user_name(self.client.user_id());
        let server = self.client.server_address();
        writeln!(
            self.out,
            "Logged in as {me} at {server}. /help lists the commands."
        )?;
        self.show_unread(false).await?;
        self.fetch_waiting().await
    }

    /// The next text, file or picture that arrived or did not; never while none is on its way.
    pub(super) async fn progress(&mut self) -> Progress {
        tokio::select! {
            Some(sent) = self.sending.next(), if !self.sending.is_empty() => {
                Progress(Done::Sent(sent))
            }
            Some(moved) = self.moving.next(), if !self.moving.is_empty() => {
                Progress(Done::Moved(moved))
            }
            else => std::future::pending().await,
        }
    }

    /// Says so.
    pub(super) async fn note(&mut self, progress: Progress) -> anyhow::Result<()> {
        match progress.0 {
            Done::Sent(sent) => self.mark(sent),
            Done::Moved(moved) => self.settle(moved).await,
        }
    }

    /// Shows an event.
    pub(super) async fn hear(&mut self, event: Option<Event>) -> anyhow::Result<()> {
        match event {
            None | Some(Event::Closed { .. }) => return Err(super::closed(event)),
            Some(Event::Message(message)) => self.show_message(&message).await?,
            Some(Event::File(offer)) => self.offered(&offer).await?,
            Some(Event::GroupChanged(change)) => self.show_change(&change).await?,
            Some(Event::Disconnected { .. }) if self.lost => {}
            Some(Event::Disconnected { .. }) => {
                self.lost = true;
                writeln!(
                    self.out,
                    "-- connection lost, trying again until it is back"
                )?;
            }
            Some(Event::Connected { .. }) if !self.connected => self.connected = true,
            Some(Event::Connected { address, .. }) => {
                self.lost = false;
                writeln!(self.out, "-- connected to {address}")?;
                self.show_unread(false).await?;
                self.fetch_waiting().await?;
            }
            Some(Event::Kick { .. }) => {
                writeln!(
                    self.out,
                    "-- you logged in somewhere else, or were told to leave"
                )?;
            }
            Some(Event::Missed { count }) => {
                writeln!(self.out, "-- {count} events were too many; see /unread")?;
            }
            Some(_) => {}
        }
        self.out.flush()?;
        Ok(())
    }

    /// Takes what was typed.
    pub(super) async fn take(&mut self, input: Input, events: &mut Events) -> anyhow::Result<Flow> {
        match input {
            Input::Line(line) => self.obey(&line, events).await,
            Input::Failed(error) => Err(error).context("read input"),
            Input::NotUtf8(line) if self.scripted => bail!("line {line} is no UTF-8"),
            Input::NotUtf8(line) => {
                writeln!(self.out, "-- line {line} is no UTF-8 and was not sent")?;
                Ok(Flow::Continue)
            }
        }
    }

    /// What stands before the line that is typed.
    pub(super) fn prompt(&self) -> String {
        match self.current {
            Some(Peer::Group(group)) => format!("[{}] ", self.name_of(Peer::Group(group))),
            Some(peer) => format!("{}> ", self.name_of(peer)),
            None => "> ".to_owned(),
        }
    }

    /// Waits for what is on its way, and shows what has come.
    pub(super) async fn finish(&mut self, events: &mut Events) -> anyhow::Result<()> {
        while let Some(sent) = self.sending.next().await {
            self.mark(sent)?;
        }
        while let Some(event) = events.try_recv() {
            self.hear(Some(event)).await?;
        }
        if !self.moving.is_empty() {
            let count = self.moving.len();
            writeln!(
                self.out,
                "-- waiting for {count} files that are on their way"
            )?;
            self.out.flush()?;
        }
        while let Some(moved) = self.moving.next().await {
            self.settle(moved).await?;
        }
        Ok(())
    }

    /// Does what a line says. A failure ends a script; a person is told.
    pub(super) async fn obey(&mut self, line: &str, events: &mut Events) -> anyhow::Result<Flow> {
        let outcome = match Command::parse(line) {
            Ok(Command::Quit) => return Ok(Flow::Quit),
            Ok(command) => self.execute(command, events).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = outcome {
            if self.scripted {
                return Err(error.context(format!("line {:?}", beginning(line))));
            }
            writeln!(self.out, "-- {error:#}")?;
        }
        self.out.flush()?;
        Ok(Flow::Continue)
    }

    async fn execute(&mut self, command: Command, events: &mut Events) -> anyhow::Result<()> {
        match command {
            Command::Nothing | Command::Quit => {}
            Command::Help => writeln!(self.out, "{HELP}")?,
            Command::Say(text) => self.say(&text).await?,
            Command::File(path) => self.send_file(&path).await?,
            Command::Picture(path) => self.send_picture(&path).await?,
            Command::People(filter) => self.list_people(filter.as_deref()).await?,
            Command::Groups => self.list_groups().await?,
            Command::With(name) => {
                let id = self.find_user(&name).await?;
                self.talk(Peer::User(id)).await?;
            }
            Command::Group(name) => {
                let id = self.find_group(&name).await?;
                self.talk(Peer::Group(id)).await?;
            }
            Command::History(count) => {
                let peer = self.conversation()?;
                self.show_history(peer, 0, count, false).await?;
            }
            Command::Older(count) => {
                let peer = self.conversation()?;
                match self.oldest.get(&peer).copied() {
                    None => self.show_history(peer, 0, count, false).await?,
                    Some(0 | 1) => writeln!(self.out, "-- nothing is older")?,
                    Some(oldest) => self.show_history(peer, oldest - 1, count, false).await?,
                }
            }
            Command::Unread => self.show_unread(true).await?,
            Command::Create { name, members } => self.create(&name, &members).await?,
            Command::Add(names) => self.change(GroupModifyType::Add, &names).await?,
            Command::Remove(names) => self.change(GroupModifyType::Del, &names).await?,
            Command::Leave => self.leave().await?,
            Command::Members => self.list_members().await?,
            Command::Expect { text, patience } => self.expect(&text, patience, events).await?,
        }
        Ok(())
    }

    fn conversation(&self) -> anyhow::Result<Peer> {
        self.current
            .context("choose a conversation first: /with NAME or /group NAME")
    }

    fn current_group(&self) -> anyhow::Result<GroupId> {
        match self.conversation()? {
            Peer::Group(group) => Ok(group),
            Peer::User(_) => bail!("this conversation is no group: /group NAME"),
        }
    }

    /// Turns to a conversation and shows what is unread there.
    async fn talk(&mut self, peer: Peer) -> anyhow::Result<()> {
        self.current = Some(peer);
        writeln!(self.out, "-- talking to {}", self.name_of(peer))?;
        let unread = self.client.unread().await.context("ask for unread")?;
        let here = unread
            .unreadinfo_list
            .iter()
            .find(|info| peer_of(info) == Some(peer));
        if let Some(info) = here {
            self.show_unread_of(peer, info).await?;
        }
        Ok(())
    }

    /// Shows what is unread and was not shown when it came.
    async fn show_unread_of(&mut self, peer: Peer, info: &UnreadInfo) -> anyhow::Result<()> {
        let shown = self.shown.get(&peer).copied().unwrap_or(0);
        let fresh = info
            .latest_msg_id
            .saturating_sub(shown)
            .min(info.unread_cnt);
        if fresh > 0 {
            self.show_history(peer, info.latest_msg_id, fresh, true)
                .await?;
            self.shown.insert(peer, shown.max(info.latest_msg_id));
        }
        self.client.read_ack(peer, info.latest_msg_id).await?;
        Ok(())
    }

    async fn list_people(&mut self, filter: Option<&str>) -> anyhow::Result<()> {
        self.load_people().await?;
        let filter = filter.map(str::to_lowercase).unwrap_or_default();
        let shown: Vec<(UserId, String)> = self
            .people
            .users()
            .filter(|user| {
                [&user.user_real_name, &user.user_nick_name]
                    .iter()
                    .any(|name| name.to_lowercase().contains(&filter))
            })
            .filter_map(|user| {
                let id = UserId::from_wire(user.user_id)?;
                let line = format!("{} ({})", user.user_nick_name, user.user_real_name);
                Some((id, show::printable(&line)))
            })
            .collect();
        for batch in shown.chunks(PRESENCE_BATCH) {
            let ids: Vec<UserId> = batch.iter().map(|(id, _)| *id).collect();
            let stats = self.client.presence(&ids).await.context("ask presence")?;
            for (id, line) in batch {
                let online = stats.iter().any(|stat| {
                    stat.user_id == id.get()
                        && stat.status != UserStatType::UserStatusOffline as i32
                });
                let mark = if online { '*' } else { ' ' };
                writeln!(self.out, "{mark} #{id} {line}")?;
            }
        }
        writeln!(self.out, "-- {} people; * has a PC online", shown.len())?;
        Ok(())
    }

    /// Waits until a received message contains the text.
    async fn expect(
        &mut self,
        text: &str,
        patience: Duration,
        events: &mut Events,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(at) = self.heard.iter().position(|heard| heard.contains(text)) {
                self.heard.drain(..=at);
                return Ok(());
            }
            tokio::select! {
                event = timeout_at(deadline, events.recv()) => match event {
                    Ok(event) => self.hear(event).await?,
                    Err(_) => bail!("nobody wrote {text:?} in {} s", patience.as_secs()),
                },
                progress = self.progress() => self.note(progress).await?,
            }
        }
    }

    /// Keeps what `/expect` may look for.
    fn remember(&mut self, text: String) {
        if self.heard.len() == MAX_HEARD {
            self.heard.pop_front();
        }
        self.heard.push_back(text);
    }

    async fn show_message(&mut self, message: &Message) -> anyhow::Result<()> {
        let data = &message.data;
        let Some(peer) = message.peer() else {
            return Ok(());
        };
        self.know_user(data.from_user_id).await?;
        if let Peer::Group(group) = peer
            && self.people.group(group.get()).is_none()
        {
            self.load_group(group).await?;
        }
        let text = show::content(self.client.cipher(), data.msg_type, &data.msg_data);
        let time = show::clock(data.create_time, im_core::time::UnixSeconds::now().get());
        let from = self.user_name(data.from_user_id);
        match peer {
            Peer::Group(group) => {
                let group = show::printable(&self.people.group_name(group.get()));
                writeln!(self.out, "[{time}] {from} in {group}: {text}")?;
            }
            Peer::User(_) if data.from_user_id == message.receiver => {
                let to = self.name_of(peer);
                writeln!(self.out, "[{time}] {from} to {to}: {text}")?;
            }
            Peer::User(_) => writeln!(self.out, "[{time}] {from}: {text}")?,
        }
        let shown = self.shown.entry(peer).or_default();
        // One that was shown among the unread has its pictures fetched.
        let is_new = *shown < data.msg_id;
        *shown = data.msg_id.max(*shown);
        if is_new && data.from_user_id != message.receiver {
            let raw = show::text(self.client.cipher(), data.msg_type, &data.msg_data);
            self.fetch_pictures(&raw, &from).await?;
        }
        self.remember(text);
        if self.current == Some(peer) && data.from_user_id != message.receiver {
            self.client.read_ack(peer, data.msg_id).await?;
        }
        Ok(())
    }

    /// Messages backwards from an id, shown forwards: as many pages of the server as it takes. Of new ones the
    /// pictures are fetched.
    async fn show_history(
        &mut self,
        peer: Peer,
        begin: u32,
        count: u32,
        are_new: bool,
    ) -> anyhow::Result<()> {
        let wanted = usize::try_from(count)?;
        let mut found = Vec::new();
        let from_newest = begin == 0;
        let (mut begin, mut is_all) = (begin, false);
        while found.len() < wanted && !is_all {
            let left = u32::try_from(wanted - found.len())?;
            let answer = self.client.history(peer, begin, left.min(HISTORY_PAGE));
            let page = answer.await.context("ask for history")?.msg_list;
            is_all = page.last().is_none_or(|oldest| oldest.msg_id <= 1);
            begin = page.last().map_or(0, |oldest| oldest.msg_id - 1);
            found.extend(page);
        }
        let oldest = match found.last() {
            Some(oldest) if !is_all => oldest.msg_id,
            _ => 0,
        };
        let shown = self.oldest.entry(peer).or_insert(oldest);
        *shown = oldest.min(*shown);
        if found.is_empty() {
            let what = if from_newest {
                "no messages"
            } else {
                "nothing is older"
            };
            writeln!(self.out, "-- {what}")?;
        }
        let now = im_core::time::UnixSeconds::now().get();
        for message in found.iter().rev() {
            self.know_user(message.from_session_id).await?;
            let from = self.user_name(message.from_session_id);
            let text = show::content(self.client.cipher(), message.msg_type, &message.msg_data);
            let time = show::clock(message.create_time, now);
            writeln!(self.out, "{:>5} [{time}] {from}: {text}", message.msg_id)?;
            if are_new && message.from_session_id != self.client.user_id() {
                let raw = show::text(self.client.cipher(), message.msg_type, &message.msg_data);
                self.fetch_pictures(&raw, &from).await?;
            }
        }
        Ok(())
    }

    async fn show_unread(&mut self, even_if_none: bool) -> anyhow::Result<()> {
        let unread = self.client.unread().await.context("ask for unread")?;
        for info in &unread.unreadinfo_list {
            let Some(peer) = peer_of(info) else { continue };
            if self.current == Some(peer) {
                self.show_unread_of(peer, info).await?;
                continue;
            }
            match peer {
                Peer::User(user) => self.know_user(user.get()).await?,
                Peer::Group(group) => self.load_group(group).await?,
            }
            let name = self.name_of(peer);
            writeln!(self.out, "-- {} unread from {name}", info.unread_cnt)?;
        }
        if even_if_none && unread.unreadinfo_list.is_empty() {
            writeln!(self.out, "-- nothing unread")?;
        }
        Ok(())
    }
}

fn peer_of(info: &UnreadInfo) -> Option<Peer> {
    Peer::from_wire(u32::try_from(info.session_type).ok()?, info.session_id)
}
