//! Administration: directory import, people, groups, sessions.
//!
//! Served on a port of its own, to holders of the administrators' secret. Names are login names. Whatever
//! takes the right to log in from somebody ends their sessions at once. Every change names who wants it
//! ([`caller`]), leaves one line in the log ([`audit`]), a row in the audit log in its own transaction
//! ([`notes`]) and, under an idempotency key, its answer ([`keys`]).

mod announcements;
mod audit;
mod bots;
mod caller;
mod cursor;
mod departments;
mod devices;
mod devices_service;
mod discovery_items;
mod found;
mod groups;
mod hooks;
mod hooks_service;
mod import;
mod incoming;
mod keys;
mod locks;
mod members;
mod messages;
mod metrics;
mod notes;
mod pages;
mod people;
mod profile;
mod records;
mod rows;
mod servers;
mod service;
mod sessions;
mod tokens;
mod trail;
mod updates;

use std::sync::Arc;

use im_accounts::{Accounts, HashError, SetPasswordError, names};
use im_config::DbProxyConfig;
use im_core::{Classify as _, ErrorKind, UserId};
use im_rpc::Secret;
use im_store::{AccountKind, Store, StoreError, UserProfile};
use im_writer::{
    Context, GroupRefusal, ListError, Publisher, SendRules, Space, WriterError, WriterHandle,
};
use prost::Message;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::error;

use self::audit::{Change, Entry};
use self::cursor::Cursors;
use self::keys::{InHand, Key, Replay, reason};
pub(crate) use self::metrics::AdminMetrics;
use self::notes::Call;
use self::trail::Refusals;
use self::updates::BotRooms;
use crate::announce::Announcer;
use crate::test_push::{NoVerdict, TestNotices};

/// The service `im.v1.Admin`; clones share everything but the call that they work for.
#[derive(Clone)]
pub(crate) struct AdminService {
    store: Arc<dyn Store>,
    writer: WriterHandle,
    publisher: Publisher,
    accounts: Arc<Accounts>,
    config: Arc<DbProxyConfig>,
    /// One change of names at a time: what was found free stays so until it is taken.
    changing: Arc<Mutex<()>>,
    cursors: Cursors,
    space: Space,
    rules: SendRules,
    secret: Secret,
    announcer: Announcer,
    metrics: AdminMetrics,
    in_hand: InHand,
    reported: Refusals,
    tests: TestNotices,
    rooms: BotRooms,
    /// The call that changes are made for; none leaves no rows.
    call: Option<Arc<Call>>,
}

