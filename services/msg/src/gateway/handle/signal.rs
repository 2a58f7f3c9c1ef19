//! Signals from user to user: passed on, never stored.

use bytes::Bytes;
use im_codec::encode_raw;
use im_core::UserId;
use im_proto_rpc::v1::route_call::Call;
use im_proto_rpc::v1::{Audience, Event};
use im_proto_teamtalk::switch::Imp2pCmdMsg;
use prost::Message;

use super::Request;
use crate::connection::Appended;
use crate::gateway::routes::RouteBound;
use crate::metrics::Refusal;

/// Passes a signal on to the receiver's terminals and the sender's other ones, in the sender's name.
pub(super) fn relay(request: &Request<'_>) {
    let longest = request.gateway.env.config.signal_bytes.as_usize();
    if request.body.len() > longest {
        request.refuse(Refusal::Signal);
        return;
    }
    let Some(signal) = request.decode::<Imp2pCmdMsg>() else {
        return;
    };
    let (from, to) = (request.user(), signal.to_user_id);
    let signal = Imp2pCmdMsg {
        from_user_id: from,
        ..signal
    };
    let event = Event {
        users: Vec::new(),
        broadcast: false,
        except: request.session.epoch,
        audience: Audience::All as i32,
        command: u32::from(request.command.id()),
        body: Bytes::from(signal.encode_to_vec()),
    };
    let receiver = UserId::from_wire(to).filter(|receiver| *receiver != request.session.user);
    let table = request.gateway.routes.table();
    let own = table.owner(request.session.user);
    let other = receiver.and_then(|receiver| table.owner(receiver));
    let bound = RouteBound::of(&request.gateway.env.config);
    let (own, other) = match (own, other) {
        (Some(own), Some(other)) if own.id == other.id => {
            let event = Event {
                users: vec![from, to],
                ..event
            };
            (own.offer(Call::Signal(event), bound), true)
        }
        (Some(own), other) => {
            let told = own.offer(
                Call::Signal(Event {
                    users: vec![from],
                    ..event.clone()
                }),
                bound,
            );
            let other = other.is_none_or(|other| {
                other.offer(
                    Call::Signal(Event {
                        users: vec![to],
                        ..event
                    }),
                    bound,
                )
            });
            (told, other)
        }
        (None, _) => {
            // No route server at all: whoever is here gets it.
            here(request, &event, to);
            (true, true)
        }
    };
    if !own || !other {
        request.refuse(Refusal::RouteQueue);
    }
}

fn here(request: &Request<'_>, event: &Event, to: u32) {
    let frame = encode_raw(request.command, 0, &event.body);
    let mut touched = Vec::new();
    let users = [request.user(), to];
    let distinct = if to == request.user() {
        &users[..1]
    } else {
        &users[..]
    };
    for user in distinct {
        request.gateway.sessions.of_user(*user, |conn| {
            let is_sender = conn
                .session()
                .is_some_and(|session| session.epoch == event.except);
            if !is_sender && conn.push(&request.gateway.output, frame.clone()) == Appended::First {
                touched.push(conn.clone());
            }
        });
    }
    for conn in touched {
        conn.flush(&request.gateway.output);
    }
}
