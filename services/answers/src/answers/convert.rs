//! From what the store holds to what clients read.

use bytes::Bytes;
use im_codec::text::{LONG_PLACEHOLDER, VOICE_PLACEHOLDER};
use im_core::time::UnixSeconds;
use im_core::{Peer, UserId};
use im_proto_teamtalk::base::{
    ContactSessionInfo, DepartInfo, MsgInfo, MsgType, SessionStatusType, UnreadInfo,
};
use im_store::{DepartmentRecord, MemberView, StoredMessage};

/// `None` when the status is not one that clients know.
pub(super) fn department(record: DepartmentRecord) -> Option<DepartInfo> {
    (record.status <= 1).then_some(DepartInfo {
        dept_id: record.id,
        priority: record.priority,
        dept_name: record.name,
        parent_dept_id: record.parent,
        dept_status: i32::from(record.status == 1),
    })
}

/// A line of the recent sessions; `None` when the newest message has no type that clients know. A time
/// that lies in the future counts as now, so that nothing later is hidden behind it.
pub(super) fn contact_session(
    view: &MemberView,
    user: UserId,
    now: UnixSeconds,
) -> Option<ContactSessionInfo> {
    let peer = view.conversation.peer_of(user)?;
    let newest = &view.newest;
    Some(ContactSessionInfo {
        session_id: peer.session_id(),
        session_type: session_type(peer),
        session_status: SessionStatusType::SessionStatusOk.into(),
        updated_time: view.updated.min(now).get(),
        latest_msg_id: newest.msg_id.get(),
        latest_msg_data: summary(newest),
        latest_msg_type: known_type(newest.msg_type)?.into(),
        latest_msg_from_user_id: summary_author(peer, newest),
    })
}

/// A line of the unread counts; `None` when nothing is unread or the newest message has no type that
/// clients know.
pub(super) fn unread_info(view: &MemberView, user: UserId) -> Option<UnreadInfo> {
    let unread = view.unread(user);
    let peer = view.conversation.peer_of(user)?;
    let newest = &view.newest;
    let latest_msg_type = known_type(newest.msg_type)?.into();
    (unread > 0).then(|| UnreadInfo {
        session_id: peer.session_id(),
        session_type: session_type(peer),
        unread_cnt: unread,
        latest_msg_id: newest.msg_id.get(),
        latest_msg_data: summary(newest),
        latest_msg_type,
        latest_msg_from_user_id: summary_author(peer, newest),
    })
}

/// A line of history; `None` when the type is not one that clients know, or the body was taken away because it was
/// old. Nobody sends a message without one; those that came so from an original are left out too, since no client can
/// decrypt nothing.
pub(super) fn msg_info(message: StoredMessage) -> Option<MsgInfo> {
    if message.body.is_empty() {
        return None;
    }
    Some(MsgInfo {
        msg_id: message.msg_id.get(),
        from_session_id: message.sender.get(),
        create_time: message.time.get(),
        msg_type: known_type(message.msg_type)?.into(),
        msg_data: message.body,
    })
}

pub(super) fn session_type(peer: Peer) -> i32 {
    match peer {
        Peer::User(_) => 1,
        Peer::Group(_) => 2,
    }
}

/// Voice appears in summaries as an encrypted word, and so does what is too long for them, or too old to be
/// kept: clients crash on text that is cut.
fn summary(message: &StoredMessage) -> Bytes {
    match known_type(message.msg_type) {
        Some(MsgType::SingleAudio | MsgType::GroupAudio) => {
            Bytes::from_static(VOICE_PLACEHOLDER.as_bytes())
        }
        _ if message.body.is_empty() => Bytes::from_static(LONG_PLACEHOLDER.as_bytes()),
        _ => message.body.clone(),
    }
}

/// In pairs the peer, whoever wrote it; in groups the author.
fn summary_author(peer: Peer, message: &StoredMessage) -> u32 {
    match peer {
        Peer::User(other) => other.get(),
        Peer::Group(_) => message.sender.get(),
    }
}

fn known_type(raw: u32) -> Option<MsgType> {
    MsgType::try_from(i32::try_from(raw).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use im_core::{Conversation, GroupId, MsgId};
    use im_order::CommitSeq;

    use super::*;

    fn user(id: u32) -> UserId {
        UserId::from_wire(id).unwrap()
    }

    fn view(conversation: Conversation, newest: u32, low_sent: u32) -> MemberView {
        MemberView {
            conversation,
            read_id: 0,
            low_sent_at_read: 0,
            skipped: 0,
            joined_id: 0,
            removed_at: None,
            newest: StoredMessage {
                seq: CommitSeq::from_wire(9),
                msg_id: MsgId::from_wire(newest).unwrap(),
                sender: user(3),
                msg_type: 1,
                time: UnixSeconds::from_wire(100),
                low_sent,
                body: Bytes::from_static(b"cipher"),
            },
            updated: UnixSeconds::from_wire(100),
        }
    }

    #[test]
    fn voice_appears_in_summaries_as_the_encrypted_placeholder_with_its_type() {
        let pair = Conversation::Pair(user(3), user(7));
        let mut view = view(pair, 1, 1);
        view.newest.msg_type = 2;
        let line = contact_session(&view, user(7), UnixSeconds::from_wire(1_000)).unwrap();
        assert_eq!(line.latest_msg_data, VOICE_PLACEHOLDER.as_bytes());
        assert_eq!(line.latest_msg_type, 2);
        assert_eq!(
            unread_info(&view, user(7)).unwrap().latest_msg_data,
            VOICE_PLACEHOLDER.as_bytes()
        );
    }

    #[test]
    fn a_time_in_the_future_counts_as_now_and_a_long_message_appears_as_a_placeholder() {
        let mut view = view(Conversation::Pair(user(3), user(7)), 1, 1);
        view.updated = UnixSeconds::from_wire(5_000);
        view.newest.body = Bytes::new();
        let line = contact_session(&view, user(7), UnixSeconds::from_wire(1_000)).unwrap();
        assert_eq!(line.updated_time, 1_000);
        assert_eq!(line.latest_msg_data, LONG_PLACEHOLDER.as_bytes());
        assert_eq!(line.latest_msg_type, 1);
    }

    #[test]
    fn a_summary_names_the_peer_in_pairs_and_the_author_in_groups() {
        let pair = view(Conversation::Pair(user(3), user(7)), 1, 1);
        assert_eq!(
            contact_session(&pair, user(3), UnixSeconds::from_wire(1_000))
                .unwrap()
                .latest_msg_from_user_id,
            7
        );
        let group = view(Conversation::Group(GroupId::from_wire(5).unwrap()), 1, 0);
        let line = contact_session(&group, user(8), UnixSeconds::from_wire(1_000)).unwrap();
        assert_eq!((line.session_id, line.latest_msg_from_user_id), (5, 3));
    }

    #[test]
    fn a_session_whose_newest_message_has_no_known_type_is_left_out() {
        let mut view = view(Conversation::Pair(user(3), user(7)), 1, 1);
        view.newest.msg_type = 9;
        assert!(contact_session(&view, user(3), UnixSeconds::from_wire(1_000)).is_none());
        assert!(unread_info(&view, user(3)).is_none());
    }
}
