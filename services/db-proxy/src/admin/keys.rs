//! Idempotency keys: the same request under the same key is one change, and gets the same answer.
//!
//! While a call is in hand its key is taken, in memory; from its commit on the store knows the key. A call
//! that nobody waits for any more gives its key back, and may be stored all the same: whoever comes next
//! finds it in the store, which refuses a second one.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use im_core::time::UnixSeconds;
use im_proto_rpc::v1::{
    AnnouncementRecord, BotRecord, ClearLockReply, CreatedBot, CreatedIncomingHook,
    CreatedSubscription, CreatedToken, DeliveryRecord, DepartmentRecord, DiscoveryItemRecord,
    FollowerRecord, GroupRecord, IncomingHookRecord, KickReply, MessageRecord, OperateServerReply,
    PushTargetRecord, PushTestRecord, RemovedUser, SubscriptionRecord, TokenRecord, UserRecord,
};
use im_rpc::Secret;
use im_store::KeptAnswer;
use prost::Message;
use tonic::{Response, Status};

use super::AdminService;
use super::audit::Change;
use super::caller::Caller;

const PURPOSE: &str = "imcluster db-proxy idempotency keys of administration 2026-11";

const MESSAGE_IDS: &str = "imcluster db-proxy ids of messages under idempotency keys 2026-11";

/// Metadata of an answer that was given before.
const REPLAYED: &str = "im-replayed";
/// Metadata that tells refusals of one code apart.
const REASON: &str = "im-reason";

/// The key of a call, and digests of what is asked for.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) scope: String,
    pub(super) key: String,
    /// Under each value of the administrators' secret, so that the digest of a password tells nothing.
    digests: Vec<[u8; 32]>,
}

impl Key {
    pub(super) fn of<T: Change + Message>(
        caller: &Caller,
        request: &T,
        secret: &Secret,
    ) -> Option<Self> {
        let key = caller.key.clone()?;
        let mut bytes = T::CALL.as_bytes().to_vec();
        bytes.push(0);
        request.encode(&mut bytes).ok()?;
        let keys = secret.keys(PURPOSE);
        let digest = |key: &[u8; 32]| blake3::keyed_hash(key, &bytes).into();
        Some(Self {
            scope: caller.scope(),
            key,
            digests: keys.iter().map(digest).collect(),
        })
    }

    /// The digest that is kept.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.digests.first().copied().unwrap_or_default()
    }

    /// What a message under this key is recognised by, at least as long as a client's id.
    pub(super) fn message_id(&self) -> [u8; 32] {
        let mut hash = blake3::Hasher::new_derive_key(MESSAGE_IDS);
        hash.update(&self.scope.len().to_be_bytes());
        hash.update(self.scope.as_bytes());
        hash.update(self.key.as_bytes());
        hash.finalize().into()
    }

    fn place(&self) -> (String, String) {
        (self.scope.clone(), self.key.clone())
    }
}

/// Keys of the calls in hand; as many as there are calls.
#[derive(Clone, Debug, Default)]
pub(super) struct InHand(Arc<Mutex<HashSet<(String, String)>>>);

/// A key that is taken until this goes away.
#[derive(Debug)]
pub(super) struct Taken {
    all: InHand,
    place: (String, String),
}

impl InHand {
    /// Takes a key, unless another call has it.
    pub(super) fn take(&self, key: &Key) -> Result<Taken, Status> {
        let place = key.place();
        let is_free = self.lock().insert(place.clone());
        if !is_free {
            return Err(reason(
                Status::aborted("the first call under this idempotency key has not ended yet"),
                "key-in-flight",
            ));
        }
        Ok(Taken {
            all: self.clone(),
            place,
        })
    }

    /// How many keys are taken.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<(String, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.all.lock().remove(&self.place);
    }
}

impl AdminService {
    /// What was answered under a key before.
    pub(super) async fn replayed<R: Replay>(
        &self,
        key: &Key,
    ) -> Result<Option<Response<R>>, Status> {
        let now = UnixSeconds::now();
        let kept_for = &self.config.administration.idempotency_for;
        let since = now.saturating_sub(kept_for.as_seconds_u32());
        let kept = self.store.kept_answer(&key.scope, &key.key, since, now);
        let kept = kept.await.map_err(super::AdminError::from)?;
        let Some(kept) = kept else { return Ok(None) };
        if !key.digests.contains(&kept.digest) {
            return Err(reason(
                Status::invalid_argument(
                    "another request came under this idempotency key: take a new key for each",
                ),
                "key-reused",
            ));
        }
        let answer = answer::<R>(&kept)?;
        let mut response = Response::new(answer);
        let is_replayed = tonic::metadata::MetadataValue::from_static("1");
        response.metadata_mut().insert(REPLAYED, is_replayed);
        self.metrics.replayed();
        Ok(Some(response))
    }
}

/// A refusal with a word for programs.
pub(super) fn reason(mut status: Status, word: &'static str) -> Status {
    let word = tonic::metadata::MetadataValue::from_static(word);
    status.metadata_mut().insert(REASON, word);
    status
}

fn answer<R: Replay>(kept: &KeptAnswer) -> Result<R, Status> {
    let answer = R::decode(kept.answer.as_slice());
    let mut answer = answer.map_err(|_| Status::internal("the kept answer cannot be read"))?;
    if let Ok(made @ 1..) = u32::try_from(kept.made) {
        answer.put(made);
    }
    Ok(answer)
}

/// An answer that is kept, in which the number goes that the store gave.
pub(super) trait Replay: Message + Default {
    fn put(&mut self, made: u32);
}

impl Replay for UserRecord {
    fn put(&mut self, made: u32) {
        self.id = made;
    }
}

impl Replay for GroupRecord {
    /// The id of a new group, and the version of one whose members were changed.
    fn put(&mut self, made: u32) {
        if self.id == 0 {
            self.id = made;
        } else {
            self.version = made;
        }
    }
}

impl Replay for DepartmentRecord {
    fn put(&mut self, made: u32) {
        self.id = made;
    }
}

impl Replay for CreatedToken {
    fn put(&mut self, made: u32) {
        if let Some(token) = &mut self.token {
            token.id = made;
        }
    }
}

impl Replay for AnnouncementRecord {
    fn put(&mut self, made: u32) {
        self.id = made;
    }
}

impl Replay for CreatedBot {
    fn put(&mut self, made: u32) {
        if let Some(bot) = &mut self.bot {
            bot.id = made;
        }
    }
}

impl Replay for DiscoveryItemRecord {
    fn put(&mut self, made: u32) {
        self.id = made;
    }
}

impl Replay for CreatedIncomingHook {
    fn put(&mut self, made: u32) {
        if let Some(hook) = &mut self.hook {
            hook.id = made;
        }
    }
}

impl Replay for CreatedSubscription {
    fn put(&mut self, made: u32) {
        if let Some(subscription) = &mut self.subscription {
            subscription.id = made;
        }
    }
}

/// Answers without such a number.
macro_rules! without_number {
    ($($answer:ty),*) => {
        $(impl Replay for $answer {
            fn put(&mut self, _made: u32) {}
        })*
    };
}

without_number!(
    BotRecord,
    RemovedUser,
    KickReply,
    ClearLockReply,
    OperateServerReply,
    TokenRecord,
    MessageRecord,
    SubscriptionRecord,
    DeliveryRecord,
    FollowerRecord,
    IncomingHookRecord,
    PushTargetRecord,
    PushTestRecord
);
