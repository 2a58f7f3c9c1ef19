//! Makes children be as they should be, with as few requests as possible.
//!
//! What no watch has seen is created, which the API server refuses if there is something of that name all
//! the same; then that is read. So nothing of ours is ever merged into what somebody else made meanwhile,
//! and a creation whose answer was lost is found.
//!
//! An owned object needs no request while its annotation names the hash of what we want and its
//! managed fields show that nobody took a field of ours. When that cannot be told, it is read and
//! compared. It is written by server-side apply, forced, since it is controlled by this very ImCluster; an
//! object of the same name that is not stays as it is. Fields with which an object was created are not
//! those that were applied: the first apply makes them so, or it could take none of them away.

use std::collections::HashMap;

use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tracing::info;

use crate::cache::{ClusterKey, Entry};
use crate::diff::difference;
use crate::kinds::Kind;
use crate::ownership::{self, APPLIED_HASH, Fields, MANAGER, Seen};

/// An object as it should be: exactly the fields that we own.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) value: Value,
    pub(crate) hash: String,
}

/// Why something cannot be made to be as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ApplyError {
    /// A builder made something that this program cannot apply.
    #[error("{0} is no kind that the operator applies")]
    Kind(String),
    /// It cannot be written as JSON.
    #[error("serialise {what}")]
    Json {
        what: String,
        #[source]
        source: serde_json::Error,
    },
    /// The API server refused or did not answer.
    #[error("{verb} {what}")]
    Api {
        verb: &'static str,
        what: String,
        #[source]
        source: Box<kube::Error>,
    },
}

impl ApplyError {
    pub(crate) fn api(verb: &'static str, kind: Kind, name: &str, source: kube::Error) -> Self {
        Self::Api {
            verb,
            what: format!("{} {name}", kind.as_str()),
            source: Box::new(source),
        }
    }

    /// The API server's answer, if it gave one.
    pub(crate) fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            Self::Kind(_) | Self::Json { .. } => None,
        }
    }

    /// Whether it passes by itself: another look is due, and no person.
    pub(crate) fn passes(&self) -> bool {
        match self.status() {
            Some(status) => {
                status.is_conflict()
                    // What was created under it is read by the next look.
                    || status.is_already_exists()
                    || !(400..500).contains(&status.code)
                    || status.code == 429
            }
            None => matches!(self, Self::Api { .. }),
        }
    }

    /// The chain of causes in one line.
    pub(crate) fn line(&self) -> String {
        use std::error::Error;
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        line
    }
}

impl Wanted {
    /// Takes an object from a builder.
    pub(crate) fn new(mut value: Value) -> Result<Self, ApplyError> {
        strip_empty(&mut value);
        let word = |pointer: &str| {
            value
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let kind = Kind::parse(&word("/kind")).ok_or_else(|| ApplyError::Kind(word("/kind")))?;
        let name = word("/metadata/name");
        let hash = blake3::hash(value.to_string().as_bytes());
        let hash: String = hash.to_hex().chars().take(16).collect();
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.insert(APPLIED_HASH.to_owned(), Value::String(hash.clone()));
            }
        }
        Ok(Self {
            kind,
            name,
            value,
            hash,
        })
    }

    fn unreadable(&self, source: serde_json::Error) -> ApplyError {
        ApplyError::Json {
            what: format!("{} {}", self.kind.as_str(), self.name),
            source,
        }
    }
}

/// Maps of metadata that the API server does not keep when they are empty.
fn strip_empty(value: &mut Value) {
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|_, field| !field.as_object().is_some_and(serde_json::Map::is_empty));
    }
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
}

/// What is known to be as it should be. Lost with the process; then objects are read once.
pub(crate) type Verified = HashMap<(Kind, String), Proof>;

/// That an object was as wanted.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    uid: String,
    hash: String,
    fields: Option<Fields>,
    /// resourceVersion that our write got.
    written: Option<String>,
}

/// What was done for a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ensured {
    /// Nothing was needed.
    Unchanged,
    /// It was missing.
    Created,
    /// It was to be something else than before.
    Updated,
    /// Somebody had changed it, first at this path.
    Corrected(String),
    /// Another's object has the name; it was not touched.
    Foreign,
    /// It is being deleted, or came into being just now; another look is due.
    Deleting,
}

