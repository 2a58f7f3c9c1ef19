//! Pushes to other terminals that requests cause.

use bytes::Bytes;
use im_codec::{Command, TeamtalkMessage};
use im_core::UserId;
use im_proto_rpc::v1::{Audience, Event};

use im_writer::Publication;

/// To all terminals of one user but the one that asked.
pub(super) fn to_other_terminals<M: TeamtalkMessage>(
    user: UserId,
    origin: u64,
    command: Command,
    message: &M,
) -> Publication {
    Publication::Event(Event {
        users: vec![user.get()],
        except: origin,
        ..event(Audience::All, command, message)
    })
}

/// To these users but the terminal that asked.
pub(super) fn to_users<M: TeamtalkMessage>(
    users: Vec<u32>,
    origin: u64,
    command: Command,
    message: &M,
) -> Publication {
    Publication::Event(Event {
        users,
        except: origin,
        ..event(Audience::All, command, message)
    })
}

/// To everybody's terminals of this kind.
pub(super) fn everybody<M: TeamtalkMessage>(
    audience: Audience,
    command: Command,
    message: &M,
) -> Event {
    Event {
        broadcast: true,
        ..event(audience, command, message)
    }
}

fn event<M: TeamtalkMessage>(audience: Audience, command: Command, message: &M) -> Event {
    debug_assert_eq!(command.message(), M::KIND, "message of another command");
    Event {
        audience: audience.into(),
        command: command.id().into(),
        body: Bytes::from(message.encode_to_vec()),
        ..Event::default()
    }
}
