//! One login, from its bounds to its answer.

use std::sync::Arc;

use im_core::{Chain, time::UnixSeconds};
use im_proto_rpc::v1::LoginCall;
use im_store::{Credentials, Remembered, StoreError, VerifiedLogin};
use prost::Message as _;
use tokio::time::Instant;
use tracing::error;

use super::admission::{Permit, Turn};
use super::hash::{StoredHash, Verdict};
use super::lockout::{Attempt, Standing};
use super::lookups::Place;
use super::memory::Account;
use super::origin::Origin;
use super::queue::Request;
use super::refusals::Reason;
use super::remember::Recall;
use super::renewals::{RENEW_AFTER, Verified};
use super::{ACTIVE, Accounts, MAX_DIGEST_BYTES, Refusal};
use crate::names;
use crate::profile::user_info;

/// How often a login waits for the answer to the same question of somebody else.
const MOST_TURNS: usize = 4;

/// Bytes beyond the longest name that may be blanks around it, or another form of its letters.
const MAX_BLANKS: usize = 64;

impl Accounts {
    pub(super) async fn check(&self, call: &LoginCall) -> Result<Arc<Account>, Refusal> {
        if call.user_name.len() > self.config.max_name.as_usize() + MAX_BLANKS {
            return Err(self.oversized(&Origin::of(&call.address)));
        }
        let name = names::canonical(&call.user_name);
        let name = name.as_ref();
        let digest = call.password.as_str();
        let origin = Origin::of(&call.address);
        if name.len() > self.config.max_name.as_usize() || digest.len() > MAX_DIGEST_BYTES {
            return Err(self.oversized(&origin));
        }
        let pair = self.memory.pair(name, &origin.address);
        if let Some(account) = self.memory.verified(name, digest, &pair) {
            self.metrics.remembered();
            self.renew(&account, digest, false);
            return Ok(account);
        }
        let request = Request {
            name: self.keyed.key(b"name", &[name]),
            question: self.keyed.key(b"question", &[name, digest]),
            address: self.keyed.key(b"address", &[&origin.address]),
            network: self.keyed.key(b"network", &[&origin.network]),
            arrived: Instant::now(),
        };
        let attempt = Attempt {
            known: self.memory.knows(name, &origin.network),
            name: name.to_owned(),
            origin,
            question: request.question,
        };
        let checked = self.judge(&attempt, request, digest).await?;
        self.memory.verify(&checked, digest, pair);
        Ok(checked)
    }

    async fn judge(
        &self,
        attempt: &Attempt,
        mut request: Request,
        digest: &str,
    ) -> Result<Arc<Account>, Refusal> {
        let mut place = Some(self.lookup(&request).await?);
        let judging = self.lockout.judge(attempt);
        let standing = self.lockout.standing(attempt).await?;
        if let Standing::Locked(_) | Standing::Slowed(_) = standing {
            // Nobody waits for the store behind a gate.
            place.take();
            if !self.lockout.pass(standing).await {
                return Err(self.refusal_of(standing));
            }
            request.arrived = Instant::now();
        }
        let mut login = Login {
            standing,
            recorded: false,
        };
        let mut judging = Some(judging);
        for _ in 0..MOST_TURNS {
            let place = match place.take() {
                Some(place) => place,
                None => self.lookup(&request).await?,
            };
            let generation = self.memory.generation();
            let account = self.account(&attempt.name).await?;
            drop(place);
            match self.recall(account.as_deref(), digest) {
                Recall::Right { renew } => {
                    // Only an account is recalled.
                    let account = account.ok_or(Refusal::Wrong(Reason::Unknown))?;
                    self.metrics.remembered();
                    self.succeed(attempt, &login).await?;
                    self.renew(&account, digest, renew);
                    return Ok(account);
                }
                // The answer looks like any other wrong one, but it counts from now on.
                Recall::Wrong => self.record(attempt, &mut login, true).await?,
                Recall::Unknown => {}
            }
            // What was recorded need not be counted twice, and a hash says nothing before its turn.
            judging.take();
            let permit = match self.admission.turn(&request).await {
                Turn::Run(permit) => permit,
                Turn::Again => continue,
                Turn::Wrong => return Err(login.wrong(Reason::Password)),
                Turn::Busy(retry_after) => return Err(Refusal::Busy(retry_after)),
            };
            if let Standing::Free { .. } | Standing::Spared = login.standing {
                // Others of this name have had their turns meanwhile.
                let standing = self.lockout.standing_in_turn(attempt).await?;
                if let Standing::Locked(_) = standing
                    && !login.recorded
                {
                    return Err(Refusal::LockedOut);
                }
            }
            let (verdict, permit) = self.verdict(permit, account.as_deref(), digest).await?;
            let result = match (account, verdict) {
                (Some(account), Verdict::Right) if account.status == ACTIVE => {
                    self.verified(attempt, &login, account, digest, None, generation)
                        .await
                }
                (Some(account), Verdict::RightOutdated(hash)) if account.status == ACTIVE => {
                    self.verified(attempt, &login, account, digest, Some(hash), generation)
                        .await
                }
                (account, verdict) => {
                    self.record(attempt, &mut login, account.is_some()).await?;
                    Err(login.wrong(reason(account.as_deref(), &verdict)))
                }
            };
            // Its end is what the next login of this name and address waits for.
            drop(permit);
            return result;
        }
        Err(Refusal::Busy(self.admission.retry_after()))
    }

