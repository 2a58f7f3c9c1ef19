//! Recent sessions, unread counts, read positions.

use bytes::Bytes;
use im_codec::Command;
use im_core::time::UnixSeconds;
use im_core::{Conversation, Peer, SessionType};
use im_proto_teamtalk::buddy::{
    ImRecentContactSessionReq, ImRecentContactSessionRsp, ImRemoveSessionNotify,
    ImRemoveSessionReq, ImRemoveSessionRsp,
};
use im_proto_teamtalk::message::{
    ImMsgDataReadAck, ImMsgDataReadNotify, ImUnreadMsgCntReq, ImUnreadMsgCntRsp,
};
use im_store::Preview;

use super::convert::{contact_session, unread_info};
use super::events::to_other_terminals;
use super::frames::Bounds;
use super::{Answers, Asker, Bound, Handled, Reply, decode};

impl Answers {
    /// Bounds of a list of conversations of an answer within `bounds`.
    fn preview(&self, rows: u32, bounds: Bounds) -> Preview {
        Preview {
            rows,
            bytes: bounds.total,
            body: self.limits().max_preview.as_usize(),
        }
    }

    /// Counts a list that has as many conversations as it may.
    fn listed(&self, bound: Bound, lines: usize, most: u32) {
        if usize::try_from(most).is_ok_and(|most| lines >= most) {
            self.metrics.reached(bound);
        }
    }

    /// 0x0201: newest first, those of the second of the given time and later: another conversation may have
    /// changed in the second in which the client last looked.
    pub(super) async fn recent_sessions(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImRecentContactSessionReq>(body) else {
            return Ok(Reply::Silent);
        };
        let now = UnixSeconds::now();
        // A time that a clock ahead of ours has made would hide everything until then.
        let since = Some(UnixSeconds::from_wire(request.latest_update_time))
            .filter(|since| *since <= now)
            .map(|since| since.saturating_sub(1));
        let bounds = self.list_bounds(asker);
        let limit = self.preview(self.limits().max_recent_sessions, bounds);
        let views = self
            .store
            .recent_sessions(asker.user, since.unwrap_or_default(), limit)
            .await?;
        self.listed(Bound::Recent, views.len(), limit.rows);
        let lines = views
            .iter()
            .filter_map(|view| contact_session(view, asker.user, now));
        let parts = bounds.parts(lines);
        Ok(Reply::many(
            Command::RecentContactSessionRsp,
            parts
                .into_iter()
                .map(|contact_session_list| ImRecentContactSessionRsp {
                    user_id: asker.user.get(),
                    contact_session_list,
                    attach_data: None,
                }),
        ))
    }

    /// 0x0206: the session disappears from the list until a newer message comes, and counts as read.
    pub(super) async fn remove_session(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(request) = decode::<ImRemoveSessionReq>(body) else {
            return Ok(Reply::Silent);
        };
        let ImRemoveSessionReq {
            session_type,
            session_id,
            ..
        } = request;
        let peer = u32::try_from(session_type)
            .ok()
            .and_then(|session_type| Peer::from_wire(session_type, session_id));
        let conversation = peer.and_then(|peer| Conversation::of(asker.user, peer));
        let removed = match conversation {
            Some(conversation) => self.store.remove_session(asker.user, conversation).await?,
            None => false,
        };
        // As in the original, the user's other terminals hear of pairs only.
        if removed && session_type == SessionType::Single as i32 {
            let notify = ImRemoveSessionNotify {
                user_id: asker.user.get(),
                session_type,
                session_id,
            };
            self.publisher.publish(vec![to_other_terminals(
                asker.user,
                asker.origin,
                Command::RemoveSessionNotify,
                &notify,
            )]);
        }
        Ok(Reply::one(
            Command::RemoveSessionRsp,
            &ImRemoveSessionRsp {
                user_id: asker.user.get(),
                result_code: u32::from(!removed),
                session_type,
                session_id,
                attach_data: None,
            },
        ))
    }

    /// 0x0307: the most recent sessions with messages of others that they have not read; what is left
    /// out counts in the total. The positions that are not in
    /// the store yet are asked first: one that is flushed in between is then counted by the store.
    pub(super) async fn unread_counts(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(ImUnreadMsgCntReq { .. }) = decode(body) else {
            return Ok(Reply::Silent);
        };
        let pending = self.positions.pending(asker.user);
        let bounds = self.list_bounds(asker);
        let limit = self.preview(self.limits().max_unread_sessions, bounds);
        let unread = self
            .store
            .unread_sessions(asker.user, &pending, limit)
            .await?;
        self.listed(Bound::Unread, unread.views.len(), limit.rows);
        let total_cnt = u32::try_from(unread.total).unwrap_or(u32::MAX);
        let lines = unread
            .views
            .iter()
            .filter_map(|view| unread_info(view, asker.user));
        let parts = bounds.parts(lines);
        Ok(Reply::many(
            Command::UnreadMsgCntRsp,
            parts.into_iter().map(|unreadinfo_list| ImUnreadMsgCntRsp {
                user_id: asker.user.get(),
                total_cnt,
                unreadinfo_list,
                attach_data: None,
            }),
        ))
    }

    /// 0x0303: he has read up to an id. 0 and ids that do not exist yet mean everything: clients
    /// send ids of their own placeholders. An acknowledgement that
    /// changes nothing is not passed on, since phones answer the notice with one (10.14).
    pub(super) async fn read_ack(&self, asker: Asker, body: Bytes) -> Handled {
        let Some(ack) = decode::<ImMsgDataReadAck>(body) else {
            return Ok(Reply::Silent);
        };
        let visible = self
            .visible(asker.user, ack.session_type, ack.session_id)
            .await?;
        let Some(visible) = visible else {
            return Ok(Reply::Silent);
        };
        let Some(newest) = self.store.latest_id(visible.conversation).await? else {
            return Ok(Reply::Silent);
        };
        let read_id = match ack.msg_id {
            0 => newest.get(),
            id => id.min(newest.get()),
        };
        if self
            .positions
            .note(asker.user, visible.conversation, read_id)
            .await?
        {
            let notify = ImMsgDataReadNotify {
                user_id: asker.user.get(),
                session_id: ack.session_id,
                msg_id: ack.msg_id,
                session_type: ack.session_type,
            };
            self.publisher.publish(vec![to_other_terminals(
                asker.user,
                asker.origin,
                Command::MsgDataReadNotify,
                &notify,
            )]);
        }
        Ok(Reply::Silent)
    }
}
