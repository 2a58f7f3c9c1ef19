//! What is remembered of logins: accounts that were read, credentials that were verified, pairs of
//! name and address without failures, networks that names have logged in from. All bounded in number
//! and time; nothing here is needed, it only saves a hash and reads when many people reconnect, and a
//! wait to people whose names others guess at.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use im_config::AccountsConfig;
use im_core::UserId;
use im_store::Remembered;

use super::queue::Key;
use super::ttl_map::TtlMap;

/// What a login name stands for.
#[derive(Clone)]
pub(super) struct Account {
    pub(super) user: UserId,
    pub(super) name: String,
    pub(super) hash: String,
    pub(super) status: u32,
    /// What the store remembers of the last verified login.
    pub(super) remembered: Option<Remembered>,
    /// `IM.BaseDefine.UserInfo` as the login answer carries it.
    pub(super) user_info: Bytes,
}

/// Makes keys of names, digests and addresses, so that none of them is kept.
pub(super) struct Keyed {
    /// Lives and dies with the process.
    key: [u8; 32],
}

impl Keyed {
    pub(super) fn new() -> Self {
        Self {
            key: rand::random(),
        }
    }

    /// Equal for equal parts.
    pub(super) fn key(&self, purpose: &[u8], parts: &[&str]) -> Key {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(purpose);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        key
    }
}

pub(super) struct Memory {
    keyed: Arc<Keyed>,
    inner: Mutex<Inner>,
}

struct Inner {
    accounts: TtlMap<String, Arc<Account>>,
    /// Names under which a user's account is remembered.
    names: HashMap<UserId, String>,
    /// Users with their stored hash and the digest that fits it.
    verified: TtlMap<Key, ()>,
    /// Names with an address that has no failures.
    clean: TtlMap<Key, ()>,
    /// Names with a network that they have logged in from.
    known: TtlMap<Key, ()>,
    /// Counts changes: what was read before one is not remembered after it.
    generation: u64,
}

impl Memory {
    pub(super) fn new(config: &AccountsConfig, keyed: Arc<Keyed>) -> Self {
        let entries = config.verified_entries;
        let account_ttl = config.account_ttl.duration();
        Self {
            keyed,
            inner: Mutex::new(Inner {
                accounts: TtlMap::new(entries, account_ttl),
                names: HashMap::new(),
                verified: TtlMap::new(entries, config.verified_ttl.duration()),
                clean: TtlMap::new(entries, account_ttl),
                known: TtlMap::new(entries, config.remember_for.into()),
                generation: 0,
            }),
        }
    }

    pub(super) fn pair(&self, name: &str, address: &str) -> Key {
        self.keyed.key(b"pair", &[name, address])
    }

    /// The account, if it is known without the store that this login is good.
    pub(super) fn verified(&self, name: &str, digest: &str, pair: &Key) -> Option<Arc<Account>> {
        let account = {
            let inner = self.lock();
            inner.clean.get(pair)?;
            inner.accounts.get(name)?
        };
        (account.status == super::ACTIVE && self.is_verified(&account, digest)).then_some(account)
    }

    pub(super) fn is_verified(&self, account: &Account, digest: &str) -> bool {
        let key = self.verified_key(account.user, &account.hash, digest);
        self.lock().verified.get(&key).is_some()
    }

    /// A login was good, and the pair has no failures.
    pub(super) fn verify(&self, account: &Account, digest: &str, pair: Key) {
        let key = self.verified_key(account.user, &account.hash, digest);
        let mut inner = self.lock();
        inner.verified.insert(key, ());
        inner.clean.insert(pair, ());
    }

    /// What [`Self::verify_proof`] takes once this hash, which fits the digest, is stored.
    pub(super) fn proof(&self, user: UserId, hash: &str, digest: &str) -> Key {
        self.verified_key(user, hash, digest)
    }

    /// A digest fits a hash that has just been stored.
    pub(super) fn verify_proof(&self, proof: Key) {
        self.lock().verified.insert(proof, ());
    }

    /// Somebody has logged in under this name from this network.
    pub(super) fn know(&self, name: &str, network: &str) {
        let key = self.keyed.key(b"known", &[name, network]);
        self.lock().known.insert(key, ());
    }

    /// Whether somebody has logged in under this name from this network.
    pub(super) fn knows(&self, name: &str, network: &str) -> bool {
        let key = self.keyed.key(b"known", &[name, network]);
        self.lock().known.get(&key).is_some()
    }

    /// The pair has failures.
    pub(super) fn suspect(&self, pair: &Key) {
        self.lock().clean.remove(pair);
    }

    pub(super) fn account(&self, name: &str) -> Option<Arc<Account>> {
        self.lock().accounts.get(name)
    }

    pub(super) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Remembers an account that was read, unless something has changed since `generation`.
    pub(super) fn learn(&self, account: &Arc<Account>, generation: u64) {
        let mut inner = self.lock();
        if inner.generation == generation {
            inner
                .accounts
                .insert(account.name.clone(), Arc::clone(account));
            inner.names.insert(account.user, account.name.clone());
            inner.bound_names();
        }
    }

    /// An account has changed.
    pub(super) fn forget(&self, user: UserId) {
        let mut inner = self.lock();
        inner.generation += 1;
        if let Some(name) = inner.names.remove(&user) {
            inner.accounts.remove(&name);
        }
    }

    /// Many accounts have changed.
    pub(super) fn forget_everybody(&self) {
        let mut inner = self.lock();
        inner.generation += 1;
        inner.names.clear();
        inner.accounts.retain(|_| false);
    }

    fn verified_key(&self, user: UserId, hash: &str, digest: &str) -> Key {
        let user = user.get().to_string();
        self.keyed.key(b"verified", &[&user, hash, digest])
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change under the lock is complete in itself.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Drops names of accounts that have been forgotten by age, when there are many.
    fn bound_names(&mut self) {
        if self.names.len() > 2 * self.accounts.len() + 16 {
            let accounts = &self.accounts;
            self.names.retain(|_, name| accounts.get(name).is_some());
        }
    }
}
