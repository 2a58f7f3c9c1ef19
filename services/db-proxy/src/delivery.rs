//! Deliveries to subscriptions, as they travel.

use im_proto_rpc::v1::{self, DeliveryRecord};
use im_store::{DeliveryRow, DeliveryState};

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
