//! Accounts: checks logins, keeps hashes current, slows down who guesses.
//!
//! *Invariants.* A login costs at most one argon2 computation, and never more memory than
//! `max_hashes` computations need; a name that nobody has, a wrong password and a person who is not
//! active cost the same time and look the same. Failures are in the store before the answer leaves.
//! Neither passwords nor digests are kept: what is remembered of a verified one is a MAC, over the
//! stored hash too, so that a change of the password forgets it.
//!
//! A login passes, in this order: its bounds in bytes; what this process remembers; its turn to ask the
//! store (`lookups`); what earlier failures mean for it (`lockout`, `gate`); what the store remembers
//! (`remember`); the queue for a hash (`queue`, `admission`), which nobody waits in who was remembered. Whoever does not want an
//! answer any more drops the future: that ends their place in every one of them.

mod admission;
mod counters;
mod gate;
mod hash;
mod imported;
mod lockout;
mod login;
mod lookups;
mod memory;
mod metrics;
mod origin;
mod pace;
mod pool;
mod queue;
mod refusals;
mod remember;
mod renewals;
mod ttl_map;

use std::sync::Arc;
use std::time::Duration;

use im_config::AccountsConfig;
use im_core::time::UnixSeconds;
use im_core::{Chain, UserId};
use im_proto_rpc::v1::{LoginCall, LoginDone, SessionInfo};
use im_runtime::Throttle;
use im_store::{LoginFailures, Store, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::error;

pub use hash::{BadHash, HashPolicy, digest_of};
pub use imported::Imported;
pub use metrics::AccountMetrics;
pub use pool::{HashError, HashPool};
pub use refusals::{Reason, RefusedLogin};
pub use remember::{RememberKeyError, RememberKeys};

use crate::names;
use admission::Admission;
use counters::{Counts, Once};
use lockout::Lockout;
use lookups::Lookups;
use memory::{Keyed, Memory};
use metrics::LoginResult;
use queue::Limits;
use refusals::Refusals;
use renewals::Renewals;

/// A digest is 32 bytes; anything longer than this is not even hashed.
const MAX_DIGEST_BYTES: usize = 128;

/// A login waits so long for its turn even if nobody else does: whoever sends one and hangs up has
/// gone by then, and costs no hash.
const SETTLE: Duration = Duration::from_millis(20);

/// A login that was to be written is not handed over again for so long.
const REMEMBER_AGAIN: Duration = Duration::from_mins(5);

/// Status of people who may log in.
pub const ACTIVE: u32 = 0;

/// Checks logins.
pub struct Accounts {
    store: Arc<dyn Store>,
    config: AccountsConfig,
    keyed: Arc<Keyed>,
    memory: Arc<Memory>,
    /// Names or digests that nobody can have, by network.
    oversized: Counts,
    lockout: Lockout,
    keys: RememberKeys,
    /// How long verified logins are remembered, seconds; 0 = not beyond the process.
    remember_seconds: u32,
    /// Users whose login was handed over to `renewals`.
    asked: Once,
    renewals: Renewals,
    lookups: Lookups,
    admission: Admission,
    pool: HashPool,
    trouble: Throttle,
    refusals: Refusals,
    metrics: AccountMetrics,
}

/// Why a login is refused.
enum Refusal {
    /// Wrong name or password, or not active: which of them only administrators are told.
    Wrong(Reason),
    /// Too many failures before.
    LockedOut,
    /// It cannot be checked in time; when to try again.
    Busy(Duration),
    /// The hash was not computed: the process is stopping.
    NotComputed,
    /// The store does not answer.
    Store(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Accounts {
    /// Checks logins against `store`, within the bounds of `config`; `keys` make what is remembered
    /// beyond the process.
    pub fn new(
        store: Arc<dyn Store>,
        config: AccountsConfig,
        keys: RememberKeys,
        metrics: AccountMetrics,
    ) -> Self {
        let policy = HashPolicy::from(&config);
        let keyed = Arc::new(Keyed::new());
        let limits = Limits {
            parallel: config.max_hashes.max(1),
            waiting: config.max_waiting_logins,
            per_address: config.max_waiting_per_address,
            per_name: config.max_waiting_per_name,
            patience: config.login_patience.into(),
            settle: SETTLE,
        };
        let admission = Admission::new(limits, &metrics);
        let lookups = lookups::Limits {
            parallel: config.max_lookups,
            waiting: config.max_waiting_lookups,
            patience: config.login_patience.into(),
        };
        let pairs = usize::try_from(config.lockout_pairs).unwrap_or(usize::MAX);
        let window = config.lockout_window.duration();
        let memory = Arc::new(Memory::new(&config, Arc::clone(&keyed)));
        let entries = config.verified_entries;
        Self {
            oversized: Counts::new(pairs, window),
            lockout: Lockout::new(Arc::clone(&store), Arc::clone(&keyed), &config, &metrics),
            keys,
            remember_seconds: config.remember_for.as_seconds_u32(),
            asked: Once::new(entries, REMEMBER_AGAIN),
            renewals: Renewals::new(Arc::clone(&store), Arc::clone(&memory), entries, &metrics),
            memory,
            pool: HashPool::new(policy, config.max_hashes, admission.clone(), &metrics),
            lookups: Lookups::new(lookups, &metrics),
            admission,
            trouble: Throttle::default(),
            refusals: Refusals::new(),
            store,
            config,
            keyed,
            metrics,
        }
    }

    /// Writes verified logins to the store until `stop`, and then what is left. The sessions that
    /// `online` lists keep theirs fresh; `None` when it does not know them now.
    pub async fn run<F>(&self, online: impl Fn() -> F, stop: CancellationToken)
    where
        F: Future<Output = Option<Vec<SessionInfo>>>,
    {
        let following = async {
            if self.remember_seconds > 0 {
                self.renewals.follow_sessions(online, &stop).await;
            }
        };
        tokio::join!(self.renewals.run(&stop), following);
    }

    /// Computes hashes, within the bounds.
    pub fn pool(&self) -> &HashPool {
        &self.pool
    }

    /// Must follow every change of a user's account that did not pass through here.
    pub fn forget(&self, user: UserId) {
        self.memory.forget(user);
    }

    /// Must follow a change of many accounts.
    pub fn forget_everybody(&self) {
        self.memory.forget_everybody();
    }

    /// Changes the status of a user, through this handle of the store.
    ///
    /// # Errors
    /// The store fails; whether it has the change is not known then.
    pub async fn set_status(
        &self,
        store: &dyn Store,
        user: UserId,
        status: u32,
    ) -> Result<(), StoreError> {
        let result = store.set_status(user, status, UnixSeconds::now()).await;
        self.memory.forget(user);
        self.asked.reset(user);
        result
    }

    /// Replaces the password of a user by what they will type from now on, through this handle of the
    /// store; ends their locks.
    ///
    /// # Errors
    /// It was not hashed, or not stored.
    pub async fn set_password(
        &self,
        store: &dyn Store,
        user: UserId,
        password: &str,
    ) -> Result<(), SetPasswordError> {
        let hash = self.pool.make(digest_of(password)).await?;
        let result = store.set_hash(user, &hash).await;
        self.memory.forget(user);
        self.asked.reset(user);
        Ok(result?)
    }

    /// Names that are locked or slowed down, newest first: one of them or, with "", all; those behind a
    /// place; the first `limit` of them.
    ///
    /// # Errors
    /// The store fails.
    pub async fn locks(
        &self,
        name: &str,
        behind: Option<u128>,
        limit: u32,
    ) -> Result<Vec<LoginFailures>, StoreError> {
        self.lockout.list(name, behind, limit).await
    }

    /// When a lock ends whose last failure was at this time.
    pub fn lock_ends(&self, newest: UnixSeconds) -> UnixSeconds {
        newest.saturating_add(self.config.lockout_window.as_seconds_u32())
    }

    /// Why the last logins with a name were refused, newest first; since the start of the process.
    pub fn refusals(&self, name: &str) -> Vec<RefusedLogin> {
        self.refusals.list(&names::canonical(name))
    }

    fn note_refusal(&self, call: &LoginCall, refusal: &Refusal) {
        let reason = match refusal {
            Refusal::Wrong(reason) => *reason,
            Refusal::LockedOut => Reason::Locked,
            Refusal::Busy(_) => Reason::Busy,
            Refusal::NotComputed | Refusal::Store(_) => return,
        };
        let name = names::canonical(&call.user_name);
        if name.len() <= self.config.max_name.as_usize() {
            self.refusals.note(&name, call, reason);
        }
    }

    /// Ends the locks of a name, through this handle of the store; how many failures' places were
    /// forgotten.
    ///
    /// # Errors
    /// The store fails.
    pub async fn unlock(&self, store: &dyn Store, name: &str) -> Result<u64, StoreError> {
        store.forget_login_failures(name).await
    }
}

/// Why a password was not set.
#[derive(Debug, thiserror::Error)]
pub enum SetPasswordError {
    /// It could not be hashed.
    #[error("hash the password")]
    Hash(#[from] HashError),
    /// It could not be stored.
    #[error("store the password")]
    Store(#[from] StoreError),
}

impl Accounts {
    /// What a login is told that cannot be taken in hand now, and when to come again.
    pub fn busy(&self) -> LoginDone {
        self.metrics.login(LoginResult::Busy);
        LoginDone {
            result_code: LoginResult::Busy.code(),
            result_string: "服务端内部错误".to_owned(),
            retry_after_ms: millis(self.admission.retry_after()),
            ..LoginDone::default()
        }
    }

    /// Verifies a name and the digest of a password. May be dropped half-way.
    pub async fn login(&self, call: LoginCall) -> LoginDone {
        let mut retry_after = Duration::ZERO;
        let checked = self.check(&call).await;
        if let Err(refusal) = &checked {
            self.note_refusal(&call, refusal);
        }
        let (result, text) = match checked {
            Ok(account) => {
                self.metrics.login(LoginResult::Ok);
                return LoginDone {
                    result_code: 0,
                    result_string: "成功".to_owned(),
                    user_id: account.user.get(),
                    user_info: account.user_info.clone(),
                    login_ms: im_core::time::unix_millis(),
                    ..LoginDone::default()
                };
            }
            Err(Refusal::Wrong(_)) => (LoginResult::Wrong, "用户名/密码错误"),
            Err(Refusal::LockedOut) => (LoginResult::LockedOut, "用户名/密码错误次数太多"),
            Err(Refusal::Busy(wait)) => {
                retry_after = wait;
                (LoginResult::Busy, "服务端内部错误")
            }
            Err(Refusal::NotComputed) => (LoginResult::Failed, "服务端内部错误"),
            Err(Refusal::Store(error)) => {
                if self.trouble.is_due() {
                    error!(error = %Chain(&error), "login not checked");
                }
                (LoginResult::Failed, "服务端内部错误")
            }
        };
        self.metrics.login(result);
        LoginDone {
            result_code: result.code(),
            result_string: text.to_owned(),
            retry_after_ms: millis(retry_after),
            ..LoginDone::default()
        }
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