/// Writes the children of one cluster.
#[derive(Clone, Copy)]
pub(crate) struct Applier<'a> {
    pub(crate) client: &'a Client,
    pub(crate) cluster: &'a ClusterKey,
    /// UID of the ImCluster.
    pub(crate) uid: &'a str,
}

impl Applier<'_> {
    /// The API of a kind in the cluster's namespace.
    pub(crate) fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(
            self.client.clone(),
            &self.cluster.namespace,
            &kind.resource(),
        )
    }

    /// Makes one child be as wanted. `entry` is what the watch last saw of it.
    pub(crate) async fn ensure(
        &self,
        wanted: &Wanted,
        entry: Option<&Entry>,
        verified: &mut Verified,
    ) -> Result<Ensured, ApplyError> {
        let place = (wanted.kind, wanted.name.clone());
        let Some(entry) = entry else {
            // What was written a moment ago may not have been seen yet.
            if !verified.contains_key(&place) && self.create(wanted, verified).await? {
                return Ok(Ensured::Created);
            }
            return self.ensure_unseen(wanted, verified).await;
        };
        let seen = &entry.seen;
        if seen.controller.as_deref() != Some(self.uid) {
            return Ok(Ensured::Foreign);
        }
        if seen.deleting {
            return Ok(Ensured::Deleting);
        }
        // The number of a ReplicaSet's pods stays a field of its creation.
        if seen.mixed && wanted.kind != Kind::ReplicaSet {
            self.write(wanted, seen, verified).await?;
            return Ok(Ensured::Updated);
        }
        if verified
            .get(&place)
            .is_some_and(|proof| proof.holds(seen, wanted))
        {
            return Ok(Ensured::Unchanged);
        }
        if seen.applied.as_deref() == Some(&wanted.hash) {
            if !seen.may_be_changed() {
                verified.insert(place, Proof::of(seen, wanted));
                return Ok(Ensured::Unchanged);
            }
            return self.ensure_unseen(wanted, verified).await;
        }
        self.write(wanted, seen, verified).await?;
        Ok(Ensured::Updated)
    }

    /// As `ensure`, after reading the object.
    async fn ensure_unseen(
        &self,
        wanted: &Wanted,
        verified: &mut Verified,
    ) -> Result<Ensured, ApplyError> {
        let failed = |error| ApplyError::api("read", wanted.kind, &wanted.name, error);
        let live = self
            .api(wanted.kind)
            .get_opt(&wanted.name)
            .await
            .map_err(failed)?;
        let Some(live) = live else {
            let created = self.create(wanted, verified).await?;
            return Ok(if created {
                Ensured::Created
            } else {
                Ensured::Deleting
            });
        };
        let seen = Seen::read(&live.metadata);
        if seen.controller.as_deref() != Some(self.uid) {
            // No watch shows it: from now on it is read, and creating it is not tried again.
            let place = (wanted.kind, wanted.name.clone());
            verified.insert(place, Proof::of_another(&seen));
            return Ok(Ensured::Foreign);
        }
        if seen.deleting {
            return Ok(Ensured::Deleting);
        }
        let live = to_json(&live, wanted)?;
        let Some(path) = difference(&wanted.value, &live) else {
            verified.insert((wanted.kind, wanted.name.clone()), Proof::of(&seen, wanted));
            return Ok(Ensured::Unchanged);
        };
        self.write(wanted, &seen, verified).await?;
        if seen.applied.as_deref() == Some(&wanted.hash) {
            Ok(Ensured::Corrected(path))
        } else {
            Ok(Ensured::Updated)
        }
    }

    /// Creates it, unless something of its name exists.
    async fn create(&self, wanted: &Wanted, verified: &mut Verified) -> Result<bool, ApplyError> {
        let object: DynamicObject = serde_json::from_value(wanted.value.clone())
            .map_err(|source| wanted.unreadable(source))?;
        let created = self.api(wanted.kind).create(&creation(), &object).await;
        match created {
            Ok(created) => {
                self.remember("created", wanted, &created, verified);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
            Err(error) => Err(ApplyError::api("create", wanted.kind, &wanted.name, error)),
        }
    }

    /// Applies onto the object as it was seen.
    async fn write(
        &self,
        wanted: &Wanted,
        seen: &Seen,
        verified: &mut Verified,
    ) -> Result<(), ApplyError> {
        // The number of a ReplicaSet's pods is never applied, and stays.
        if seen.created && wanted.kind != Kind::ReplicaSet {
            self.as_if_applied(wanted.kind, &wanted.name, &seen.uid, None)
                .await?;
        }
        let mut value = wanted.value.clone();
        // Another object of this name would be a conflict.
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("uid".to_owned(), json!(seen.uid));
        }
        let parameters = PatchParams::apply(MANAGER).force();
        let written = self
            .api(wanted.kind)
            .patch(&wanted.name, &parameters, &Patch::Apply(&value))
            .await
            .map_err(|error| ApplyError::api("apply", wanted.kind, &wanted.name, error))?;
        self.remember("applied", wanted, &written, verified);
        Ok(())
    }

    /// Makes the fields with which an object was created as if they had been applied, so that applying
    /// can take them away. Returns its new version, if it had such fields. Another object of the name, or
    /// one that is of another version than this, stays as it is: the apply that follows is refused.
    pub(crate) async fn as_if_applied(
        &self,
        kind: Kind,
        name: &str,
        uid: &str,
        version: Option<&str>,
    ) -> Result<Option<String>, ApplyError> {
        let api = self.api(kind);
        let failed = |verb| move |error| ApplyError::api(verb, kind, name, error);
        let live = api.get_opt(name).await.map_err(failed("read"))?;
        let live = live.map(|live| live.metadata).filter(|live| {
            let as_seen = version.is_none() || live.resource_version.as_deref() == version;
            as_seen && live.uid.as_deref() == Some(uid)
        });
        let Some(change) = live.as_ref().and_then(ownership::applied) else {
            return Ok(None);
        };
        let written = api
            .patch(name, &owning(), &Patch::Merge(&change))
            .await
            .map_err(failed("patch"))?;
        Ok(written.resource_version())
    }

    fn remember(
        &self,
        done: &str,
        wanted: &Wanted,
        written: &DynamicObject,
        verified: &mut Verified,
    ) {
        info!(
            namespace = self.cluster.namespace,
            kind = wanted.kind.as_str(),
            name = wanted.name,
            version = written.resource_version(),
            "{done}"
        );
        let seen = Seen::read(&written.metadata);
        let proof = Proof {
            written: written.resource_version(),
            ..Proof::of(&seen, wanted)
        };
        verified.insert((wanted.kind, wanted.name.clone()), proof);
    }
}

