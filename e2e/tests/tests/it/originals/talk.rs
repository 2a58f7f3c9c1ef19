//! Messages: live, stored, counted, read.

use bytes::Bytes;
use im_codec::text::{TextCipher, VOICE_PLACEHOLDER};
use im_core::Peer;
use im_e2e::originals::Original;
use im_proto_teamtalk::base::{ContactSessionInfo, MsgInfo, SessionStatusType, UnreadInfo};
use im_proto_teamtalk::buddy::{
    ImRecentContactSessionReq, ImRecentContactSessionRsp, ImRemoveSessionNotify,
    ImRemoveSessionReq, ImRemoveSessionRsp,
};
use im_proto_teamtalk::message::{
    ImGetLatestMsgIdReq, ImGetLatestMsgIdRsp, ImGetMsgByIdReq, ImGetMsgByIdRsp, ImGetMsgListReq,
    ImGetMsgListRsp, ImMsgData, ImMsgDataAck, ImMsgDataReadAck, ImMsgDataReadNotify,
    ImUnreadMsgCntReq, ImUnreadMsgCntRsp,
};
use im_proto_teamtalk::switch::Imp2pCmdMsg;

use crate::support::*;

pub(crate) fn kind_of(peer: Peer) -> i32 {
    let kind = match peer {
        Peer::User(_) => SessionType::Single,
        Peer::Group(_) => SessionType::Group,
    };
    kind.into()
}

/// A text as it travels, and its type.
pub(crate) fn text(to: Peer, text: &str) -> (MsgType, Vec<u8>) {
    let kind = match to {
        Peer::User(_) => MsgType::SingleText,
        Peer::Group(_) => MsgType::GroupText,
    };
    let data = TextCipher::default().encrypt(text.as_bytes());
    (kind, data.expect("no empty text").into())
}

/// Voice as it travels, and its type: seconds, then the sound, not encrypted.
pub(crate) fn voice(to: Peer, seconds: u32) -> (MsgType, Vec<u8>) {
    let kind = match to {
        Peer::User(_) => MsgType::SingleAudio,
        Peer::Group(_) => MsgType::GroupAudio,
    };
    let sound: Vec<u8> = (0..=255).cycle().take(9_000).collect();
    (kind, [&seconds.to_be_bytes()[..], &sound].concat())
}

/// A message that is stored, as everybody has it.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) from: u32,
    pub(crate) id: u32,
    time: u32,
    kind: MsgType,
    data: Bytes,
}

impl Said {
    /// The clear text.
    pub(crate) fn text(&self) -> String {
        let text = TextCipher::default().decrypt(&self.data).unwrap();
        String::from_utf8(text).unwrap()
    }

    /// In a list of messages.
    pub(crate) fn listed(&self) -> MsgInfo {
        MsgInfo {
            msg_id: self.id,
            from_session_id: self.from,
            create_time: self.time,
            msg_type: self.kind.into(),
            msg_data: self.data.clone(),
        }
    }

    /// What stands for it where only the newest message is shown.
    fn summary(&self) -> Bytes {
        match self.kind {
            MsgType::SingleAudio | MsgType::GroupAudio => {
                Bytes::from_static(VOICE_PLACEHOLDER.as_bytes())
            }
            _ => self.data.clone(),
        }
    }

    /// Whom a summary names: in pairs the other one, in groups the author.
    fn author(&self, session: Peer) -> u32 {
        match session {
            Peer::User(other) => other.get(),
            Peer::Group(_) => self.from,
        }
    }

    /// As the newest message of a recent conversation.
    pub(crate) fn recent(&self, session: Peer) -> ContactSessionInfo {
        ContactSessionInfo {
            session_id: session.session_id(),
            session_type: kind_of(session),
            session_status: SessionStatusType::SessionStatusOk.into(),
            updated_time: self.time,
            latest_msg_id: self.id,
            latest_msg_data: self.summary(),
            latest_msg_type: self.kind.into(),
            latest_msg_from_user_id: self.author(session),
        }
    }

    /// As the newest message of a conversation with unread ones.
    pub(crate) fn unread(&self, session: Peer, count: u32) -> UnreadInfo {
        UnreadInfo {
            session_id: session.session_id(),
            session_type: kind_of(session),
            unread_cnt: count,
            latest_msg_id: self.id,
            latest_msg_data: self.summary(),
            latest_msg_type: self.kind.into(),
            latest_msg_from_user_id: self.author(session),
        }
    }
}

