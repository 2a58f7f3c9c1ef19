mod faulty;
mod fenced;
mod filtered;
mod groups;
mod order;
mod outage;
mod queue;
mod rig;

use im_core::{Conversation, GroupId};
use im_proto_rpc::v1;
use im_proto_rpc::v1::send_done::Outcome;
use im_store::{GroupType, MemberChange};

use super::*;
use rig::{Rig, user};

fn stored(done: &v1::SendDone) -> (u32, u64) {
    assert_eq!(done.outcome(), Outcome::Stored, "{done:?}");
    (done.msg_id, done.seq)
}

fn pair(a: u32, b: u32) -> Conversation {
    Conversation::Pair(user(a.min(b)), user(a.max(b)))
}

async fn make_group(rig: &Rig, members: &[u32]) -> GroupId {
    let create = CreateGroup {
        name: "g".into(),
        avatar: String::new(),
        creator: Some(user(1)),
        group_type: GroupType::Temporary,
        members: members.iter().copied().map(user).collect(),
        note: None,
    };
    rig.writer.create_group(create).await.unwrap().group.id
}

async fn change(
    rig: &Rig,
    group: GroupId,
    change: MemberChange,
    users: &[u32],
    by: Option<u32>,
) -> Result<MembersChanged, WriterError> {
    let change = ChangeMembers {
        group,
        change,
        users: users.iter().copied().map(user).collect(),
        by: by.map(user),
        notice: None,
        note: None,
    };
    rig.writer.change_members(change).await
}
