//! Accounts: checks logins, keeps hashes current, locks out who guesses.
//!
//! *Invariants.* A login costs at most one argon2 computation, and never more memory than
//! `max_hashes` computations need; a name that nobody has, a wrong password and a person who is not
//! active cost the same time and look the same. Failures are in the store before the answer leaves.
//! Neither passwords nor digests are kept: what is remembered of a verified one is a MAC under a key
//! of this process, over the stored hash too, so that a change of the password forgets it.

mod hash;
mod memory;
mod metrics;
mod pool;
mod ttl_map;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use im_config::AccountsConfig;
use im_core::UserId;
use im_core::time::unix_seconds;
use im_proto_rpc::v1::{LoginCall, LoginDone};
use im_store::{NewHash, Store, StoreError};
use prost::Message as _;
use tracing::{error, info, warn};

pub(crate) use hash::{HashPolicy, StoredHash, digest_of};
pub(crate) use metrics::AccountMetrics;
pub(crate) use pool::{HashError, HashPool};

use crate::assembly::Context;
use crate::calls::CheckLogins;
use crate::profile::user_info;
use crate::support::{StripedLocks as Turns, Throttle};
use hash::Verdict;
use memory::{Account, Memory};
use metrics::LoginResult;

/// A digest is 32 bytes; anything longer than this is not even hashed.
const MAX_DIGEST_BYTES: usize = 128;

/// Status of people who may log in.
pub(crate) const ACTIVE: u32 = 0;

/// Checks logins.
pub(crate) struct Accounts {
    store: Arc<dyn Store>,
    config: AccountsConfig,
    pool: HashPool,
    memory: Memory,
    turns: Turns,
    trouble: Throttle,
    metrics: AccountMetrics,
}