/// How this operator creates.
pub(crate) fn creation() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// How this operator patches what it does not apply.
pub(crate) fn owning() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

impl Proof {
    fn of(seen: &Seen, wanted: &Wanted) -> Self {
        Self {
            uid: seen.uid.clone(),
            hash: wanted.hash.clone(),
            fields: seen.ours,
            written: None,
        }
    }

    /// That the name is taken. It holds for nothing.
    fn of_another(seen: &Seen) -> Self {
        Self {
            uid: seen.uid.clone(),
            hash: String::new(),
            fields: None,
            written: None,
        }
    }

    pub(crate) fn uid(&self) -> &str {
        &self.uid
    }

    /// resourceVersion of the object after our write, if it was written.
    pub(crate) fn written(&self) -> Option<&str> {
        self.written.as_deref()
    }

    fn holds(&self, seen: &Seen, wanted: &Wanted) -> bool {
        let same_fields = match (self.fields, seen.ours) {
            (Some(then), Some(now)) => then.same_set(now),
            _ => false,
        };
        same_fields
            && self.uid == seen.uid
            && self.hash == wanted.hash
            && seen.applied.as_deref() == Some(&wanted.hash)
    }
}

fn to_json(live: &DynamicObject, wanted: &Wanted) -> Result<Value, ApplyError> {
    serde_json::to_value(live).map_err(|source| wanted.unreadable(source))
}

#[cfg(test)]
mod tests;