/// Takes the acknowledgement (0x0302) of what was sent under this number.
pub(crate) async fn stored(client: &mut Original, seq: u16, to: Peer, id: u32) {
    let user_id = client.user();
    let expected = |_: &ImMsgDataAck| ImMsgDataAck {
        user_id,
        session_id: to.session_id(),
        msg_id: id,
        session_type: kind_of(to),
    };
    client.answer(Command::MsgDataAck, seq, expected).await;
}

/// A terminal gets a message (0x0301).
pub(crate) async fn hears(
    client: &mut Original,
    from: u32,
    to: Peer,
    id: u32,
    (kind, data): &(MsgType, Vec<u8>),
) -> Said {
    let script = client.script().clone();
    let data = Bytes::from(data.clone());
    let expected = |got: &ImMsgData| ImMsgData {
        from_user_id: from,
        to_session_id: to.session_id(),
        msg_id: id,
        create_time: script.now(got.create_time),
        msg_type: (*kind).into(),
        msg_data: data.clone(),
        attach_data: None,
        client_msg_id: None,
    };
    let got = client.notice(Command::MsgData, expected).await;
    Said {
        from,
        id,
        time: got.create_time,
        kind: *kind,
        data,
    }
}

/// Somebody says something, which is stored under this id; all these terminals hear the same.
pub(crate) async fn says(
    client: &mut Original,
    to: Peer,
    content: (MsgType, Vec<u8>),
    id: u32,
    audience: &mut [&mut Original],
) -> Said {
    let message = client.message(to, content.0, content.1.clone());
    let seq = client.send(Command::MsgData, &message).await;
    stored(client, seq, to, id).await;
    let mut said: Option<Said> = None;
    for listener in audience {
        let heard = hears(listener, client.user(), to, id, &content).await;
        if let Some(said) = &said {
            assert_eq!(said.time, heard.time, "one time for all");
        }
        said = Some(heard);
    }
    said.expect("somebody hears it")
}

/// A client says that a message arrived (0x0302); nothing comes of it.
pub(crate) async fn receipt(client: &mut Original, user: u32, session: Peer, id: u32) {
    let receipt = ImMsgDataAck {
        user_id: user,
        session_id: session.session_id(),
        msg_id: id,
        session_type: kind_of(session),
    };
    client.send(Command::MsgDataAck, &receipt).await;
}

/// A client has read a conversation up to this message (0x0303).
pub(crate) async fn reads(client: &mut Original, session: Peer, id: u32) {
    let ack = ImMsgDataReadAck {
        user_id: client.named(),
        session_id: session.session_id(),
        msg_id: id,
        session_type: kind_of(session),
    };
    client.send(Command::MsgDataReadAck, &ack).await;
}

/// Another terminal of the same user has read it (0x0304).
pub(crate) async fn is_read(client: &mut Original, session: Peer, id: u32) {
    let user_id = client.user();
    let expected = |_: &ImMsgDataReadNotify| ImMsgDataReadNotify {
        user_id,
        session_id: session.session_id(),
        msg_id: id,
        session_type: kind_of(session),
    };
    client.notice(Command::MsgDataReadNotify, expected).await;
}

/// The request for recent conversations (0x0201).
pub(crate) fn recent_since(client: &Original, since: u32) -> ImRecentContactSessionReq {
    ImRecentContactSessionReq {
        user_id: client.named(),
        latest_update_time: since,
        attach_data: None,
    }
}

/// Takes recent conversations.
pub(crate) async fn recent(client: &mut Original, seq: u16, sessions: Vec<ContactSessionInfo>) {
    let user_id = client.user();
    let expected = |_: &ImRecentContactSessionRsp| ImRecentContactSessionRsp {
        user_id,
        contact_session_list: sessions,
        attach_data: None,
    };
    client
        .answer(Command::RecentContactSessionRsp, seq, expected)
        .await;
}

/// The request for what is unread (0x0307).
pub(crate) fn unread_counts(client: &Original) -> ImUnreadMsgCntReq {
    ImUnreadMsgCntReq {
        user_id: client.named(),
        attach_data: None,
    }
}

/// Takes what is unread.
pub(crate) async fn unread(client: &mut Original, seq: u16, sessions: Vec<UnreadInfo>) {
    let user_id = client.user();
    let expected = |_: &ImUnreadMsgCntRsp| ImUnreadMsgCntRsp {
        user_id,
        total_cnt: sessions.iter().map(|it| it.unread_cnt).sum(),
        unreadinfo_list: sessions,
        attach_data: None,
    };
    client.answer(Command::UnreadMsgCntRsp, seq, expected).await;
}

