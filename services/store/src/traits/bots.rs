//! Bots: accounts that show a token to the HTTP API and have no password.

use async_trait::async_trait;
use im_core::UserId;
use im_core::time::UnixSeconds;
use im_order::CommitSeq;

use crate::{LogEntry, NewToken, ReadLimit, StoreError, UserProfile};

/// A bot to make. It is active.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewBot {
    /// Login name that nobody has.
    pub name: String,
    /// What clients show of it.
    pub shown: BotShown,
}

/// What clients show of a bot beside its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BotShown {
    /// Shown name.
    pub nick: String,
    /// Department id, 0 for none.
    pub department: u32,
    /// Avatar URL.
    pub avatar: String,
    /// Signature.
    pub signature: String,
}

/// How many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BotBounds {
    /// Bots.
    pub bots: u32,
    /// Tokens, those of bots included.
    pub tokens: u32,
    /// Tokens that ended or were revoked before are dropped and do not count.
    pub tokens_since: UnixSeconds,
}

/// A bot that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MadeBot {
    /// Its id.
    pub user: UserId,
    /// Id of its token.
    pub token: u32,
}

/// Which messages a bot is to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BotRead {
    /// The bot.
    pub bot: UserId,
    /// Only messages behind this position.
    pub after: CommitSeq,
    /// None behind this one, where the log may end or go on.
    pub through: CommitSeq,
    /// Most messages.
    pub limit: ReadLimit,
    /// Most places of the log that are looked at.
    pub places: u32,
}

/// What a bot is told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BotPage {
    /// Messages of others in its conversations, in log order.
    pub entries: Vec<LogEntry>,
    /// Everything up to this position is among them, and in the pages before.
    pub reached: CommitSeq,
}

/// Bots.
#[async_trait]
pub trait BotStore: Send + Sync + 'static {
    /// Makes a bot and its token, with a new directory stamp.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when somebody has the name, [`StoreError::Full`] beyond a bound, otherwise as every
    /// call.
    async fn create_bot(
        &self,
        bot: &NewBot,
        token: &NewToken,
        bounds: BotBounds,
        now: UnixSeconds,
    ) -> Result<MadeBot, StoreError>;

    /// Bots with names behind this one, in the order of their bytes, at most `limit`.
    ///
    /// # Errors
    /// As every call.
    async fn bots(&self, after: &str, limit: u32) -> Result<Vec<UserProfile>, StoreError>;

    /// Sets what is shown of a bot and its status, with a new directory stamp. With another status than 0 its
    /// tokens are revoked.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is no bot, otherwise as every call.
    async fn change_bot(
        &self,
        bot: UserId,
        shown: &BotShown,
        status: u32,
        now: UnixSeconds,
    ) -> Result<(), StoreError>;

    /// Takes a bot out as [`crate::AdministrationStore::remove_account`] does a person, revokes its tokens, and
    /// forgets its subscriptions as [`crate::SubscriptionStore::remove_subscription`] does.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is no bot, otherwise as every call.
    async fn remove_bot(&self, bot: UserId, name: &str, now: UnixSeconds)
    -> Result<(), StoreError>;

    /// Gives an active bot another token; those that it has end at `former_until` at the latest, and are revoked
    /// when that is not after the new one was made. Its id.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is no active bot, [`StoreError::Full`] beyond the bound of tokens,
    /// otherwise as every call.
    async fn replace_bot_token(
        &self,
        bot: UserId,
        token: &NewToken,
        former_until: UnixSeconds,
        bounds: BotBounds,
    ) -> Result<u32, StoreError>;

    /// Messages of others in the conversations that a bot has now, of groups those since it joined. What has
    /// nothing for it costs no more than its conversations, otherwise the places that are looked at.
    ///
    /// # Errors
    /// As every call.
    async fn read_for_bot(&self, read: BotRead) -> Result<BotPage, StoreError>;
}
