//! `imd admin group`.

use clap::Subcommand;
use im_proto_rpc::v1::{
    ChangeGroupMembersRequest, CreateGroupRequest, GroupRecord, ListGroupsRequest,
    RemoveGroupRequest, RenameGroupRequest, SetGroupOwnerRequest,
};
use serde_json::{Value, json};

use super::{Judge, Page};
use crate::connect::{ServerArgs, refusal};
use crate::output::{Table, show, tell_dry_run, tell_more};

#[derive(Debug, Subcommand)]
pub(super) enum GroupCommand {
    /// Makes a fixed group, which its members cannot leave.
    Create {
        /// Name of the group.
        name: String,
        /// Login name of its owner, who is a member.
        #[arg(long, value_name = "USER", help_heading = "The group")]
        owner: String,
        /// Login name of a member; repeatable.
        #[arg(long = "member", value_name = "USER", help_heading = "The group")]
        members: Vec<String>,
        /// URL of a picture.
        #[arg(
            long,
            default_value = "",
            hide_default_value = true,
            help_heading = "The group"
        )]
        avatar: String,
        /// Makes a temporary group, as people make them.
        #[arg(long, help_heading = "The group")]
        temporary: bool,
        #[command(flatten)]
        judge: Judge,
    },
    /// Adds members.
    Add {
        /// Id of the group.
        group: u32,
        /// Login names.
        #[arg(required = true, value_name = "USER")]
        members: Vec<String>,
        #[command(flatten)]
        judge: Judge,
    },
    /// Removes members.
    Remove {
        /// Id of the group.
        group: u32,
        /// Login names.
        #[arg(required = true, value_name = "USER")]
        members: Vec<String>,
        #[command(flatten)]
        judge: Judge,
    },
    /// Gives a group another name.
    Rename {
        /// Id of the group.
        group: u32,
        /// The new name.
        name: String,
        #[command(flatten)]
        judge: Judge,
    },
    /// Makes a member the owner, who may change the members; the one before stays a member.
    SetOwner {
        /// Id of the group.
        group: u32,
        /// Login name of a member.
        owner: String,
        #[command(flatten)]
        judge: Judge,
    },
    /// Takes all members out, so that the group is in nobody's list. What was written stays stored.
    Dissolve {
        /// Id of the group.
        group: u32,
        #[command(flatten)]
        judge: Judge,
    },
    /// Lists groups that have members, by id.
    List {
        /// Part of the name; without it all.
        #[arg(default_value = "", hide_default_value = true)]
        matching: String,
        #[command(flatten)]
        page: Page,
        /// Only groups of this user.
        #[arg(long, default_value = "", hide_default_value = true)]
        user: String,
    },
}

pub(super) async fn run(
    command: GroupCommand,
    server: &ServerArgs,
    json: bool,
) -> anyhow::Result<()> {
    let mut admin = server.connect().await?;
    let (answer, dry_run) = match command {
        GroupCommand::List {
            matching,
            page,
            user,
        } => {
            let request = ListGroupsRequest {
                user,
                matching,
                limit: page.limit,
                cursor: page.cursor,
                ..ListGroupsRequest::default()
            };
            let list = admin.list_groups(request).await;
            let list = list.map_err(|status| refusal(&status))?.into_inner();
            let value = Value::Array(list.groups.iter().map(as_json).collect());
            show(json, &value, || table(&list.groups));
            tell_more(&list.next);
            return Ok(());
        }
        GroupCommand::Rename { group, name, judge } => {
            let dry_run = judge.dry_run;
            let request = RenameGroupRequest {
                group,
                name,
                dry_run,
            };
            (admin.rename_group(request).await, dry_run)
        }
        GroupCommand::SetOwner {
            group,
            owner,
            judge,
        } => {
            let dry_run = judge.dry_run;
            let request = SetGroupOwnerRequest {
                group,
                owner,
                dry_run,
            };
            (admin.set_group_owner(request).await, dry_run)
        }
        GroupCommand::Dissolve { group, judge } => {
            let dry_run = judge.dry_run;
            let request = RemoveGroupRequest { group, dry_run };
            (admin.remove_group(request).await, dry_run)
        }
        GroupCommand::Create {
            name,
            owner,
            members,
            avatar,
            temporary,
            judge,
        } => {
            let request = CreateGroupRequest {
                name,
                avatar,
                owner,
                members,
                fixed: !temporary,
                dry_run: judge.dry_run,
                ..CreateGroupRequest::default()
            };
            (admin.create_group(request).await, judge.dry_run)
        }
        GroupCommand::Add {
            group,
            members,
            judge,
        } => {
            let request = ChangeGroupMembersRequest {
                group,
                add: members,
                dry_run: judge.dry_run,
                ..ChangeGroupMembersRequest::default()
            };
            (admin.change_group_members(request).await, judge.dry_run)
        }
        GroupCommand::Remove {
            group,
            members,
            judge,
        } => {
            let request = ChangeGroupMembersRequest {
                group,
                remove: members,
                dry_run: judge.dry_run,
                ..ChangeGroupMembersRequest::default()
            };
            (admin.change_group_members(request).await, judge.dry_run)
        }
    };
    tell_dry_run(dry_run && answer.is_ok());
    let group = answer.map_err(|status| refusal(&status))?.into_inner();
    show(json, &as_json(&group), || {
        table(std::slice::from_ref(&group))
    });
    Ok(())
}

fn as_json(group: &GroupRecord) -> Value {
    json!({
        "id": group.id,
        "name": group.name,
        "version": group.version,
        "fixed": group.fixed,
        "owner": group.owner,
        "members": group.members,
    })
}

fn table(groups: &[GroupRecord]) -> String {
    let mut table = Table::new(&["id", "name", "kind", "version", "owner", "members"]);
    for group in groups {
        table.row(vec![
            group.id.to_string(),
            group.name.clone(),
            if group.fixed { "fixed" } else { "temporary" }.to_owned(),
            group.version.to_string(),
            group.owner.clone(),
            group.members.join(" "),
        ]);
    }
    table.render()
}
