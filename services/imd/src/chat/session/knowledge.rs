//! Learning people and groups from the server, and finding them by name.

use std::io::Write;

use anyhow::Context as _;
use im_core::{GroupId, Peer, TerminalClass, UserId};

use super::Session;
use crate::chat::show;

/// Directory pages of a phone; each brings at least one person.
const MAX_PAGES: usize = 10_000;

impl<W: Write> Session<W> {
    /// Asks for the whole directory; phones get it in pages.
    pub(super) async fn load_people(&mut self) -> anyhow::Result<()> {
        let mut since = 0;
        for _ in 0..MAX_PAGES {
            let answer = self
                .client
                .all_users(since)
                .await
                .context("load directory")?;
            let complete = answer.user_list.is_empty() || answer.latest_update_time <= since;
            self.people.learn_users(answer.user_list);
            since = answer.latest_update_time;
            if complete || self.client.config().client_type.class() == TerminalClass::Pc {
                break;
            }
        }
        Ok(())
    }

    /// Asks for the fixed groups and those among the recent conversations.
    pub(super) async fn load_groups(&mut self) -> anyhow::Result<()> {
        let fixed = self.client.normal_groups().await.context("load groups")?;
        let recent = self
            .client
            .recent_sessions(0)
            .await
            .context("load recent conversations")?;
        let recent =
            recent.contact_session_list.iter().filter_map(|session| {
                match Peer::from_wire(
                    u32::try_from(session.session_type).ok()?,
                    session.session_id,
                )? {
                    Peer::Group(group) => Some(group),
                    Peer::User(_) => None,
                }
            });
        let mut groups: Vec<(GroupId, u32)> = fixed
            .iter()
            .filter_map(|group| GroupId::from_wire(group.group_id))
            .chain(recent)
            .map(|group| (group, 0))
            .collect();
        groups.sort_unstable();
        groups.dedup();
        if !groups.is_empty() {
            let infos = self
                .client
                .group_info(&groups)
                .await
                .context("load groups")?;
            self.people.learn_groups(infos);
        }
        Ok(())
    }

    pub(super) async fn load_group(&mut self, group: GroupId) -> anyhow::Result<()> {
        let infos = self
            .client
            .group_info(&[(group, 0)])
            .await
            .context("load group")?;
        self.people.learn_groups(infos);
        Ok(())
    }

    pub(super) async fn know_user(&mut self, id: u32) -> anyhow::Result<()> {
        if let Some(user) = UserId::from_wire(id)
            && !self.people.knows_user(id)
        {
            let infos = self
                .client
                .users_info(&[user])
                .await
                .context("load person")?;
            self.people.learn_users(infos);
        }
        Ok(())
    }

    pub(super) async fn find_user(&mut self, name: &str) -> anyhow::Result<UserId> {
        let id = if let Ok(id) = self.people.find_user(name) {
            id
        } else {
            // Perhaps somebody new, or somebody who left.
            self.load_people().await?;
            if let Some(id) = name.strip_prefix('#').and_then(|id| id.parse().ok()) {
                self.know_user(id).await?;
            }
            self.people.find_user(name)?
        };
        UserId::from_wire(id).context("the server gave an impossible id")
    }

    pub(super) async fn find_group(&mut self, name: &str) -> anyhow::Result<GroupId> {
        let id = if let Ok(id) = self.people.find_group(name) {
            id
        } else {
            self.load_groups().await?;
            self.people.find_group(name)?
        };
        GroupId::from_wire(id).context("the server gave an impossible id")
    }

    pub(super) fn user_name(&self, id: u32) -> String {
        show::printable(&self.people.user_name(id))
    }

    pub(super) fn name_of(&self, peer: Peer) -> String {
        match peer {
            Peer::User(user) => self.user_name(user.get()),
            Peer::Group(group) => show::printable(&self.people.group_name(group.get())),
        }
    }
}
