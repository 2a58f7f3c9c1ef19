//! The table itself. One line for each command: its number, service, message, direction, handler
//! and answer, above them its published name.

use im_proto_teamtalk::MessageKind;

use super::{Direction, Handler, Service};

macro_rules! commands {
    ($(
        $cid:literal
        $variant:ident = $id:literal, $service:ident, $message:ident, $direction:ident,
            $handler:ident, $answer:expr;
    )*) => {
        /// Every command of the protocol; the discriminant is the number on the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Command {
            $(
                #[doc = concat!("`", $cid, "`")]
                $variant = $id,
            )*
        }

        impl Command {
            /// All of them, by ascending number.
            pub const ALL: [Self; [$($id),*].len()] = [$(Self::$variant),*];

            /// The command with this number.
            #[inline]
            pub const fn from_id(id: u16) -> Option<Self> {
                match id {
                    $($id => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The number on the wire.
            #[inline]
            pub const fn id(self) -> u16 {
                self as u16
            }

            /// The published name, such as `CID_MSG_DATA`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $cid,)*
                }
            }

            /// The service it belongs to.
            #[inline]
            pub const fn service(self) -> Service {
                match self {
                    $(Self::$variant => Service::$service,)*
                }
            }

            /// The message it carries.
            #[inline]
            pub const fn message(self) -> MessageKind {
                match self {
                    $(Self::$variant => MessageKind::$message,)*
                }
            }

            /// Between whom it travels.
            #[inline]
            pub const fn direction(self) -> Direction {
                match self {
                    $(Self::$variant => Direction::$direction,)*
                }
            }

            /// What a msg server does when a client sends it.
            #[inline]
            pub const fn handler(self) -> Handler {
                match self {
                    $(Self::$variant => Handler::$handler,)*
                }
            }

            /// The command of its answer, if it has one.
            #[inline]
            pub const fn answer(self) -> Option<Self> {
                use Command::*;
                match self {
                    $(Self::$variant => $answer,)*
                }
            }
        }
    };
}

