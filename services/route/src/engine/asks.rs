//! Links of those who only ask who is online: push.

use im_proto_rpc::v1::{PresenceAnswer, PresenceAnswers, PresenceAsk, PresenceAsks};
use im_rpc::Link;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use futures::StreamExt as _;

use super::Engine;
use super::inputs::{Input, Inputs, LinkId};
use super::questions::SLICE;
use crate::metrics::Refusal;

/// Links that may ask at the same time: every replica of push, and those that have not noticed that they are
/// gone.
const MAX_ASKERS: usize = 64;

/// One of those links.
#[derive(Debug)]
pub(super) struct Asker {
    tx: mpsc::Sender<PresenceAnswers>,
    closed: CancellationToken,
}

impl Engine {
    pub(super) fn open_asker(&mut self, id: LinkId, link: Link<PresenceAnswers, PresenceAsks>) {
        if self.askers.len() >= MAX_ASKERS {
            warn!(peer = %link.peer, "refused a link that asks: too many");
            self.metrics.refuse(Refusal::Link);
            return;
        }
        let Link {
            tx,
            rx,
            peer,
            closed,
        } = link;
        info!(%peer, "somebody asks who is online");
        self.inputs
            .push(Inputs::new(id, rx, closed.clone(), Input::Asks).boxed());
        self.askers.insert(id, Asker { tx, closed });
    }

    /// Answers at once; who does not take answers, or asks for too many people, loses the link.
    pub(super) fn asks(&mut self, id: LinkId, asks: PresenceAsks) {
        let Some(asker) = self.askers.get(&id) else {
            return;
        };
        let fits = asks.asks.iter().all(|ask| ask.users.len() <= SLICE);
        let answered = fits && {
            let answers = asks.asks.into_iter().map(|ask| self.presence(ask));
            let answers = answers.collect();
            asker.tx.try_send(PresenceAnswers { answers }).is_ok()
        };
        if !answered {
            self.metrics.refuse(Refusal::Asks);
            self.end_asker(id);
        }
    }

    pub(super) fn end_asker(&mut self, id: LinkId) {
        if let Some(asker) = self.askers.remove(&id) {
            asker.closed.cancel();
        }
    }

    fn presence(&self, ask: PresenceAsk) -> PresenceAnswer {
        let PresenceAsk { tag, users } = ask;
        let (mut pc, mut mobile) = (Vec::new(), Vec::new());
        for user in users {
            let reached = self.directory.reached(user);
            if reached.pc {
                pc.push(user);
            }
            if reached.mobile {
                mobile.push(user);
            }
        }
        PresenceAnswer { tag, pc, mobile }
    }
}
