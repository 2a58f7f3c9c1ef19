//! Questions whose answers are much larger than they are, and nobody who reads them.

use std::rc::Rc;

use im_client::codec::Command;
use im_client::proto::base::{MsgType, SessionType};
use im_client::proto::buddy::ImUsersStatReq;
use im_client::proto::message::{ImGetMsgListReq, ImMsgData, ImUnreadMsgCntReq};
use im_core::ClientType;

use super::{ACCOUNTS, Attack};

/// Ids in one question: of one byte each, so that it has nearly the size of the largest frame.
const IDS: usize = (1 << 20) - 100;
/// Questions that one connection has open.
const OPEN: usize = 16;
/// Size of a large message.
const LARGE: usize = 250 * 1024;
/// As many as a client may send at once and a few more.
const MESSAGES: u32 = 80;

/// Half of the accounts ask, each as much as a connection may have open, and never read.
pub(super) fn presence(attack: &Rc<Attack>) {
    for n in 0..ACCOUNTS / 2 {
        attack.keep(n, async |attack, n| {
            let connection = attack.login(n, ClientType::Windows).await?;
            let question = ImUsersStatReq {
                user_id: connection.user,
                user_id_list: vec![1; IDS],
                attach_data: None,
            };
            for _ in 0..OPEN {
                connection.send(Command::UsersStatReq, &question).await?;
            }
            connection.reset().await
        });
    }
}

/// Each account sends its neighbour large messages, and asks for them without reading.
pub(super) fn readers(attack: &Rc<Attack>) {
    for n in 0..ACCOUNTS {
        attack.keep(n, async |attack, n| {
            let connection = attack.login(n, ClientType::Windows).await?;
            let neighbour = attack.first + (n ^ 1);
            let mut body = vec![b'A'; LARGE];
            for number in 0..MESSAGES {
                // Another text each time; the first bytes tell them apart.
                body.splice(..4, format!("{number:04}").into_bytes());
                let message = ImMsgData {
                    from_user_id: connection.user,
                    to_session_id: neighbour,
                    msg_id: 0,
                    create_time: 0,
                    msg_type: MsgType::SingleText as i32,
                    msg_data: body.clone().into(),
                    attach_data: None,
                    client_msg_id: None,
                };
                connection.send(Command::MsgData, &message).await?;
            }
            let history = ImGetMsgListReq {
                user_id: connection.user,
                session_type: SessionType::Single as i32,
                session_id: neighbour,
                msg_id_begin: 0,
                msg_cnt: 200,
                attach_data: None,
            };
            let unread = ImUnreadMsgCntReq {
                user_id: connection.user,
                attach_data: None,
            };
            for _ in 0..OPEN / 2 {
                connection.send(Command::GetMsgListReq, &history).await?;
                connection.send(Command::UnreadMsgCntReq, &unread).await?;
            }
            connection.reset().await
        });
    }
}