commands! {
    "CID_LOGIN_REQ_MSGSERVER"
    MsgServReq = 0x0101, Login, ImMsgServReq, ClientToLogin, Dispatch, Some(MsgServRsp);
    "CID_LOGIN_RES_MSGSERVER"
    MsgServRsp = 0x0102, Login, ImMsgServRsp, LoginToClient, Answer, None;
    "CID_LOGIN_REQ_USERLOGIN"
    LoginReq = 0x0103, Login, ImLoginReq, ClientToMsg, Login, Some(LoginRes);
    "CID_LOGIN_RES_USERLOGIN"
    LoginRes = 0x0104, Login, ImLoginRes, Answer, Answer, None;
    "CID_LOGIN_REQ_LOGINOUT"
    LogoutReq = 0x0105, Login, ImLogoutReq, ClientToMsg, Logout, Some(LogoutRsp);
    "CID_LOGIN_RES_LOGINOUT"
    LogoutRsp = 0x0106, Login, ImLogoutRsp, Answer, Answer, None;
    "CID_LOGIN_KICK_USER"
    KickUser = 0x0107, Login, ImKickUser, Push, Push, None;
    "CID_LOGIN_REQ_DEVICETOKEN"
    DeviceTokenReq = 0x0108, Login, ImDeviceTokenReq, ClientToMsg, DeviceToken, Some(DeviceTokenRsp);
    "CID_LOGIN_RES_DEVICETOKEN"
    DeviceTokenRsp = 0x0109, Login, ImDeviceTokenRsp, Answer, Answer, None;
    "CID_LOGIN_REQ_KICKPCCLIENT"
    KickPcClientReq = 0x010a, Login, ImKickPcClientReq, ClientToMsg, KickPc, Some(KickPcClientRsp);
    "CID_LOGIN_RES_KICKPCCLIENT"
    KickPcClientRsp = 0x010b, Login, ImKickPcClientRsp, Answer, Answer, None;
    "CID_LOGIN_REQ_PUSH_SHIELD"
    PushShieldReq = 0x010c, Login, ImPushShieldReq, ClientToMsg, Change, Some(PushShieldRsp);
    "CID_LOGIN_RES_PUSH_SHIELD"
    PushShieldRsp = 0x010d, Login, ImPushShieldRsp, Answer, Answer, None;
    "CID_LOGIN_REQ_QUERY_PUSH_SHIELD"
    QueryPushShieldReq = 0x010e, Login, ImQueryPushShieldReq, ClientToMsg, Query, Some(QueryPushShieldRsp);
    "CID_LOGIN_RES_QUERY_PUSH_SHIELD"
    QueryPushShieldRsp = 0x010f, Login, ImQueryPushShieldRsp, Answer, Answer, None;
    "CID_BUDDY_LIST_RECENT_CONTACT_SESSION_REQUEST"
    RecentContactSessionReq = 0x0201, BuddyList, ImRecentContactSessionReq, ClientToMsg, Query, Some(RecentContactSessionRsp);
    "CID_BUDDY_LIST_RECENT_CONTACT_SESSION_RESPONSE"
    RecentContactSessionRsp = 0x0202, BuddyList, ImRecentContactSessionRsp, Answer, Answer, None;
    "CID_BUDDY_LIST_STATUS_NOTIFY"
    UserStatNotify = 0x0203, BuddyList, ImUserStatNotify, Push, Push, None;
    "CID_BUDDY_LIST_USER_INFO_REQUEST"
    UsersInfoReq = 0x0204, BuddyList, ImUsersInfoReq, ClientToMsg, Query, Some(UsersInfoRsp);
    "CID_BUDDY_LIST_USER_INFO_RESPONSE"
    UsersInfoRsp = 0x0205, BuddyList, ImUsersInfoRsp, Answer, Answer, None;
    "CID_BUDDY_LIST_REMOVE_SESSION_REQ"
    RemoveSessionReq = 0x0206, BuddyList, ImRemoveSessionReq, ClientToMsg, Change, Some(RemoveSessionRsp);
    "CID_BUDDY_LIST_REMOVE_SESSION_RES"
    RemoveSessionRsp = 0x0207, BuddyList, ImRemoveSessionRsp, Answer, Answer, None;
    "CID_BUDDY_LIST_ALL_USER_REQUEST"
    AllUserReq = 0x0208, BuddyList, ImAllUserReq, ClientToMsg, Query, Some(AllUserRsp);
    "CID_BUDDY_LIST_ALL_USER_RESPONSE"
    AllUserRsp = 0x0209, BuddyList, ImAllUserRsp, Answer, Answer, None;
    "CID_BUDDY_LIST_USERS_STATUS_REQUEST"
    UsersStatReq = 0x020a, BuddyList, ImUsersStatReq, ClientToMsg, Presence, Some(UsersStatRsp);
    "CID_BUDDY_LIST_USERS_STATUS_RESPONSE"
    UsersStatRsp = 0x020b, BuddyList, ImUsersStatRsp, Answer, Answer, None;
    "CID_BUDDY_LIST_CHANGE_AVATAR_REQUEST"
    ChangeAvatarReq = 0x020c, BuddyList, ImChangeAvatarReq, ClientToMsg, Change, Some(ChangeAvatarRsp);
    "CID_BUDDY_LIST_CHANGE_AVATAR_RESPONSE"
    ChangeAvatarRsp = 0x020d, BuddyList, ImChangeAvatarRsp, Answer, Answer, None;
    "CID_BUDDY_LIST_PC_LOGIN_STATUS_NOTIFY"
    PcLoginStatusNotify = 0x020e, BuddyList, ImpcLoginStatusNotify, Push, Push, None;
    "CID_BUDDY_LIST_REMOVE_SESSION_NOTIFY"
    RemoveSessionNotify = 0x020f, BuddyList, ImRemoveSessionNotify, Push, Push, None;
    "CID_BUDDY_LIST_DEPARTMENT_REQUEST"
    DepartmentReq = 0x0210, BuddyList, ImDepartmentReq, ClientToMsg, Query, Some(DepartmentRsp);
    "CID_BUDDY_LIST_DEPARTMENT_RESPONSE"
    DepartmentRsp = 0x0211, BuddyList, ImDepartmentRsp, Answer, Answer, None;
    "CID_BUDDY_LIST_AVATAR_CHANGED_NOTIFY"
    AvatarChangedNotify = 0x0212, BuddyList, ImAvatarChangedNotify, Push, Push, None;
    "CID_BUDDY_LIST_CHANGE_SIGN_INFO_REQUEST"
    ChangeSignInfoReq = 0x0213, BuddyList, ImChangeSignInfoReq, ClientToMsg, Change, Some(ChangeSignInfoRsp);
    "CID_BUDDY_LIST_CHANGE_SIGN_INFO_RESPONSE"
    ChangeSignInfoRsp = 0x0214, BuddyList, ImChangeSignInfoRsp, Answer, Answer, None;
    "CID_BUDDY_LIST_SIGN_INFO_CHANGED_NOTIFY"
    SignInfoChangedNotify = 0x0215, BuddyList, ImSignInfoChangedNotify, Push, Push, None;
    "CID_MSG_DATA"
    MsgData = 0x0301, Msg, ImMsgData, ClientAndMsg, Store, Some(MsgDataAck);
    "CID_MSG_DATA_ACK"
    MsgDataAck = 0x0302, Msg, ImMsgDataAck, ClientAndMsg, Receipt, None;
    "CID_MSG_READ_ACK"
    MsgDataReadAck = 0x0303, Msg, ImMsgDataReadAck, ClientToMsg, ReadAck, None;
    "CID_MSG_READ_NOTIFY"
    MsgDataReadNotify = 0x0304, Msg, ImMsgDataReadNotify, Push, Push, None;
    "CID_MSG_TIME_REQUEST"
    ClientTimeReq = 0x0305, Msg, ImClientTimeReq, ClientToMsg, Time, Some(ClientTimeRsp);
    "CID_MSG_TIME_RESPONSE"
    ClientTimeRsp = 0x0306, Msg, ImClientTimeRsp, Answer, Answer, None;
    "CID_MSG_UNREAD_CNT_REQUEST"
    UnreadMsgCntReq = 0x0307, Msg, ImUnreadMsgCntReq, ClientToMsg, Query, Some(UnreadMsgCntRsp);
    "CID_MSG_UNREAD_CNT_RESPONSE"
    UnreadMsgCntRsp = 0x0308, Msg, ImUnreadMsgCntRsp, Answer, Answer, None;
    "CID_MSG_LIST_REQUEST"
    GetMsgListReq = 0x0309, Msg, ImGetMsgListReq, ClientToMsg, Query, Some(GetMsgListRsp);
    "CID_MSG_LIST_RESPONSE"
    GetMsgListRsp = 0x030a, Msg, ImGetMsgListRsp, Answer, Answer, None;
    "CID_MSG_GET_LATEST_MSG_ID_REQ"
    GetLatestMsgIdReq = 0x030b, Msg, ImGetLatestMsgIdReq, ClientToMsg, Query, Some(GetLatestMsgIdRsp);
    "CID_MSG_GET_LATEST_MSG_ID_RSP"
    GetLatestMsgIdRsp = 0x030c, Msg, ImGetLatestMsgIdRsp, Answer, Answer, None;
    "CID_MSG_GET_BY_MSG_ID_REQ"
    GetMsgByIdReq = 0x030d, Msg, ImGetMsgByIdReq, ClientToMsg, Query, Some(GetMsgByIdRsp);
    "CID_MSG_GET_BY_MSG_ID_RES"
    GetMsgByIdRsp = 0x030e, Msg, ImGetMsgByIdRsp, Answer, Answer, None;
    "CID_GROUP_NORMAL_LIST_REQUEST"
    NormalGroupListReq = 0x0401, Group, ImNormalGroupListReq, ClientToMsg, Query, Some(NormalGroupListRsp);
    "CID_GROUP_NORMAL_LIST_RESPONSE"
    NormalGroupListRsp = 0x0402, Group, ImNormalGroupListRsp, Answer, Answer, None;
    "CID_GROUP_INFO_REQUEST"
    GroupInfoListReq = 0x0403, Group, ImGroupInfoListReq, ClientToMsg, Query, Some(GroupInfoListRsp);
    "CID_GROUP_INFO_RESPONSE"
    GroupInfoListRsp = 0x0404, Group, ImGroupInfoListRsp, Answer, Answer, None;
    "CID_GROUP_CREATE_REQUEST"
    GroupCreateReq = 0x0405, Group, ImGroupCreateReq, ClientToMsg, Change, Some(GroupCreateRsp);
    "CID_GROUP_CREATE_RESPONSE"
    GroupCreateRsp = 0x0406, Group, ImGroupCreateRsp, Answer, Answer, None;
    "CID_GROUP_CHANGE_MEMBER_REQUEST"
    GroupChangeMemberReq = 0x0407, Group, ImGroupChangeMemberReq, ClientToMsg, Change, Some(GroupChangeMemberRsp);
    "CID_GROUP_CHANGE_MEMBER_RESPONSE"
    GroupChangeMemberRsp = 0x0408, Group, ImGroupChangeMemberRsp, Answer, Answer, None;
    "CID_GROUP_SHIELD_GROUP_REQUEST"
    GroupShieldReq = 0x0409, Group, ImGroupShieldReq, ClientToMsg, Change, Some(GroupShieldRsp);
    "CID_GROUP_SHIELD_GROUP_RESPONSE"
    GroupShieldRsp = 0x040a, Group, ImGroupShieldRsp, Answer, Answer, None;
    "CID_GROUP_CHANGE_MEMBER_NOTIFY"
    GroupChangeMemberNotify = 0x040b, Group, ImGroupChangeMemberNotify, Push, Push, None;
    "CID_FILE_LOGIN_REQ"
    FileLoginReq = 0x0501, File, ImFileLoginReq, ClientAndFile, FileServer, Some(FileLoginRsp);
    "CID_FILE_LOGIN_RES"
    FileLoginRsp = 0x0502, File, ImFileLoginRsp, ClientAndFile, FileServer, None;
    "CID_FILE_STATE"
    FileState = 0x0503, File, ImFileState, ClientAndFile, FileServer, None;
    "CID_FILE_PULL_DATA_REQ"
    FilePullDataReq = 0x0504, File, ImFilePullDataReq, ClientAndFile, FileServer, Some(FilePullDataRsp);
    "CID_FILE_PULL_DATA_RSP"
    FilePullDataRsp = 0x0505, File, ImFilePullDataRsp, ClientAndFile, FileServer, None;
    "CID_FILE_REQUEST"
    FileReq = 0x0506, File, ImFileReq, ClientToMsg, File, Some(FileRsp);
    "CID_FILE_RESPONSE"
    FileRsp = 0x0507, File, ImFileRsp, Answer, Answer, None;
    "CID_FILE_NOTIFY"
    FileNotify = 0x0508, File, ImFileNotify, Push, Push, None;
    "CID_FILE_HAS_OFFLINE_REQ"
    FileHasOfflineReq = 0x0509, File, ImFileHasOfflineReq, ClientToMsg, File, Some(FileHasOfflineRsp);
    "CID_FILE_HAS_OFFLINE_RES"
    FileHasOfflineRsp = 0x050a, File, ImFileHasOfflineRsp, Answer, Answer, None;
    "CID_FILE_ADD_OFFLINE_REQ"
    FileAddOfflineReq = 0x050b, File, ImFileAddOfflineReq, ClientToMsg, File, None;
    "CID_FILE_DEL_OFFLINE_REQ"
    FileDelOfflineReq = 0x050c, File, ImFileDelOfflineReq, ClientToMsg, File, None;
    "CID_SWITCH_P2P_CMD"
    P2pCmdMsg = 0x0601, SwitchService, Imp2pCmdMsg, ClientAndMsg, Signal, None;
    "CID_OTHER_HEARTBEAT"
    HeartBeat = 0x0701, Other, ImHeartBeat, ClientAndMsg, Heartbeat, Some(HeartBeat);
    "CID_OTHER_STOP_RECV_PACKET"
    StopReceivePacket = 0x0702, Other, ImStopReceivePacket, Servers, Internal, None;
    "CID_OTHER_VALIDATE_REQ"
    ValidateReq = 0x0703, Other, ImValidateReq, Servers, Internal, Some(ValidateRsp);
    "CID_OTHER_VALIDATE_RSP"
    ValidateRsp = 0x0704, Other, ImValidateRsp, Servers, Internal, None;
    "CID_OTHER_GET_DEVICE_TOKEN_REQ"
    GetDeviceTokenReq = 0x0705, Other, ImGetDeviceTokenReq, Servers, Internal, Some(GetDeviceTokenRsp);
    "CID_OTHER_GET_DEVICE_TOKEN_RSP"
    GetDeviceTokenRsp = 0x0706, Other, ImGetDeviceTokenRsp, Servers, Internal, None;
    "CID_OTHER_ROLE_SET"
    RoleSet = 0x0707, Other, ImRoleSet, Servers, Internal, None;
    "CID_OTHER_ONLINE_USER_INFO"
    OnlineUserInfo = 0x0708, Other, ImOnlineUserInfo, Servers, Internal, None;
    "CID_OTHER_MSG_SERV_INFO"
    MsgServInfo = 0x0709, Other, ImMsgServInfo, Servers, Internal, None;
    "CID_OTHER_USER_STATUS_UPDATE"
    UserStatusUpdate = 0x070a, Other, ImUserStatusUpdate, Servers, Internal, None;
    "CID_OTHER_USER_CNT_UPDATE"
    UserCntUpdate = 0x070b, Other, ImUserCntUpdate, Servers, Internal, None;
    "CID_OTHER_SERVER_KICK_USER"
    ServerKickUser = 0x070d, Other, ImServerKickUser, Servers, Internal, None;
    "CID_OTHER_LOGIN_STATUS_NOTIFY"
    ServerPcLoginStatusNotify = 0x070e, Other, ImServerPcLoginStatusNotify, Servers, Internal, None;
    "CID_OTHER_PUSH_TO_USER_REQ"
    PushToUserReq = 0x070f, Other, ImPushToUserReq, Servers, Internal, Some(PushToUserRsp);
    "CID_OTHER_PUSH_TO_USER_RSP"
    PushToUserRsp = 0x0710, Other, ImPushToUserRsp, Servers, Internal, None;
    "CID_OTHER_GET_SHIELD_REQ"
    GroupGetShieldReq = 0x0711, Other, ImGroupGetShieldReq, Servers, Internal, Some(GroupGetShieldRsp);
    "CID_OTHER_GET_SHIELD_RSP"
    GroupGetShieldRsp = 0x0712, Other, ImGroupGetShieldRsp, Servers, Internal, None;
    "CID_OTHER_FILE_TRANSFER_REQ"
    FileTransferReq = 0x0731, Other, ImFileTransferReq, Servers, Internal, Some(FileTransferRsp);
    "CID_OTHER_FILE_TRANSFER_RSP"
    FileTransferRsp = 0x0732, Other, ImFileTransferRsp, Servers, Internal, None;
    "CID_OTHER_FILE_SERVER_IP_REQ"
    FileServerIpReq = 0x0733, Other, ImFileServerIpReq, Servers, Internal, Some(FileServerIpRsp);
    "CID_OTHER_FILE_SERVER_IP_RSP"
    FileServerIpRsp = 0x0734, Other, ImFileServerIpRsp, Servers, Internal, None;
}
