//! Makes a delivery once more that has ended.

use std::sync::Arc;

use im_proto_rpc::v1::{DeliveryRecord, DeliveryState};

use super::courier::{Courier, Stopped};

/// Sends the events of a delivery once more, beside what is delivered in order; what was given up without an
/// attempt may be more than a request holds. It ends at the first request that is not taken.
pub(super) async fn make(courier: Arc<Courier>, mut row: DeliveryRecord) -> Result<(), Stopped> {
    let whole = row.clone();
    loop {
        let batch = courier
            .read_part(row.after, whole.through, courier.most())
            .await?;
        let is_taken = batch.is_empty() || courier.send(&mut row, &batch).await.is_taken();
        if !is_taken {
            row.state = DeliveryState::Dead.into();
            break;
        }
        row.after = batch.through;
        row.events = row.events.saturating_sub(batch.len());
        if batch.through >= whole.through {
            row.state = DeliveryState::Delivered.into();
            row.after = whole.after;
            row.events = whole.events;
            break;
        }
    }
    courier.step(0, vec![row]).await?;
    Ok(())
}
