//! Every request of a client, typed.

use im_codec::Command;
use im_core::{GroupId, Peer, UserId};
use im_proto_teamtalk::base::{
    GroupInfo, GroupModifyType, GroupType, GroupVersionInfo, UserInfo, UserStat,
};
use im_proto_teamtalk::buddy::{
    ImAllUserReq, ImAllUserRsp, ImChangeAvatarReq, ImChangeAvatarRsp, ImChangeSignInfoReq,
    ImChangeSignInfoRsp, ImDepartmentReq, ImDepartmentRsp, ImRecentContactSessionReq,
    ImRecentContactSessionRsp, ImRemoveSessionReq, ImRemoveSessionRsp, ImUsersInfoReq,
    ImUsersInfoRsp, ImUsersStatReq, ImUsersStatRsp,
};
use im_proto_teamtalk::group::{
    ImGroupChangeMemberReq, ImGroupChangeMemberRsp, ImGroupCreateReq, ImGroupCreateRsp,
    ImGroupInfoListReq, ImGroupInfoListRsp, ImGroupShieldReq, ImGroupShieldRsp,
    ImNormalGroupListReq, ImNormalGroupListRsp,
};
use im_proto_teamtalk::login::{
    ImDeviceTokenReq, ImDeviceTokenRsp, ImKickPcClientReq, ImKickPcClientRsp, ImLogoutReq,
    ImLogoutRsp, ImPushShieldReq, ImPushShieldRsp, ImQueryPushShieldReq, ImQueryPushShieldRsp,
};
use im_proto_teamtalk::message::{
    ImClientTimeReq, ImClientTimeRsp, ImGetLatestMsgIdReq, ImGetLatestMsgIdRsp, ImGetMsgByIdReq,
    ImGetMsgByIdRsp, ImGetMsgListReq, ImGetMsgListRsp, ImMsgDataAck, ImMsgDataReadAck,
    ImUnreadMsgCntReq, ImUnreadMsgCntRsp,
};
use im_proto_teamtalk::other::ImHeartBeat;
use im_proto_teamtalk::switch::Imp2pCmdMsg;

mod files;

pub use files::FileOffer;

use super::Client;
use crate::error::Error;

type Answer<T> = Result<T, Error>;

/// The conversation's kind as the messages carry it.
fn kind_of(peer: Peer) -> i32 {
    i32::try_from(peer.session_type().to_wire()).unwrap_or_default()
}

fn ids(users: &[UserId]) -> Vec<u32> {
    users.iter().map(|user| user.get()).collect()
}

/// Session and push settings.
impl Client {
    /// Ends the session at the server (0x0105) and closes.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn logout(&self) -> Answer<ImLogoutRsp> {
        let answer = self.request(Command::LogoutReq, &ImLogoutReq {}).await;
        self.close().await;
        answer
    }

    /// Stores a push token; an empty one forgets it. Phones only.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn set_device_token(&self, token: &str) -> Answer<ImDeviceTokenRsp> {
        let request = ImDeviceTokenReq {
            user_id: self.named(),
            device_token: token.to_owned(),
            client_type: i32::try_from(self.config().client_type.to_wire()).ok(),
            attach_data: None,
        };
        self.request(Command::DeviceTokenReq, &request).await
    }

    /// Ends this user's PC session. Phones only.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn kick_pc(&self) -> Answer<ImKickPcClientRsp> {
        let request = ImKickPcClientReq {
            user_id: self.named(),
        };
        self.request(Command::KickPcClientReq, &request).await
    }

    /// Sets the night-time push shield.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn set_push_shield(&self, on: bool) -> Answer<ImPushShieldRsp> {
        let request = ImPushShieldReq {
            user_id: self.named(),
            shield_status: on.into(),
            attach_data: None,
        };
        self.request(Command::PushShieldReq, &request).await
    }

    /// Asks for the night-time push shield.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn push_shield(&self) -> Answer<ImQueryPushShieldRsp> {
        let request = ImQueryPushShieldReq {
            user_id: self.named(),
            attach_data: None,
        };
        self.request(Command::QueryPushShieldReq, &request).await
    }

    /// Sends a heartbeat and waits for its echo: the server has then handled everything that this
    /// client wrote before.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn heartbeat(&self) -> Answer<()> {
        self.request::<_, ImHeartBeat>(Command::HeartBeat, &ImHeartBeat {})
            .await
            .map(drop)
    }
}