    /// Waits for its turn to ask the store.
    async fn lookup(&self, request: &Request) -> Result<Place, Refusal> {
        self.lookups.place(request).await.map_err(Refusal::Busy)
    }

    /// A password has turned out to be right.
    async fn verified(
        &self,
        attempt: &Attempt,
        login: &Login,
        account: Arc<Account>,
        digest: &str,
        outdated: Option<String>,
        generation: u64,
    ) -> Result<Arc<Account>, Refusal> {
        self.succeed(attempt, login).await?;
        if self.memory.generation() != generation && !self.is_still_active(&attempt.name).await? {
            return Err(Refusal::Wrong(Reason::NotActive));
        }
        let pair = self.memory.pair(&attempt.name, &attempt.origin.address);
        self.memory.verify(&account, digest, pair);
        self.remember(&account, digest, outdated);
        Ok(account)
    }

    async fn succeed(&self, attempt: &Attempt, login: &Login) -> Result<(), StoreError> {
        self.memory.know(&attempt.name, &attempt.origin.network);
        match login.standing {
            Standing::Free { failures: false } if !login.recorded => Ok(()),
            standing => self.lockout.succeeded(attempt, standing).await,
        }
    }

    /// Stores a failure, unless the name is locked and every try is answered alike.
    async fn record(
        &self,
        attempt: &Attempt,
        login: &mut Login,
        known: bool,
    ) -> Result<(), StoreError> {
        if login.recorded || matches!(login.standing, Standing::Locked(_)) {
            return Ok(());
        }
        let pair = self.memory.pair(&attempt.name, &attempt.origin.address);
        self.memory.suspect(&pair);
        self.lockout.failed(attempt, known).await?;
        login.recorded = true;
        Ok(())
    }

    fn refusal_of(&self, standing: Standing) -> Refusal {
        match standing {
            Standing::Free { .. } | Standing::Spared => Refusal::Wrong(Reason::Password),
            Standing::Locked(_) => Refusal::LockedOut,
            Standing::Slowed(_) => Refusal::Busy(self.config.lockout_first_wait.into()),
        }
    }

    /// What nobody can have costs no hash, but it is counted.
    fn oversized(&self, origin: &Origin) -> Refusal {
        self.metrics.oversized();
        if self.oversized.count(&origin.network) > self.config.lockout_failures {
            Refusal::LockedOut
        } else {
            Refusal::Wrong(Reason::Unknown)
        }
    }

