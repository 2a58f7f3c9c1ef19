//! What an unsolicited frame means.

use bytes::Bytes;
use im_codec::{Command, DecodeError, Frame, decode_checked};
use im_proto_teamtalk::buddy::ImUserStatNotify;
use im_proto_teamtalk::login::ImKickUser;

use crate::event::{Event, Message};

/// The event of a frame that answers nothing; the frame itself if it fits nothing.
pub(super) fn event_of(frame: Frame, user_id: u32) -> Event {
    let Some(command) = frame.command() else {
        return Event::Unmatched(frame);
    };
    match decode(command, frame.body.clone(), user_id) {
        Ok(Some(event)) => event,
        Ok(None) | Err(_) => Event::Unmatched(frame),
    }
}

fn decode(command: Command, body: Bytes, user_id: u32) -> Result<Option<Event>, DecodeError> {
    Ok(Some(match command {
        Command::MsgData => Event::Message(Message {
            data: decode_checked(body)?,
            receiver: user_id,
        }),
        Command::MsgDataReadNotify => Event::ReadNotify(decode_checked(body)?),
        Command::KickUser => {
            let kick: ImKickUser = decode_checked(body)?;
            Event::Kick {
                reason: kick.kick_reason,
            }
        }
        Command::UserStatNotify => {
            let notify: ImUserStatNotify = decode_checked(body)?;
            Event::Presence(notify.user_stat)
        }
        Command::PcLoginStatusNotify => Event::PcStatus(decode_checked(body)?),
        Command::GroupChangeMemberNotify => Event::GroupChanged(decode_checked(body)?),
        Command::SignInfoChangedNotify => Event::Signature(decode_checked(body)?),
        Command::AvatarChangedNotify => Event::Avatar(decode_checked(body)?),
        Command::P2pCmdMsg => Event::P2p(decode_checked(body)?),
        Command::RemoveSessionNotify => Event::SessionRemoved(decode_checked(body)?),
        Command::FileNotify => Event::File(decode_checked(body)?),
        _ => return Ok(None),
    }))
}
