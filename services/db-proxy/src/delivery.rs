//! Deliveries to subscriptions, as they travel.

use im_proto_rpc::v1::{self, DeliveryRecord};
use im_store::{DeliveryRow, DeliveryState, SubscribedLog};

/// A delivery as it travels.
pub(crate) fn record(row: DeliveryRow) -> DeliveryRecord {
    let state = match row.state {
        DeliveryState::Open => v1::DeliveryState::Open,
        DeliveryState::Delivered => v1::DeliveryState::Delivered,
        DeliveryState::Dead => v1::DeliveryState::Dead,
        DeliveryState::Again => v1::DeliveryState::Again,
    };
    DeliveryRecord {
        id: row.id,
        subscription: row.subscription,
        state: state.into(),
        after: row.after.to_wire(),
        through: row.through.to_wire(),
        events: row.events,
        tries: row.tries,
        first: row.first.get(),
        last: row.last.get(),
        status: row.status,
        answer: row.answer,
        log: log_to_wire(row.log).into(),
    }
}

/// A log as it travels.
pub(crate) const fn log_to_wire(log: SubscribedLog) -> v1::SubscribedLog {
    match log {
        SubscribedLog::Messages => v1::SubscribedLog::Messages,
        SubscribedLog::Changes => v1::SubscribedLog::Changes,
    }
}

/// The log that a number of the wire names; `None` for sessions, of which nothing is stored.
pub(crate) const fn log(log: v1::SubscribedLog) -> Option<SubscribedLog> {
    match log {
        v1::SubscribedLog::Messages => Some(SubscribedLog::Messages),
        v1::SubscribedLog::Changes => Some(SubscribedLog::Changes),
        v1::SubscribedLog::Sessions => None,
    }
}

/// The log that tells of a kind of event; `None` for sessions.
pub(crate) fn log_of(kind: &str) -> Option<SubscribedLog> {
    match kind {
        "message.stored" => Some(SubscribedLog::Messages),
        "session.up" | "session.down" => None,
        _ => Some(SubscribedLog::Changes),
    }
}

/// The state that a number of the wire names; `None` for any.
pub(crate) const fn state(state: v1::DeliveryState) -> Option<DeliveryState> {
    match state {
        v1::DeliveryState::Any => None,
        v1::DeliveryState::Open => Some(DeliveryState::Open),
        v1::DeliveryState::Delivered => Some(DeliveryState::Delivered),
        v1::DeliveryState::Dead => Some(DeliveryState::Dead),
        v1::DeliveryState::Again => Some(DeliveryState::Again),
    }
}