/// Why an administrator does not get what they asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Exists(String),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("too many passwords are being hashed, try again")]
    Hash(#[from] HashError),
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("the group was not changed")]
    Writer(#[from] WriterError),
    #[error("sessions are not known")]
    Sessions(#[from] ListError),
    #[error("the test notice was not made")]
    Test(#[from] NoVerdict),
}

impl From<SetPasswordError> for AdminError {
    fn from(error: SetPasswordError) -> Self {
        match error {
            SetPasswordError::Hash(error) => Self::Hash(error),
            SetPasswordError::Store(error) => Self::Store(error),
        }
    }
}

impl From<AdminError> for Status {
    fn from(error: AdminError) -> Self {
        match &error {
            AdminError::Invalid(text) => Self::invalid_argument(text),
            AdminError::NotFound(text) => Self::not_found(text),
            AdminError::Exists(text) => Self::already_exists(text),
            AdminError::Refused(text) => Self::failed_precondition(text),
            AdminError::Unavailable(text) => Self::unavailable(text),
            AdminError::Hash(_) => Self::resource_exhausted(error.to_string()),
            AdminError::Store(StoreError::Full { what })
            | AdminError::Writer(WriterError::Store(StoreError::Full { what })) => {
                let word = match *what {
                    "tokens" => "too-many-tokens",
                    "subscriptions" => "too-many-subscriptions",
                    "announcements" => "too-many-announcements",
                    "incoming hooks" => "too-many-incoming-hooks",
                    "bots" => "too-many-bots",
                    "discovery items" => "too-many-discovery-items",
                    _ => "too-many-keys",
                };
                let text = format!("there are too many {what}: some must end first");
                reason(Self::resource_exhausted(text), word)
            }
            AdminError::Store(cause) | AdminError::Writer(WriterError::Store(cause)) => {
                error!(error = %cause, "administration failed");
                of_kind(cause.kind(), &cause.to_string())
            }
            AdminError::Writer(WriterError::Stopping) => {
                Self::unavailable("the server is stopping")
            }
            AdminError::Writer(WriterError::Refused(refusal)) => match refusal {
                GroupRefusal::NoSuchGroup => Self::not_found("there is no such group"),
                GroupRefusal::NotAllowed => Self::permission_denied("this is not allowed"),
                GroupRefusal::NothingToAdd => {
                    Self::failed_precondition("all of them are members already")
                }
                GroupRefusal::TooLarge => {
                    Self::failed_precondition("the group would have too many members")
                }
            },
            AdminError::Sessions(cause) => Self::unavailable(format!("cannot {cause}")),
            AdminError::Test(NoVerdict::TooMany) => {
                Self::resource_exhausted(NoVerdict::TooMany.to_string())
            }
            AdminError::Test(NoVerdict::Silence) => {
                let text = NoVerdict::Silence.to_string();
                reason(Self::unavailable(text), "no-push")
            }
        }
    }
}

fn of_kind(kind: ErrorKind, text: &str) -> Status {
    let text = format!("cannot {text}");
    match kind {
        ErrorKind::Invalid => Status::invalid_argument(text),
        ErrorKind::NotFound => Status::not_found(text),
        ErrorKind::Denied => Status::permission_denied(text),
        ErrorKind::Conflict => Status::aborted(text),
        ErrorKind::Exhausted => Status::resource_exhausted(text),
        ErrorKind::Unavailable => Status::unavailable(text),
        _ => Status::internal(text),
    }
}

impl AdminService {
    /// Works with the context and the accounts that logins are checked against; `secret` is the
    /// administrators'; bots that wait are answered at `stop`.
    pub(crate) fn new(
        context: &Context,
        accounts: Arc<Accounts>,
        announcer: Announcer,
        secret: &Secret,
        tests: TestNotices,
        metrics: AdminMetrics,
        stop: CancellationToken,
    ) -> Self {
        Self {
            store: Arc::clone(&context.store),
            writer: context.writer.clone(),
            publisher: context.publisher.clone(),
            accounts,
            config: Arc::clone(&context.config),
            changing: Arc::default(),
            cursors: Cursors::new(secret),
            space: context.space.clone(),
            rules: SendRules::from(&context.config.writer),
            secret: secret.clone(),
            announcer,
            metrics,
            in_hand: InHand::default(),
            reported: Refusals::default(),
            tests,
            rooms: BotRooms::new(&context.config.administration, stop),
            call: None,
        }
    }

    /// Makes a change for whoever asks: once under each idempotency key.
    async fn administer<T, R, F>(
        &self,
        request: Request<T>,
        work: impl FnOnce(Self, T) -> F + Send,
    ) -> Result<Response<R>, Status>
    where
        T: Change + Message,
        R: Replay,
        F: Future<Output = Result<R, AdminError>> + Send,
    {
        let entry = Entry::begin(&request)?;
        let message = request.into_inner();
        let key = if message.dry_run() {
            None
        } else {
            Key::of(entry.caller(), &message, &self.secret)
        };
        let Some(key) = key else {
            let worker = self.working_for(&entry, T::CALL, None);
            return self.ended(entry, work(worker, message).await);
        };
        let _taken = match self.in_hand.take(&key) {
            Ok(taken) => taken,
            Err(status) => return Err(entry.refuse(status)),
        };
        match self.replayed(&key).await {
            Ok(None) => {}
            Ok(Some(answer)) => {
                entry.repeated();
                return Ok(answer);
            }
            Err(status) => return Err(entry.refuse(status)),
        }
        let worker = self.working_for(&entry, T::CALL, Some(key.clone()));
        let result = work(worker, message).await;
        // A call that nobody waited for any more may have been stored meanwhile.
        if result.is_err()
            && let Ok(Some(answer)) = self.replayed(&key).await
        {
            entry.repeated();
            return Ok(answer);
        }
        self.ended(entry, result)
    }

    fn working_for(&self, entry: &Entry, action: &'static str, key: Option<Key>) -> Self {
        let caller = entry.caller().clone();
        let call = Call {
            action,
            caller,
            key,
        };
        Self {
            call: Some(Arc::new(call)),
            ..self.clone()
        }
    }

    fn ended<R>(&self, entry: Entry, result: Result<R, AdminError>) -> Result<Response<R>, Status> {
        self.metrics.ended(result.is_ok());
        entry.end(result)
    }

    /// The person with a login name: exactly this one, or as logins compare.
    async fn person(&self, name: &str) -> Result<UserProfile, AdminError> {
        let found = self.account(name).await?;
        only_people(found, || format!("there is no user {name:?}"))
    }

    /// The person with an id or, when that is 0, a login name.
    async fn person_or_id(&self, name: &str, id: u32) -> Result<UserProfile, AdminError> {
        let found = self.account_or_id(name, id).await?;
        only_people(found, || match id {
            0 => format!("there is no user {name:?}"),
            id => format!("there is no user #{id}"),
        })
    }

    /// Who has a login name, a person or a bot: exactly this one, or as logins compare.
    async fn account(&self, name: &str) -> Result<UserProfile, AdminError> {
        let canonical = names::canonical(name);
        let decomposed = names::decomposed(&canonical);
        let forms = [Some(name), Some(canonical.as_ref()), decomposed.as_deref()];
        for name in forms.into_iter().flatten() {
            if let Some(profile) = self.store.profile_by_name(name).await? {
                return Ok(profile);
            }
        }
        Err(AdminError::NotFound(format!("there is no user {name:?}")))
    }

    /// Who has an id or, when that is 0, a login name.
    async fn account_or_id(&self, name: &str, id: u32) -> Result<UserProfile, AdminError> {
        let Some(user) = UserId::from_wire(id) else {
            return self.account(name).await;
        };
        let found = self.store.profiles(&[user]).await?.pop();
        found.ok_or_else(|| AdminError::NotFound(format!("there is no user #{id}")))
    }

    /// Login names by id; ids that nobody has are missing.
    async fn names(
        &self,
        ids: &[UserId],
    ) -> Result<std::collections::HashMap<UserId, String>, AdminError> {
        if ids.is_empty() {
            return Ok(std::collections::HashMap::new());
        }
        let profiles = self.store.profiles(ids).await?;
        Ok(profiles
            .into_iter()
            .map(|profile| (profile.id, profile.name))
            .collect())
    }
}

fn only_people(
    found: UserProfile,
    missing: impl FnOnce() -> String,
) -> Result<UserProfile, AdminError> {
    if found.kind == AccountKind::Person {
        Ok(found)
    } else {
        Err(AdminError::NotFound(missing()))
    }
}

#[cfg(test)]
mod tests;
