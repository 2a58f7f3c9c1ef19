//! Groups: making, changing, leaving them, and hearing of changes.

use std::io::Write;

use anyhow::{Context as _, bail, ensure};
use im_client::proto::base::GroupModifyType;
use im_client::proto::group::ImGroupChangeMemberNotify;
use im_core::{GroupId, Peer, UserId};

use super::Session;
use crate::chat::show;

impl<W: Write> Session<W> {
    pub(super) async fn list_groups(&mut self) -> anyhow::Result<()> {
        self.load_groups().await?;
        let mut count = 0;
        for group in self.people.groups() {
            let name = show::printable(&group.group_name);
            let members = group.group_member_list.len();
            writeln!(self.out, "  #{} {name}, {members} members", group.group_id)?;
            count += 1;
        }
        writeln!(self.out, "-- {count} groups")?;
        Ok(())
    }

    pub(super) async fn list_members(&mut self) -> anyhow::Result<()> {
        let group = self.current_group()?;
        self.load_group(group).await?;
        let members = self
            .people
            .group(group.get())
            .map(|group| group.group_member_list.clone())
            .context("you are not a member")?;
        for id in members {
            self.know_user(id).await?;
            writeln!(self.out, "  #{id} {}", self.user_name(id))?;
        }
        Ok(())
    }

    pub(super) async fn create(&mut self, name: &str, members: &[String]) -> anyhow::Result<()> {
        let mut ids: Vec<UserId> = UserId::from_wire(self.client.user_id())
            .into_iter()
            .collect();
        for member in members {
            ids.push(self.find_user(member).await?);
        }
        let answer = self
            .client
            .create_group(name, "", &ids)
            .await
            .context("create group")?;
        let group = answer.group_id.and_then(GroupId::from_wire);
        let (0, Some(group)) = (answer.result_code, group) else {
            bail!("the server did not create the group");
        };
        self.load_group(group).await?;
        writeln!(self.out, "-- created group #{group}")?;
        self.talk(Peer::Group(group)).await
    }

    pub(super) async fn change(
        &mut self,
        change: GroupModifyType,
        names: &[String],
    ) -> anyhow::Result<()> {
        let group = self.current_group()?;
        let mut ids = Vec::new();
        for name in names {
            ids.push(self.find_user(name).await?);
        }
        let answer = self
            .client
            .change_members(group, change, &ids)
            .await
            .context("change members")?;
        ensure!(answer.result_code == 0, "the server refused the change");
        self.load_group(group).await?;
        writeln!(self.out, "-- {} members now", answer.cur_user_id_list.len())?;
        Ok(())
    }

    pub(super) async fn leave(&mut self) -> anyhow::Result<()> {
        let group = self.current_group()?;
        let me: Vec<UserId> = UserId::from_wire(self.client.user_id())
            .into_iter()
            .collect();
        let answer = self
            .client
            .change_members(group, GroupModifyType::Del, &me)
            .await
            .context("leave group")?;
        ensure!(answer.result_code == 0, "the server refused");
        self.people.forget_group(group.get());
        self.current = None;
        writeln!(self.out, "-- you left")?;
        Ok(())
    }

    pub(super) async fn show_change(
        &mut self,
        change: &ImGroupChangeMemberNotify,
    ) -> anyhow::Result<()> {
        let Some(group) = GroupId::from_wire(change.group_id) else {
            return Ok(());
        };
        let added = change.change_type == GroupModifyType::Add as i32;
        self.load_group(group).await?;
        let mut names = Vec::new();
        for id in &change.chg_user_id_list {
            self.know_user(*id).await?;
            names.push(self.user_name(*id));
        }
        let group_name = show::printable(&self.people.group_name(group.get()));
        let names = names.join(", ");
        let themselves = change.chg_user_id_list == [change.user_id];
        if added {
            writeln!(self.out, "-- {names} joined {group_name}")?;
        } else if themselves {
            writeln!(self.out, "-- {names} left {group_name}")?;
        } else if change.user_id == 0 {
            writeln!(
                self.out,
                "-- an administrator removed {names} from {group_name}"
            )?;
        } else {
            self.know_user(change.user_id).await?;
            let by = self.user_name(change.user_id);
            writeln!(self.out, "-- {by} removed {names} from {group_name}")?;
        }
        if !added && change.chg_user_id_list.contains(&self.client.user_id()) {
            self.people.forget_group(group.get());
            if self.current == Some(Peer::Group(group)) {
                self.current = None;
            }
        }
        Ok(())
    }
}