/// Why a login is refused.
enum Refusal {
    /// Wrong name or password, or not active.
    Wrong,
    /// Too many failures before.
    LockedOut,
    /// Too many logins wait for a hash.
    Busy,
    /// The store does not answer.
    Store(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Accounts {
    /// Works with the store and configuration of the context.
    pub(crate) fn new(context: &Context, metrics: AccountMetrics) -> Arc<Self> {
        Arc::new(Self::over(
            Arc::clone(&context.store),
            context.config.accounts.clone(),
            metrics,
        ))
    }

    fn over(store: Arc<dyn Store>, config: AccountsConfig, metrics: AccountMetrics) -> Self {
        let policy = HashPolicy::from(&config);
        Self {
            store,
            pool: HashPool::new(
                policy,
                config.max_hashes,
                config.max_waiting_logins,
                &metrics,
            ),
            memory: Memory::new(&config),
            turns: Turns::default(),
            trouble: Throttle::default(),
            config,
            metrics,
        }
    }

    /// Computes hashes, within the bounds.
    pub(crate) fn pool(&self) -> &HashPool {
        &self.pool
    }

    /// Must follow every change of a user's account that did not pass through here.
    pub(crate) fn forget(&self, user: UserId) {
        self.memory.forget(user);
    }

    /// Must follow a change of many accounts.
    pub(crate) fn forget_everybody(&self) {
        self.memory.forget_everybody();
    }

    /// Changes the status of a user.
    pub(crate) async fn set_status(&self, user: UserId, status: u32) -> Result<(), StoreError> {
        let result = self.store.set_status(user, status, unix_seconds()).await;
        self.memory.forget(user);
        result
    }

    /// Replaces the password of a user by what he will type from now on.
    pub(crate) async fn set_password(
        &self,
        user: UserId,
        password: &str,
    ) -> Result<(), SetPasswordError> {
        let hash = self.pool.make(digest_of(password)).await?;
        let result = self.store.set_hash(user, &hash).await;
        self.memory.forget(user);
        Ok(result?)
    }

    async fn check(&self, call: &LoginCall) -> Result<Arc<Account>, Refusal> {
        let LoginCall {
            user_name,
            password,
            address,
            ..
        } = call;
        if user_name.len() > self.config.max_name_bytes || password.len() > MAX_DIGEST_BYTES {
            // Nobody can have it, and it is not worth a place among the failures.
            let _place = self.pool.place().ok_or(Refusal::Busy)?;
            self.verdict(None, "").await;
            return Err(Refusal::Wrong);
        }
        let pair = self.memory.pair(user_name, address);
        if let Some(account) = self.memory.verified(user_name, password, &pair) {
            self.metrics.remembered();
            return Ok(account);
        }

        // Before the turn: whoever waits for his turn is one who waits for a hash.
        let _place = self.pool.place().ok_or(Refusal::Busy)?;
        // Attempts of one pair are judged one after the other, so that many at the same time get no
        // more tries than many in a row.
        let _turn = self.turns.take(pair.turn()).await;
        let now = unix_seconds();
        let since = now.saturating_sub(self.config.lockout_window_secs);
        let failures = self.store.login_failures(user_name, address, since).await?;
        if failures.times.len() > self.config.lockout_failures as usize {
            return Err(Refusal::LockedOut);
        }
        let generation = self.memory.generation();
        let account = self.account(user_name).await?;
        let verdict = match &account {
            Some(account) if self.memory.is_verified(account, password) => {
                self.metrics.remembered();
                Verdict::Right
            }
            _ => self.verdict(account.as_deref(), password).await,
        };
        let account = match (account, &verdict) {
            (Some(account), Verdict::Right | Verdict::RightOutdated(_))
                if account.status == ACTIVE =>
            {
                account
            }
            _ => {
                self.memory.suspect(&pair);
                self.store
                    .add_login_failure(user_name, address, now, since, self.config.lockout_pairs)
                    .await?;
                return Err(Refusal::Wrong);
            }
        };
        if !failures.times.is_empty() {
            self.store.clear_login_failures(user_name, address).await?;
        }
        if self.memory.generation() != generation && !self.is_still_active(user_name).await? {
            return Err(Refusal::Wrong);
        }
        if let Verdict::RightOutdated(hash) = verdict {
            self.upgrade(&account, password, hash).await;
        }
        self.memory.verify(&account, password, pair);
        Ok(account)
    }

    /// What a name stands for; remembered for a while.
    async fn account(&self, name: &str) -> Result<Option<Arc<Account>>, StoreError> {
        if let Some(account) = self.memory.account(name) {
            return Ok(Some(account));
        }
        let generation = self.memory.generation();
        let Some(credentials) = self.store.credentials(name).await? else {
            return Ok(None);
        };
        let Some(profile) = self.store.profiles(&[credentials.user]).await?.pop() else {
            return Ok(None);
        };
        let mut info = user_info(profile);
        info.status = ACTIVE;
        let account = Arc::new(Account {
            user: credentials.user,
            name: name.to_owned(),
            hash: credentials.hash,
            status: credentials.status,
            user_info: Bytes::from(info.encode_to_vec()),
        });
        self.memory.learn(&account, generation);
        Ok(Some(account))
    }

    /// Asked when accounts have changed while a password was being hashed.
    async fn is_still_active(&self, name: &str) -> Result<bool, StoreError> {
        let credentials = self.store.credentials(name).await?;
        Ok(credentials.is_some_and(|credentials| credentials.status == ACTIVE))
    }

    /// Hashes, whatever there is to compare with.
    async fn verdict(&self, account: Option<&Account>, digest: &str) -> Verdict {
        // Whoever has no password yet has an empty hash, which nothing fits.
        let stored = account
            .filter(|account| !account.hash.is_empty())
            .and_then(|account| {
                StoredHash::parse(&account.hash, self.pool.policy())
                    .inspect_err(
                        |error| error!(user = %account.user, %error, "stored hash is unusable"),
                    )
                    .ok()
            });
        let verdict = self.pool.verify(stored, digest.to_owned()).await;
        verdict.unwrap_or(Verdict::Wrong)
    }

    async fn upgrade(&self, account: &Arc<Account>, digest: &str, hash: String) {
        let new = NewHash {
            user: account.user,
            expected: account.hash.clone(),
            hash: hash.clone(),
        };
        match self.store.replace_hash(&new).await {
            Ok(true) => {
                info!(user = %account.user, "password hash replaced by one with current parameters");
                self.memory.forget(account.user);
                self.memory.verify_hash(account.user, &hash, digest);
            }
            Ok(false) => {}
            Err(error) => warn!(user = %account.user, %error, "password hash not replaced"),
        }
    }
}

/// Why a password was not set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetPasswordError {
    /// It could not be hashed.
    #[error("hash the password")]
    Hash(#[from] HashError),
    /// It could not be stored.
    #[error("store the password")]
    Store(#[from] StoreError),
}

#[async_trait]
impl CheckLogins for Accounts {
    fn busy(&self) -> LoginDone {
        self.metrics.login(LoginResult::Busy);
        LoginDone {
            result_code: LoginResult::Busy.code(),
            result_string: "服务端内部错误".to_owned(),
            ..LoginDone::default()
        }
    }

    async fn login(&self, call: LoginCall) -> LoginDone {
        let (result, text) = match self.check(&call).await {
            Ok(account) => {
                self.metrics.login(LoginResult::Ok);
                return LoginDone {
                    result_code: 0,
                    result_string: "成功".to_owned(),
                    user_id: account.user.get(),
                    user_info: account.user_info.clone(),
                };
            }
            Err(Refusal::Wrong) => (LoginResult::Wrong, "用户名/密码错误"),
            Err(Refusal::LockedOut) => (LoginResult::LockedOut, "用户名/密码错误次数太多"),
            Err(Refusal::Busy) => (LoginResult::Busy, "服务端内部错误"),
            Err(Refusal::Store(error)) => {
                if self.trouble.is_due() {
                    error!(%error, "login not checked");
                }
                (LoginResult::Failed, "服务端内部错误")
            }
        };
        self.metrics.login(result);
        LoginDone {
            result_code: result.code(),
            result_string: text.to_owned(),
            ..LoginDone::default()
        }
    }
}

#[cfg(test)]
mod tests;