/// Directory, presence, recent conversations.
impl Client {
    /// Everybody who changed since then; 0 for all.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn all_users(&self, since: u32) -> Answer<ImAllUserRsp> {
        let request = ImAllUserReq {
            user_id: self.named(),
            latest_update_time: since,
            attach_data: None,
        };
        self.request(Command::AllUserReq, &request).await
    }

    /// The records of these people.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn users_info(&self, users: &[UserId]) -> Answer<Vec<UserInfo>> {
        let request = ImUsersInfoReq {
            user_id: self.named(),
            user_id_list: ids(users),
            attach_data: None,
        };
        let answer: ImUsersInfoRsp = self.request(Command::UsersInfoReq, &request).await?;
        Ok(answer.user_info_list)
    }

    /// Departments that changed since then; 0 for all.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn departments(&self, since: u32) -> Answer<ImDepartmentRsp> {
        let request = ImDepartmentReq {
            user_id: self.named(),
            latest_update_time: since,
            attach_data: None,
        };
        self.request(Command::DepartmentReq, &request).await
    }

    /// The presence of these people, in the same order.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn presence(&self, users: &[UserId]) -> Answer<Vec<UserStat>> {
        let request = ImUsersStatReq {
            user_id: self.named(),
            user_id_list: ids(users),
            attach_data: None,
        };
        let answer: ImUsersStatRsp = self.request(Command::UsersStatReq, &request).await?;
        Ok(answer.user_stat_list)
    }

    /// Recent conversations that changed since then; 0 for all.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn recent_sessions(&self, since: u32) -> Answer<ImRecentContactSessionRsp> {
        let request = ImRecentContactSessionReq {
            user_id: self.named(),
            latest_update_time: since,
            attach_data: None,
        };
        self.request(Command::RecentContactSessionReq, &request)
            .await
    }

    /// Hides a recent conversation.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn remove_session(&self, peer: Peer) -> Answer<ImRemoveSessionRsp> {
        let request = ImRemoveSessionReq {
            user_id: self.named(),
            session_type: kind_of(peer),
            session_id: peer.session_id(),
            attach_data: None,
        };
        self.request(Command::RemoveSessionReq, &request).await
    }

    /// Sets the own signature.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn change_signature(&self, text: &str) -> Answer<ImChangeSignInfoRsp> {
        let request = ImChangeSignInfoReq {
            user_id: self.named(),
            sign_info: text.to_owned(),
            attach_data: None,
        };
        self.request(Command::ChangeSignInfoReq, &request).await
    }

    /// Sets the own avatar.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn change_avatar(&self, url: &str) -> Answer<ImChangeAvatarRsp> {
        let request = ImChangeAvatarReq {
            user_id: self.named(),
            avatar_url: url.to_owned(),
            attach_data: None,
        };
        self.request(Command::ChangeAvatarReq, &request).await
    }
}

