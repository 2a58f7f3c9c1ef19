//! What queries may cost, by their commands and sizes.

use im_codec::Command;
use im_config::DbProxyConfig;

use crate::answered::Cost;

/// Bytes of an answer of a few numbers.
const SMALL: usize = 4 << 10;
/// Bytes of one person's record, at most about.
const PERSON: usize = 2 << 10;
/// Bytes of a number in a list.
const NUMBER: usize = 5;

/// Most bytes that the answer to a request of so many bytes takes. What is read from the store and
/// then encoded is there twice.
pub(super) fn of(command: Option<Command>, body: usize, config: &DbProxyConfig) -> Cost {
    use Command::{
        AllUserReq, ChangeAvatarReq, ChangeSignInfoReq, DepartmentReq, DeviceTokenReq,
        GetMsgByIdReq, GetMsgListReq, GroupChangeMemberReq, GroupCreateReq, GroupInfoListReq,
        GroupShieldReq, MsgDataReadAck, NormalGroupListReq, PushShieldReq, RecentContactSessionReq,
        RemoveSessionReq, RemoveSessionRsp, UnreadMsgCntReq, UsersInfoReq,
    };
    let limits = &config.answers;
    let group = NUMBER * config.writer.max_group_members;
    // Every id in a request has at least two bytes.
    let named = body / 2 + 1;
    let (bytes, large) = match command {
        // Every terminal asks for most of these when it logs in.
        Some(
            RecentContactSessionReq
            | UnreadMsgCntReq
            | GetMsgListReq
            | GetMsgByIdReq
            | DepartmentReq
            | NormalGroupListReq,
        ) => (2 * limits.max_list_bytes.as_usize(), false),
        // What is read for it is shared by all who ask.
        Some(AllUserReq) => (limits.max_answer.as_usize(), true),
        Some(UsersInfoReq) => {
            let bytes = named.min(limits.max_ids) * PERSON;
            (2 * bytes.min(limits.max_answer.as_usize()), true)
        }
        Some(GroupInfoListReq) => {
            let groups = named.min(limits.max_group_infos);
            let bytes = groups.saturating_mul(group + PERSON);
            (2 * bytes.min(limits.max_answer.as_usize()), true)
        }
        Some(GroupCreateReq | GroupChangeMemberReq) => (4 * group + SMALL, false),
        _ => (SMALL, false),
    };
    let changes = matches!(
        command,
        Some(
            RemoveSessionReq
                | RemoveSessionRsp
                | MsgDataReadAck
                | ChangeAvatarReq
                | ChangeSignInfoReq
                | GroupCreateReq
                | GroupChangeMemberReq
                | GroupShieldReq
                | DeviceTokenReq
                | PushShieldReq
        )
    );
    Cost {
        bytes,
        large,
        changes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_cost_their_bounds_and_what_changes_something_is_known() {
        let config = DbProxyConfig::default();
        let of = |command, body| super::of(Some(command), body, &config);
        let history = of(Command::GetMsgListReq, 30);
        assert_eq!(history.bytes, 2 * config.answers.max_list_bytes.as_usize());
        assert!(!history.large && !history.changes);
        assert!(of(Command::AllUserReq, 4).large);
        let few = of(Command::UsersInfoReq, 10);
        assert!(few.bytes < 50_000);
        let many = of(Command::UsersInfoReq, 1 << 20);
        assert_eq!(many.bytes, 2 * config.answers.max_ids * PERSON);
        assert!(of(Command::GroupShieldReq, 9).changes);
        assert_eq!(super::of(None, 9, &config).bytes, SMALL);
    }
}
