//! Messages that are in the store: lists, single ones, the newest id.

use bytes::Bytes;
use im_codec::Command;
use im_core::MsgId;
use im_proto_teamtalk::message::{
    ImGetLatestMsgIdReq, ImGetLatestMsgIdRsp, ImGetMsgByIdReq, ImGetMsgByIdRsp, ImGetMsgListReq,
    ImGetMsgListRsp,
};
use im_store::ReadLimit;

use super::convert::msg_info;
use super::{Answers, Asker, Bound, Handled, Reply, decode};

impl Answers {
    /// 0x0309: newest first, backwards from an id; members of a group see what came after they
    /// joined. As many as fit one frame: whoever wants more asks for what is before the last one.
    pub(super) async fn message_list(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImGetMsgListReq>(body) else {
            return Ok(Reply::Silent);
        };
        let ImGetMsgListReq {
            session_type,
            session_id,
            msg_id_begin,
            msg_cnt,
            ..
        } = request;
        let most = self.limits().max_history;
        if msg_cnt > most {
            self.metrics.reached(Bound::History);
        }
        let limit = msg_cnt.min(most);
        let bounds = self.list_bounds(asker);
        let messages = match self.visible(asker.user, session_type, session_id).await? {
            Some(visible) if limit > 0 => {
                let from = MsgId::from_wire(msg_id_begin);
                let limit = ReadLimit {
                    rows: limit,
                    bytes: bounds.frame,
                };
                self.store
                    .history(visible.conversation, from, visible.oldest, limit)
                    .await?
            }
            _ => Vec::new(),
        };
        let msg_list = bounds.first_part(messages.into_iter().filter_map(msg_info));
        Ok(Reply::one(
            Command::GetMsgListRsp,
            &ImGetMsgListRsp {
                user_id: asker.user.get(),
                session_type,
                session_id,
                msg_id_begin,
                msg_list,
                attach_data: None,
            },
        ))
    }

    /// 0x030b: 0 when there is none, and for groups of which he is no member.
    pub(super) async fn latest_id(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImGetLatestMsgIdReq>(body) else {
            return Ok(Reply::Silent);
        };
        let ImGetLatestMsgIdReq {
            session_type,
            session_id,
            ..
        } = request;
        let newest = match self.visible(asker.user, session_type, session_id).await? {
            Some(visible) => self.store.latest_id(visible.conversation).await?,
            None => None,
        };
        Ok(Reply::one(
            Command::GetLatestMsgIdRsp,
            &ImGetLatestMsgIdRsp {
                user_id: asker.user.get(),
                session_type,
                session_id,
                latest_msg_id: newest.map_or(0, MsgId::get),
                attach_data: None,
            },
        ))
    }

    /// 0x030d: those that exist, newest first.
    pub(super) async fn messages_by_id(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImGetMsgByIdReq>(body) else {
            return Ok(Reply::Silent);
        };
        let ImGetMsgByIdReq {
            session_type,
            session_id,
            mut msg_id_list,
            ..
        } = request;
        let limits = self.limits();
        self.fits(Bound::Ids, msg_id_list.len(), limits.max_ids);
        msg_id_list.truncate(limits.max_ids);
        let most = usize::try_from(limits.max_by_id).unwrap_or(usize::MAX);
        self.fits(Bound::ById, msg_id_list.len(), most);
        let bounds = self.list_bounds(asker);
        let messages = match self.visible(asker.user, session_type, session_id).await? {
            Some(visible) if !msg_id_list.is_empty() => {
                let limit = ReadLimit {
                    rows: limits.max_by_id,
                    bytes: bounds.total,
                };
                self.store
                    .by_ids(visible.conversation, &msg_id_list, visible.oldest, limit)
                    .await?
            }
            _ => Vec::new(),
        };
        let parts = bounds.parts(messages.into_iter().filter_map(msg_info));
        Ok(Reply::many(
            Command::GetMsgByIdRsp,
            parts.into_iter().map(|msg_list| ImGetMsgByIdRsp {
                user_id: asker.user.get(),
                session_type,
                session_id,
                msg_list,
                attach_data: None,
            }),
        ))
    }
}