/// Messages.
impl Client {
    /// What was not read yet.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn unread(&self) -> Answer<ImUnreadMsgCntRsp> {
        let request = ImUnreadMsgCntReq {
            user_id: self.named(),
            attach_data: None,
        };
        self.request(Command::UnreadMsgCntReq, &request).await
    }

    /// At most `count` messages backwards from `begin` (0: from the newest).
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn history(&self, peer: Peer, begin: u32, count: u32) -> Answer<ImGetMsgListRsp> {
        self.request(
            Command::GetMsgListReq,
            &self.history_request(peer, begin, count),
        )
        .await
    }

    /// The same under a tag of the Windows client: 0xff01 and 0xff02 for history, 0xff03 for
    /// unread messages.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn history_tagged(
        &self,
        tag: u16,
        peer: Peer,
        begin: u32,
        count: u32,
    ) -> Answer<ImGetMsgListRsp> {
        let request = self.history_request(peer, begin, count);
        self.request_seq(Command::GetMsgListReq, Some(tag), &request)
            .await
    }

    fn history_request(&self, peer: Peer, begin: u32, count: u32) -> ImGetMsgListReq {
        ImGetMsgListReq {
            user_id: self.named(),
            session_type: kind_of(peer),
            session_id: peer.session_id(),
            msg_id_begin: begin,
            msg_cnt: count,
            attach_data: None,
        }
    }

    /// The newest message id of a conversation, 0 when it is empty.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn latest_msg_id(&self, peer: Peer) -> Answer<u32> {
        let request = ImGetLatestMsgIdReq {
            user_id: self.named(),
            session_type: kind_of(peer),
            session_id: peer.session_id(),
            attach_data: None,
        };
        let answer: ImGetLatestMsgIdRsp =
            self.request(Command::GetLatestMsgIdReq, &request).await?;
        Ok(answer.latest_msg_id)
    }

    /// Certain messages of a conversation.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn messages_by_id(&self, peer: Peer, msg_ids: &[u32]) -> Answer<ImGetMsgByIdRsp> {
        let request = ImGetMsgByIdReq {
            user_id: self.named(),
            session_type: kind_of(peer),
            session_id: peer.session_id(),
            msg_id_list: msg_ids.to_vec(),
            attach_data: None,
        };
        self.request(Command::GetMsgByIdReq, &request).await
    }

    /// Says that a conversation was read up to this message. Has no answer.
    ///
    /// # Errors
    /// As [`Client::notify`].
    pub async fn read_ack(&self, peer: Peer, msg_id: u32) -> Answer<()> {
        let message = ImMsgDataReadAck {
            user_id: self.named(),
            session_id: peer.session_id(),
            msg_id,
            session_type: kind_of(peer),
        };
        self.notify(Command::MsgDataReadAck, &message).await
    }

    /// Says that a message arrived. Has no answer.
    ///
    /// # Errors
    /// As [`Client::notify`].
    pub async fn receipt(&self, peer: Peer, msg_id: u32) -> Answer<()> {
        let message = ImMsgDataAck {
            user_id: self.named(),
            session_id: peer.session_id(),
            msg_id,
            session_type: kind_of(peer),
        };
        self.notify(Command::MsgDataAck, &message).await
    }

    /// The server's clock, Unix seconds.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn server_time(&self) -> Answer<u32> {
        let answer: ImClientTimeRsp = self
            .request(Command::ClientTimeReq, &ImClientTimeReq {})
            .await?;
        Ok(answer.server_time)
    }

    /// Sends a signal to another user's terminals. Has no answer.
    ///
    /// # Errors
    /// As [`Client::notify`].
    pub async fn signal(&self, to: UserId, json: &str) -> Answer<()> {
        let message = Imp2pCmdMsg {
            from_user_id: self.named(),
            to_user_id: to.get(),
            cmd_msg_data: json.to_owned(),
        };
        self.notify(Command::P2pCmdMsg, &message).await
    }
}

/// Groups.
impl Client {
    /// The fixed groups of this user and their versions.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn normal_groups(&self) -> Answer<Vec<GroupVersionInfo>> {
        let request = ImNormalGroupListReq {
            user_id: self.named(),
            attach_data: None,
        };
        let answer: ImNormalGroupListRsp =
            self.request(Command::NormalGroupListReq, &request).await?;
        Ok(answer.group_version_list)
    }

    /// What is newer than these versions; version 0 for everything.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn group_info(&self, groups: &[(GroupId, u32)]) -> Answer<Vec<GroupInfo>> {
        let group_version_list = groups
            .iter()
            .map(|(group, version)| GroupVersionInfo {
                group_id: group.get(),
                version: *version,
            })
            .collect();
        let request = ImGroupInfoListReq {
            user_id: self.named(),
            group_version_list,
            attach_data: None,
        };
        let answer: ImGroupInfoListRsp = self.request(Command::GroupInfoListReq, &request).await?;
        Ok(answer.group_info_list)
    }

    /// Creates a temporary group of these members; the creator has to be among them.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn create_group(
        &self,
        name: &str,
        avatar: &str,
        members: &[UserId],
    ) -> Answer<ImGroupCreateRsp> {
        let request = ImGroupCreateReq {
            user_id: self.named(),
            group_type: GroupType::Tmp as i32,
            group_name: name.to_owned(),
            group_avatar: avatar.to_owned(),
            member_id_list: ids(members),
            attach_data: None,
        };
        self.request(Command::GroupCreateReq, &request).await
    }

    /// Adds members to a group or removes them.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn change_members(
        &self,
        group: GroupId,
        change: GroupModifyType,
        members: &[UserId],
    ) -> Answer<ImGroupChangeMemberRsp> {
        let request = ImGroupChangeMemberReq {
            user_id: self.named(),
            change_type: change as i32,
            group_id: group.get(),
            member_id_list: ids(members),
            attach_data: None,
        };
        self.request(Command::GroupChangeMemberReq, &request).await
    }

    /// Silences a group's pushes for this user, or not.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn shield_group(&self, group: GroupId, silent: bool) -> Answer<ImGroupShieldRsp> {
        let request = ImGroupShieldReq {
            user_id: self.named(),
            group_id: group.get(),
            shield_status: silent.into(),
            attach_data: None,
        };
        self.request(Command::GroupShieldReq, &request).await
    }
}
