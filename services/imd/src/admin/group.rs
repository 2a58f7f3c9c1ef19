//! `imd admin group`.

use clap::Subcommand;
use im_proto_rpc::v1::{
    ChangeGroupMembersRequest, CreateGroupRequest, GroupRecord, ListGroupsRequest,
};
use serde_json::{Value, json};

use crate::connect::{ServerArgs, refusal};
use crate::output::{Table, show};

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
    /// Lists groups and their members.
    List {
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
        GroupCommand::List { user } => {
            let answer = admin.list_groups(ListGroupsRequest { user }).await;
            let groups = answer
                .map_err(|status| refusal(&status))?
                .into_inner()
                .groups;
            let value = Value::Array(groups.iter().map(as_json).collect());
            show(json, &value, || table(&groups));
            return Ok(());
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