    /// What a name stands for; remembered for a while.
    async fn account(&self, name: &str) -> Result<Option<Arc<Account>>, StoreError> {
        if let Some(account) = self.memory.account(name) {
            return Ok(Some(account));
        }
        let generation = self.memory.generation();
        let Some(credentials) = self.credentials(name).await? else {
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
            remembered: credentials.remembered,
            user_info: info.encode_to_vec().into(),
        });
        self.memory.learn(&account, generation);
        Ok(Some(account))
    }

    /// Credentials by a canonical name, which an old database may have in another form.
    async fn credentials(&self, name: &str) -> Result<Option<Credentials>, StoreError> {
        match (self.store.credentials(name).await?, names::decomposed(name)) {
            (None, Some(decomposed)) => self.store.credentials(&decomposed).await,
            (found, _) => Ok(found),
        }
    }

    /// Asked when accounts have changed while a password was being hashed.
    async fn is_still_active(&self, name: &str) -> Result<bool, StoreError> {
        let credentials = self.credentials(name).await?;
        Ok(credentials.is_some_and(|credentials| credentials.status == ACTIVE))
    }

    /// What is known of a digest without a hash.
    fn recall(&self, account: Option<&Account>, digest: &str) -> Recall {
        let Some(account) = account.filter(|account| account.status == ACTIVE) else {
            return Recall::Unknown;
        };
        if self.memory.is_verified(account, digest) {
            return Recall::Right { renew: false };
        }
        let now = UnixSeconds::now();
        let oldest = now.saturating_sub(self.remember_seconds);
        match account.remembered {
            // What a clock that was ahead has written is not relied on.
            Some(Remembered { mac, at }) if at > oldest && at <= now => {
                self.keys.recall(&mac, account.user, &account.hash, digest)
            }
            _ => Recall::Unknown,
        }
    }

    /// Has a login that was remembered written again, once a day or when `due`.
    fn renew(&self, account: &Account, digest: &str, due: bool) {
        let now = UnixSeconds::now();
        let fresh = account
            .remembered
            .is_some_and(|Remembered { at, .. }| at <= now && now.seconds_since(at) < RENEW_AFTER);
        if due || !fresh {
            self.remember(account, digest, None);
        }
    }

    /// Has a verified login written, together with a hash with current parameters if there is one.
    fn remember(&self, account: &Account, digest: &str, new_hash: Option<String>) {
        let user = account.user;
        let is_due = self.remember_seconds > 0 && self.asked.is_due(user);
        let hash = new_hash.as_deref().unwrap_or(&account.hash);
        let remembered = if is_due || (self.remember_seconds > 0 && new_hash.is_some()) {
            self.keys.mac(user, hash, digest).map(|mac| Remembered {
                mac,
                at: UnixSeconds::now(),
            })
        } else {
            None
        };
        if remembered.is_none() && new_hash.is_none() {
            return;
        }
        let proof = new_hash
            .as_ref()
            .map(|hash| self.memory.proof(user, hash, digest));
        self.renewals.push(Verified {
            login: VerifiedLogin {
                user,
                hash: account.hash.clone(),
                new_hash,
                remembered,
            },
            proof,
        });
    }

    /// Hashes, whatever there is to compare with.
    async fn verdict(
        &self,
        permit: Permit,
        account: Option<&Account>,
        digest: &str,
    ) -> Result<(Verdict, Permit), Refusal> {
        // Whoever has no password yet has an empty hash, which nothing fits.
        let stored = account
            .filter(|account| !account.hash.is_empty())
            .and_then(|account| {
                StoredHash::parse(&account.hash, self.pool.policy())
                    .inspect_err(
                        |error| error!(user = %account.user, error = %Chain(&error), "stored hash is unusable"),
                    )
                    .ok()
            });
        let computed = self.pool.verify(permit, stored, digest.to_owned()).await;
        computed.map_err(|_| Refusal::NotComputed)
    }
}

/// Why a password did not let anybody in.
fn reason(account: Option<&Account>, verdict: &Verdict) -> Reason {
    match (account, verdict) {
        (None, _) => Reason::Unknown,
        (Some(account), _) if account.hash.is_empty() => Reason::NoPassword,
        (Some(_), Verdict::Wrong) => Reason::Password,
        // The right password of somebody active is not refused.
        (Some(_), Verdict::Right | Verdict::RightOutdated(_)) => Reason::NotActive,
    }
}

/// What a login has met so far.
struct Login {
    standing: Standing,
    /// Its failure is in the store.
    recorded: bool,
}

impl Login {
    fn wrong(&self, reason: Reason) -> Refusal {
        match self.standing {
            Standing::Locked(_) => Refusal::LockedOut,
            Standing::Free { .. } | Standing::Slowed(_) | Standing::Spared => {
                Refusal::Wrong(reason)
            }
        }
    }
}
