//! A chat message on its way to the store.

use std::sync::Arc;

use bytes::Bytes;
use im_core::SessionType;
use im_proto_rpc::v1::Send;
use im_proto_teamtalk::base::MsgType;
use im_proto_teamtalk::message::ImMsgData;
use im_trace::{About, Hop, Step, Trace, note};

use super::Request;
use crate::gateway::calls::Sending;
use crate::metrics::Refusal;

/// Length of the id that our own client gives a message.
const CLIENT_MSG_ID: usize = 16;

/// Whether a message goes to a user or to a group.
pub(crate) fn session_type(msg_type: u32) -> Option<SessionType> {
    match MsgType::try_from(i32::try_from(msg_type).ok()?).ok()? {
        MsgType::SingleText | MsgType::SingleAudio => Some(SessionType::Single),
        MsgType::GroupText | MsgType::GroupAudio => Some(SessionType::Group),
    }
}

/// Queues a message. It is acknowledged when it is stored, and not before.
pub(super) fn store(request: &Request<'_>) {
    let gateway = request.gateway;
    let Some(message) = request.decode::<ImMsgData>() else {
        return;
    };
    gateway.env.metrics.messages_in.inc();
    let msg_type = u32::try_from(message.msg_type).unwrap_or_default();
    let to_oneself = session_type(msg_type) == Some(SessionType::Single)
        && message.to_session_id == request.user();
    if message.msg_data.is_empty() || to_oneself || message.to_session_id == 0 {
        request.refuse(Refusal::Message);
        return;
    }
    let client_msg_id = message
        .client_msg_id
        .filter(|id| id.len() == CLIENT_MSG_ID)
        .unwrap_or_else(Bytes::new);
    let trace = Trace::of_message(About {
        from: request.user(),
        to: message.to_session_id,
        is_group: session_type(msg_type) == Some(SessionType::Group),
    });
    let received = Hop {
        user: request.user(),
        session: request.session.epoch,
        ..Hop::of(Step::Received)
    };
    note(trace.to_wire(), received);
    let send = Send {
        from: request.user(),
        origin: request.session.epoch,
        to: message.to_session_id,
        msg_type,
        data: message.msg_data,
        client_seq: u32::from(request.seq),
        client_msg_id,
        client_type: request.session.client.to_wire(),
        client_time: message.create_time,
        trace: trace.to_wire(),
    };
    let sending = Sending {
        conn: Arc::downgrade(request.conn),
        send,
        seq: request.seq,
        bytes: u32::try_from(request.body.len()).unwrap_or(u32::MAX),
        since: gateway.env.now(),
        trace,
        line: request.line.take(),
    };
    gateway.db.send(request.conn, sending);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_message_says_whether_it_is_for_a_group() {
        assert_eq!(session_type(1), Some(SessionType::Single));
        assert_eq!(session_type(2), Some(SessionType::Single));
        assert_eq!(session_type(0x11), Some(SessionType::Group));
        assert_eq!(session_type(0x12), Some(SessionType::Group));
        assert_eq!(session_type(3), None);
        assert_eq!(session_type(u32::MAX), None);
    }
}
