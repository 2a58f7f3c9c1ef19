//! Calls about subscriptions.

use im_proto_rpc::v1::follow_call::Call;
use im_proto_rpc::v1::follow_item::Item;
use im_proto_rpc::v1::{
    ChangePage, ChangesAfter, HookList, HookStep, HookStepped, HooksOf, SessionsAfter, SessionsPage,
};

use super::{Calls, Ended, unexpected};

impl Calls {
    /// All subscriptions, and where the logs end; for whoever holds the name `subscriptions`.
    ///
    /// # Errors
    /// The link does not serve any more.
    pub async fn hooks(&self) -> Result<HookList, Ended> {
        match self.ask(Call::Hooks(HooksOf { bots: true })).await? {
            Item::Hooks(list) => Ok(list),
            other => Err(unexpected(&other)),
        }
    }

    /// What was changed beside messages, behind a place; for whoever holds the name `subscriptions`.
    ///
    /// # Errors
    /// The link does not serve any more.
    pub async fn changes(&self, after: ChangesAfter) -> Result<ChangePage, Ended> {
        match self.ask(Call::Changes(after)).await? {
            Item::Changes(page) => Ok(page),
            other => Err(unexpected(&other)),
        }
    }

    /// Sessions that came and went behind a place; for whoever holds the name `subscriptions`.
    ///
    /// # Errors
    /// The link does not serve any more, or db-proxy knows no sessions.
    pub async fn sessions(&self, after: SessionsAfter) -> Result<SessionsPage, Ended> {
        match self.ask(Call::Sessions(after)).await? {
            Item::Sessions(page) => Ok(page),
            other => Err(unexpected(&other)),
        }
    }

    /// Stores how far a subscription has come, with 4 deliveries at most; returns when that is stored.
    ///
    /// # Errors
    /// The link does not serve any more.
    pub async fn hook_step(&self, step: HookStep) -> Result<HookStepped, Ended> {
        match self.ask(Call::Hook(step)).await? {
            Item::Hook(stepped) => Ok(stepped),
            other => Err(unexpected(&other)),
        }
    }
}
