//! Does what a file asks: lets all clients go, or some of them, at the rate that stands there.
//!
//! Where no connection to this server is needed, as in a pod whose volume shows an annotation, the file is
//! the way in. It is asked for as long as it stands there: an empty file ends what is under way, and a
//! server that was cordoned for it takes clients again.

use std::sync::Arc;

use im_proto_rpc::v1::ShedRequest;
use im_runtime::follow;
use tokio::sync::watch;
use tokio::time::{Duration, sleep};
use tracing::{info, warn};

use super::control::{Control, ControlError, MAX_SESSIONS};
use crate::gateway::Gateway;
use crate::gateway::ask::Ask;

/// Longest text, bytes.
const MAX_BYTES: u64 = 512;

/// What cannot be done yet is tried again after this time.
const AGAIN: Duration = Duration::from_millis(100);

/// Follows the file until everything stops.
pub(super) async fn follow(gateway: Arc<Gateway>) {
    let asks = watch::Sender::new(Ask::Nothing);
    let control = Control::new(Arc::clone(&gateway));
    let (stop, file) = (&gateway.env.stop, &gateway.env.config.orders_file);
    let tell = |text: &str| {
        let ask = Ask::parse(text);
        if ask.is_none() {
            warn!(file = %file.display(), text, "read what this server is asked for failed");
        }
        asks.send_replace(ask.unwrap_or_default());
    };
    let obeying = stop.run_until_cancelled(obey(control, asks.subscribe()));
    tokio::join!(follow::text(file, MAX_BYTES, stop, tell), obeying);
}

async fn obey(control: Control, mut asks: watch::Receiver<Ask>) {
    let mut obeyed = Obeyed::default();
    loop {
        let ask = asks.borrow_and_update().clone();
        obeyed.turn_to(&control, &ask).await;
        tokio::select! {
            () = obeyed.carry_out(&control, &ask) => {}
            changed = asks.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// What this server does because it was asked.
#[derive(Default)]
struct Obeyed {
    /// It takes nobody new, and did before.
    has_cordoned: bool,
    /// Key of the last order that was given for it.
    order: Option<String>,
    /// Orders of drains so far: each has a key of its own.
    orders: u64,
}

impl Obeyed {
    /// Ends what is not asked for any more.
    async fn turn_to(&mut self, control: &Control, ask: &Ask) {
        let running = control.state().shed.filter(|shed| !shed.over);
        let running = running.and_then(|shed| shed.order).map(|order| order.key);
        let goes_on = matches!(ask, Ask::Shed { key, .. } if running.as_ref() == Some(key));
        if running.is_some() && running == self.order && !goes_on {
            info!(key = running, "what was asked is taken back");
            // Ending an order is never refused.
            control.shed(ShedRequest::default()).ok();
        }
        let is_drain = matches!(ask, Ask::Drain { .. });
        if is_drain && !self.has_cordoned && !control.state().cordoned {
            self.has_cordoned = true;
            control.cordon().await;
        } else if !is_drain && std::mem::take(&mut self.has_cordoned) {
            control.uncordon();
        }
    }

    /// Does not end: what is asked may change at any time.
    async fn carry_out(&mut self, control: &Control, ask: &Ask) {
        match ask {
            Ask::Nothing => {}
            Ask::Shed {
                key,
                sessions,
                per_second,
            } => self.order(control, key, *sessions, *per_second).await,
            Ask::Drain { key, per_second } => loop {
                // Who was about to log in when the door closed is found the next time.
                if control.state().sessions > 0 {
                    self.orders += 1;
                    let key = format!("{key}/{}", self.orders);
                    self.order(control, &key, MAX_SESSIONS, *per_second).await;
                    while control.state().shed.is_some_and(|shed| !shed.over) {
                        sleep(AGAIN).await;
                    }
                }
                sleep(AGAIN).await;
            },
        }
        std::future::pending::<()>().await;
    }

    /// Gives an order, as soon as no other one is under way.
    async fn order(&mut self, control: &Control, key: &str, sessions: u32, per_second: u32) {
        loop {
            let request = ShedRequest {
                key: key.to_owned(),
                sessions,
                per_second,
            };
            match control.shed(request) {
                Ok(_) => {
                    self.order = Some(key.to_owned());
                    return;
                }
                Err(ControlError::Busy) => sleep(AGAIN).await,
                Err(error) => {
                    warn!(key, %error, "do what this server is asked for failed");
                    return std::future::pending().await;
                }
            }
        }
    }
}