/// Asks for stored messages (0x0309) from this id back; under a tag where a client has some.
pub(crate) async fn history(
    client: &mut Original,
    tag: Option<u16>,
    session: Peer,
    (begin, count): (u32, u32),
    messages: &[&Said],
) {
    let user_id = client.user();
    let request = ImGetMsgListReq {
        user_id: client.named(),
        session_type: kind_of(session),
        session_id: session.session_id(),
        msg_id_begin: begin,
        msg_cnt: count,
        attach_data: None,
    };
    let seq = match tag {
        Some(tag) => {
            client
                .send_under(Command::GetMsgListReq, tag, &request)
                .await;
            tag
        }
        None => client.send(Command::GetMsgListReq, &request).await,
    };
    let expected = |_: &ImGetMsgListRsp| ImGetMsgListRsp {
        user_id,
        session_type: kind_of(session),
        session_id: session.session_id(),
        msg_id_begin: begin,
        msg_list: messages.iter().map(|it| it.listed()).collect(),
        attach_data: None,
    };
    client.answer(Command::GetMsgListRsp, seq, expected).await;
}

/// Asks for the newest id (0x030b).
pub(crate) async fn newest(client: &mut Original, session: Peer, id: u32) {
    let user_id = client.user();
    let request = ImGetLatestMsgIdReq {
        user_id: client.named(),
        session_type: kind_of(session),
        session_id: session.session_id(),
        attach_data: None,
    };
    let expected = |_: &ImGetLatestMsgIdRsp| ImGetLatestMsgIdRsp {
        user_id,
        session_type: kind_of(session),
        session_id: session.session_id(),
        latest_msg_id: id,
        attach_data: None,
    };
    client
        .ask(Command::GetLatestMsgIdReq, &request, expected)
        .await;
}

/// Asks for certain messages (0x030d), which come newest first.
pub(crate) async fn by_ids(client: &mut Original, session: Peer, messages: &[&Said]) {
    let user_id = client.user();
    let request = ImGetMsgByIdReq {
        user_id: client.named(),
        session_type: kind_of(session),
        session_id: session.session_id(),
        msg_id_list: messages.iter().rev().map(|it| it.id).collect(),
        attach_data: None,
    };
    let expected = |_: &ImGetMsgByIdRsp| ImGetMsgByIdRsp {
        user_id,
        session_type: kind_of(session),
        session_id: session.session_id(),
        msg_list: messages.iter().map(|it| it.listed()).collect(),
        attach_data: None,
    };
    client.ask(Command::GetMsgByIdReq, &request, expected).await;
}

/// Hides a conversation: under 0x0206, or as iOS does under 0x0207, the number of the answer.
pub(crate) async fn hides(client: &mut Original, command: Command, session: Peer) {
    let user_id = client.user();
    let request = ImRemoveSessionReq {
        user_id: client.named(),
        session_type: kind_of(session),
        session_id: session.session_id(),
        attach_data: None,
    };
    let seq = client.send(command, &request).await;
    let expected = |_: &ImRemoveSessionRsp| ImRemoveSessionRsp {
        user_id,
        result_code: 0,
        session_type: kind_of(session),
        session_id: session.session_id(),
        attach_data: None,
    };
    client
        .answer(Command::RemoveSessionRsp, seq, expected)
        .await;
}

/// Another terminal of the same user hid it (0x020f).
pub(crate) async fn is_hidden(client: &mut Original, session: Peer) {
    let user_id = client.user();
    let expected = |_: &ImRemoveSessionNotify| ImRemoveSessionNotify {
        user_id,
        session_type: kind_of(session),
        session_id: session.session_id(),
    };
    client.notice(Command::RemoveSessionNotify, expected).await;
}

/// A signal (0x0601) as the client says it, and what all these terminals make of it.
pub(crate) async fn signals(
    client: &mut Original,
    to: u32,
    json: &str,
    audience: &mut [&mut Original],
) {
    let named = client.message(with_user(to), MsgType::SingleText, Vec::new());
    let signal = Imp2pCmdMsg {
        // iOS says 0.
        from_user_id: named.from_user_id,
        to_user_id: to,
        cmd_msg_data: json.to_owned(),
    };
    client.send(Command::P2pCmdMsg, &signal).await;
    let from = client.user();
    for listener in audience {
        let expected = |_: &Imp2pCmdMsg| Imp2pCmdMsg {
            from_user_id: from,
            to_user_id: to,
            cmd_msg_data: json.to_owned(),
        };
        listener.notice(Command::P2pCmdMsg, expected).await;
    }
}
