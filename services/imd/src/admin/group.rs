//! `imd admin group`.

use clap::Subcommand;
use im_proto_rpc::v1::{
    ChangeGroupMembersRequest, CreateGroupRequest, GroupRecord, ListGroupsRequest,
    RemoveGroupRequest, RenameGroupRequest,
};
use serde_json::{Value, json};

use crate::connect::{ServerArgs, refusal};
use crate::output::{Table, note, show, tell_more};

#[derive(Debug, Subcommand)]
pub(super) enum GroupCommand {
    /// Makes a fixed group, which its members cannot leave.
    Create {
        /// Name of the group.
        name: String,
        /// Login name of its owner, who is a member.
        #[arg(long, value_name = "USER")]
        owner: String,
        /// Login name of a member; repeatable.
        #[arg(long = "member", value_name = "USER")]
        members: Vec<String>,
        /// URL of a picture.
        #[arg(long, default_value = "", hide_default_value = true)]
        avatar: String,
        /// Makes a temporary group, as people make them.
        #[arg(long)]
        temporary: bool,
    },
    /// Adds members.
    Add {
        /// Id of the group.
        group: u32,
        /// Login names.
        #[arg(required = true, value_name = "USER")]
        members: Vec<String>,
    },
    /// Removes members.
    Remove {
        /// Id of the group.
        group: u32,
        /// Login names.
        #[arg(required = true, value_name = "USER")]
        members: Vec<String>,
    },
    /// Gives a group another name.
    Rename {
        /// Id of the group.
        group: u32,
        /// The new name.
        name: String,
    },
    /// Takes all members out, so that the group is in nobody's list. What was written stays stored.
    Dissolve {
        /// Id of the group.
        group: u32,
        /// Only says who would be taken out.
        #[arg(long)]
        dry_run: bool,
    },
    /// Lists groups that have members, by id.
    List {
        /// Part of the name; without it all.
        #[arg(default_value = "", hide_default_value = true)]
        matching: String,
        /// Most groups to list, up to 1000.
        #[arg(long, default_value_t = 200)]
        limit: u32,
        /// Only groups with a greater id, to go on where a list ended.
        #[arg(long, default_value_t = 0, value_name = "ID")]
        after: u32,
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
    let answer = match command {
        GroupCommand::List {
            matching,
            limit,
            after,
            user,
        } => {
            let request = ListGroupsRequest {
                user,
                matching,
                limit,
                after_id: after,
            };
            let list = admin.list_groups(request).await;
            let list = list.map_err(|status| refusal(&status))?.into_inner();
            let value = Value::Array(list.groups.iter().map(as_json).collect());
            show(json, &value, || table(&list.groups));
            tell_more(list.more, list.groups.last().map(|group| group.id));
            return Ok(());
        }
        GroupCommand::Rename { group, name } => {
            admin.rename_group(RenameGroupRequest { group, name }).await
        }
        GroupCommand::Dissolve { group, dry_run } => {
            if dry_run {
                note("dry run: these would be taken out");
            }
            admin
                .remove_group(RemoveGroupRequest { group, dry_run })
                .await
        }
        GroupCommand::Create {
            name,
            owner,
            members,
            avatar,
            temporary,
        } => {
            let request = CreateGroupRequest {
                name,
                avatar,
                owner,
                members,
                fixed: !temporary,
            };
            admin.create_group(request).await
        }
        GroupCommand::Add { group, members } => {
            let request = ChangeGroupMembersRequest {
                group,
                add: members,
                remove: vec![],
            };
            admin.change_group_members(request).await
        }
        GroupCommand::Remove { group, members } => {
            let request = ChangeGroupMembersRequest {
                group,
                add: vec![],
                remove: members,
            };
            admin.change_group_members(request).await
        }
    };
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
