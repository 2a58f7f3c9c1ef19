//! The secrets of an installation: `<name>-internal`, which the servers prove to each other that they
//! belong together with, `<name>-admin`, which administrators prove to db-proxy who they are with, and
//! `<name>-remember`, the key under which db-proxy remembers verified logins.
//!
//! Each is read by name only and never listed or watched. It is made once. When it vanishes while
//! this process knows its text, the same text is written again, so that running pods and new ones
//! still understand each other; a process that never read it writes a new text, and says what follows
//! from that. How a text that others changed replaces the old one is in `rotation`.

use std::collections::BTreeMap;
use std::fmt::Write;

use im_operator_api::{DeletionPolicy, labels};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde_json::{Value, json};

use crate::apply::{ApplyError, creation, owning};
use crate::cache::ClusterKey;
use crate::kinds::Kind;
use crate::ownership::{self, MANAGER, controller};

mod rotation;

use rotation::Rotation;

/// Key of the text in the Secret.
const KEY: &str = "secret";
/// Random bytes of the text.
const BYTES: usize = 32;

/// The text, kept in memory only. It shows itself nowhere.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Text(String);

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Text(…)")
    }
}

impl Text {
    fn random() -> Option<Self> {
        let mut bytes = [0_u8; BYTES];
        OsRng.try_fill_bytes(&mut bytes).ok()?;
        let mut text = String::with_capacity(2 * BYTES);
        for byte in bytes {
            write!(text, "{byte:02x}").ok()?;
        }
        Some(Self(text))
    }
}

/// What became of the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It was there.
    Present,
    /// It has another text than before.
    Changed,
    /// It had another text than before, and now has the old and the new one.
    Overlapping,
    /// It has the new text alone, or as the first one.
    Advanced,
    /// It was made for a new installation.
    Made,
    /// It was gone and has the same text again.
    Restored,
    /// It was gone from an installation that runs, and has a new text.
    Replaced,
    /// Another's Secret has the name.
    Foreign,
}

/// One Secret of one cluster.
#[derive(Clone, Copy)]
pub(crate) struct Own<'a> {
    pub(crate) client: &'a Client,
    pub(crate) name: &'a str,
    pub(crate) cluster: &'a ClusterKey,
    /// Owner reference to the ImCluster.
    pub(crate) owner: &'a Value,
    /// UID of the ImCluster.
    pub(crate) uid: &'a str,
    pub(crate) policy: DeletionPolicy,
    /// Pods of the installation exist.
    pub(crate) running: bool,
    /// Nothing of the installation exists: its Secret hardly does.
    pub(crate) fresh: bool,
    /// Everybody who reads it presents its first value and accepts all: another text replaces the old
    /// one by an overlap of both.
    pub(crate) overlaps: bool,
    pub(crate) now: Timestamp,
}

impl Own<'_> {
    /// Makes sure that it exists and is owned as `deletionPolicy` asks.
    pub(crate) async fn ensure(&self, known: &mut Option<Text>) -> Result<Kept, ApplyError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.cluster.namespace);
        if self.fresh && known.is_none() {
            let text = Text::random();
            match self.create(&api, text.as_ref()).await {
                Ok(_) => {
                    *known = text;
                    return Ok(Kept::Made);
                }
                // One that was retained.
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                Err(error) => return Err(self.failed("create", error)),
            }
        }
        let live = api.get_opt(self.name).await;
        let live = live.map_err(|error| self.failed("read", error))?;
        if let Some(live) = live {
            if !self.is_ours(&live) {
                return Ok(Kept::Foreign);
            }
            let text = live
                .data
                .as_ref()
                .and_then(|data| data.get(KEY))
                .and_then(|bytes| String::from_utf8(bytes.0.clone()).ok())
                .filter(|text| !text.trim().is_empty());
            let owned = controller(&live.metadata) == Some(self.uid);
            let labelled = label(&live, labels::CLUSTER) == Some(self.cluster.name.as_str())
                && label(&live, labels::INSTANCE).is_none();
            let as_asked = labelled && owned == (self.policy == DeletionPolicy::Delete);
            let Some(text) = text else {
                // Emptied by hand: as if it were gone.
                return self.write(&api, Some(&live), known).await;
            };
            let text = Text(text);
            let before = known.replace(text.clone());
            let changed = before.as_ref().is_some_and(|before| *before != text);
            let running = Rotation::of(&live, &text);
            let next = match (&before, &running) {
                _ if !self.overlaps => None,
                (Some(before), _) if changed => rotation::begin(before, &text, self.now),
                (_, Some(running)) => running.next(&text, self.now),
                _ => None,
            };
            if let Some((text, rotation)) = next {
                self.apply(&api, &live, Some(&text), rotation.as_ref())
                    .await?;
                *known = Some(text);
                return Ok(if changed {
                    Kept::Overlapping
                } else {
                    Kept::Advanced
                });
            }
            if !as_asked {
                let running = running.filter(|_| !changed);
                self.apply(&api, &live, Some(&text), running.as_ref())
                    .await?;
            }
            return Ok(if changed {
                Kept::Changed
            } else {
                Kept::Present
            });
        }
        self.write(&api, None, known).await
    }

    /// Gives it the text that is known, or a new one. One that is not there is created, so that nothing is
    /// written into what somebody else makes meanwhile.
    async fn write(
        &self,
        api: &Api<Secret>,
        live: Option<&Secret>,
        known: &mut Option<Text>,
    ) -> Result<Kept, ApplyError> {
        let kept = match (known.is_some(), self.running) {
            (true, _) => Kept::Restored,
            (false, true) => Kept::Replaced,
            (false, false) => Kept::Made,
        };
        let text = known.clone().or_else(Text::random);
        match live {
            Some(live) => self.apply(api, live, text.as_ref(), None).await?,
            None => {
                let created = self.create(api, text.as_ref()).await;
                created.map_err(|error| self.failed("create", error))?;
            }
        }
        *known = text;
        Ok(kept)
    }

    /// Applies onto what was read; what it was created with counts as applied, so that its owner can go.
    async fn apply(
        &self,
        api: &Api<Secret>,
        live: &Secret,
        text: Option<&Text>,
        rotation: Option<&Rotation>,
    ) -> Result<(), ApplyError> {
        if let Some(change) = ownership::applied(&live.metadata) {
            let change = Patch::Merge(&change);
            let patched = api.patch(self.name, &owning(), &change).await;
            patched.map_err(|error| self.failed("patch", error))?;
        }
        let secret = self.manifest(text, rotation);
        let secret = secret.map_err(|error| self.failed("apply", error))?;
        let (parameters, patch) = (PatchParams::apply(MANAGER).force(), Patch::Apply(&secret));
        let applied = api.patch(self.name, &parameters, &patch).await;
        applied
            .map(drop)
            .map_err(|error| self.failed("apply", error))
    }

    async fn create(&self, api: &Api<Secret>, text: Option<&Text>) -> Result<Secret, kube::Error> {
        let secret = serde_json::from_value(self.manifest(text, None)?);
        let secret = secret.map_err(kube::Error::SerdeError)?;
        api.create(&creation(), &secret).await
    }

    fn failed(&self, verb: &'static str, error: kube::Error) -> ApplyError {
        ApplyError::api(verb, Kind::Secret, self.name, error)
    }

    fn manifest(
        &self,
        text: Option<&Text>,
        rotation: Option<&Rotation>,
    ) -> Result<Value, kube::Error> {
        let Some(Text(text)) = text else {
            return Err(kube::Error::Service(
                "the system gives no random bytes".into(),
            ));
        };
        let mut metadata = json!({
            "name": self.name,
            "namespace": self.cluster.namespace,
            "labels": {
                labels::NAME: labels::APP,
                labels::CLUSTER: self.cluster.name,
                labels::MANAGED_BY: labels::MANAGER,
            },
            "annotations": annotations(rotation),
        });
        if self.policy == DeletionPolicy::Delete
            && let Some(fields) = metadata.as_object_mut()
        {
            fields.insert("ownerReferences".to_owned(), json!([self.owner]));
        }
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": "Opaque",
            "data": {KEY: ByteString(text.clone().into_bytes())},
        }))
    }

    /// Ours by owner, or retained by an installation of this name.
    fn is_ours(&self, live: &Secret) -> bool {
        match controller(&live.metadata) {
            Some(uid) => uid == self.uid,
            None => {
                // Earlier operators had the first label here, too.
                let of_cluster =
                    label(live, labels::CLUSTER).or_else(|| label(live, labels::INSTANCE));
                of_cluster == Some(self.cluster.name.as_str())
                    && label(live, labels::MANAGED_BY) == Some(labels::MANAGER)
            }
        }
    }
}

fn annotations(rotation: Option<&Rotation>) -> BTreeMap<String, String> {
    let mut annotations = im_operator_plan::kept();
    annotations.extend(rotation.into_iter().flat_map(Rotation::annotations));
    annotations
}

fn label<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    let labels = secret.metadata.labels.as_ref()?;
    labels.get(key).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Log, not_found};

    fn cluster() -> ClusterKey {
        ClusterKey {
            namespace: "chat".to_owned(),
            name: "demo".to_owned(),
        }
    }

    async fn ensure(
        stored: Option<Value>,
        policy: DeletionPolicy,
        running: bool,
        known: &mut Option<Text>,
    ) -> (Kept, Log) {
        let (client, log) = testing::server(move |asked| match (asked.method.as_str(), &stored) {
            ("GET", None) => not_found(),
            ("GET", Some(secret)) => (200, secret.clone()),
            _ => (200, json!({"metadata": {"name": "demo-internal"}})),
        });
        let owner = json!({"kind": "ImCluster", "name": "demo", "uid": "u", "controller": true});
        let internal = Own {
            client: &client,
            name: "demo-internal",
            cluster: &cluster(),
            owner: &owner,
            uid: "u",
            policy,
            running,
            fresh: false,
            overlaps: false,
            now: Timestamp::UNIX_EPOCH,
        };
        (internal.ensure(known).await.unwrap(), log)
    }

    fn stored(labels: Value, owners: Value) -> Value {
        json!({"metadata": {"name": "demo-internal", "labels": labels, "ownerReferences": owners},
            "data": {"secret": "YWJj"}})
    }

    fn ours() -> Value {
        json!({"imcluster.io/cluster": "demo", "app.kubernetes.io/managed-by": "imcluster-operator"})
    }

    #[tokio::test]
    async fn a_secret_is_made_once_and_restored_with_the_same_text() {
        let mut known = None;
        let (kept, log) = ensure(None, DeletionPolicy::Retain, false, &mut known).await;
        assert_eq!(kept, Kept::Made);
        let asked = log.take();
        let text = asked[1].body["data"]["secret"].as_str().unwrap().to_owned();
        assert_eq!(text.len(), 88, "64 letters in base64");
        assert_eq!(asked[1].body["metadata"]["ownerReferences"], Value::Null);
        let (kept, log) = ensure(None, DeletionPolicy::Retain, true, &mut known).await;
        assert_eq!(kept, Kept::Restored);
        assert_eq!(log.take()[1].body["data"]["secret"], text);
        let (kept, _) = ensure(None, DeletionPolicy::Retain, true, &mut None).await;
        assert_eq!(kept, Kept::Replaced);
        assert_eq!(format!("{known:?}"), "Some(Text(…))");
    }

    #[tokio::test]
    async fn never_6_a_retained_secret_is_adopted_and_never_replaced() {
        let mut known = None;
        let retained = stored(ours(), Value::Null);
        let (kept, log) = ensure(
            Some(retained.clone()),
            DeletionPolicy::Retain,
            false,
            &mut known,
        )
        .await;
        assert_eq!((kept, log.lines().len()), (Kept::Present, 1));
        assert_eq!(known, Some(Text("abc".to_owned())));
        let (kept, log) = ensure(Some(retained), DeletionPolicy::Delete, false, &mut known).await;
        assert_eq!(kept, Kept::Present);
        let asked = log.take();
        assert_eq!(asked[1].body["data"]["secret"], "YWJj");
        assert_eq!(asked[1].body["metadata"]["ownerReferences"][0]["uid"], "u");
    }

    #[tokio::test]
    async fn what_may_outlive_its_cluster_has_no_label_by_which_others_would_prune_it() {
        let mut known = None;
        let of_earlier = json!({"app.kubernetes.io/instance": "demo",
            "app.kubernetes.io/managed-by": "imcluster-operator"});
        let earlier = stored(of_earlier, Value::Null);
        let (kept, log) = ensure(Some(earlier), DeletionPolicy::Retain, true, &mut known).await;
        assert_eq!(kept, Kept::Present);
        let metadata = log.take()[1].body["metadata"].clone();
        let labels = metadata["labels"].as_object().unwrap();
        assert!(
            !labels.contains_key("app.kubernetes.io/instance"),
            "{metadata}"
        );
        assert_eq!(labels["imcluster.io/cluster"], "demo");
        let annotations = &metadata["annotations"];
        assert_eq!(
            annotations["argocd.argoproj.io/sync-options"],
            "Prune=false"
        );
        assert_eq!(
            annotations["argocd.argoproj.io/compare-options"],
            "IgnoreExtraneous"
        );
    }

    #[tokio::test]
    async fn a_text_that_others_changed_is_noticed_and_kept() {
        let mut known = Some(Text("before".to_owned()));
        let changed = stored(ours(), Value::Null);
        let (kept, log) = ensure(Some(changed), DeletionPolicy::Retain, true, &mut known).await;
        assert_eq!((kept, log.lines().len()), (Kept::Changed, 1));
        assert_eq!(known, Some(Text("abc".to_owned())));
    }

    #[tokio::test]
    async fn a_secret_of_another_is_not_touched() {
        for foreign in [
            stored(json!({}), Value::Null),
            stored(
                ours(),
                json!([{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "v", "controller": true}]),
            ),
        ] {
            let (kept, log) = ensure(Some(foreign), DeletionPolicy::Retain, true, &mut None).await;
            assert_eq!((kept, log.lines().len()), (Kept::Foreign, 1));
        }
    }

    #[tokio::test]
    async fn a_new_installation_makes_its_secret_without_a_question_and_keeps_a_retained_one() {
        let retained = stored(ours(), Value::Null);
        for exists in [false, true] {
            let answer = retained.clone();
            let (client, log) =
                testing::server(move |asked| match (asked.method.as_str(), exists) {
                    ("POST", true) => testing::refusal(409, "AlreadyExists"),
                    ("GET", _) => (200, answer.clone()),
                    _ => (201, json!({"metadata": {"name": "demo-internal"}})),
                });
            let owner =
                json!({"kind": "ImCluster", "name": "demo", "uid": "u", "controller": true});
            let own = Own {
                client: &client,
                name: "demo-internal",
                cluster: &cluster(),
                owner: &owner,
                uid: "u",
                policy: DeletionPolicy::Retain,
                running: false,
                fresh: true,
                overlaps: false,
                now: Timestamp::UNIX_EPOCH,
            };
            let mut known = None;
            let kept = own.ensure(&mut known).await.unwrap();
            let asked = log.take();
            let methods: Vec<&str> = asked.iter().map(|it| it.method.as_str()).collect();
            if exists {
                assert_eq!((kept, methods), (Kept::Present, vec!["POST", "GET"]));
                assert_eq!(known, Some(Text("abc".to_owned())));
            } else {
                assert_eq!((kept, methods), (Kept::Made, vec!["POST"]));
                let Text(text) = known.unwrap();
                let sent = &asked[0].body["data"]["secret"];
                assert_eq!(*sent, json!(ByteString(text.into_bytes())));
            }
        }
    }

    #[tokio::test]
    async fn a_created_secret_loses_its_owner_when_it_is_to_be_retained() {
        let owner = json!([{"apiVersion": "imcluster.io/v1alpha1", "kind": "ImCluster",
            "name": "demo", "uid": "u", "controller": true}]);
        let mut created = stored(ours(), owner);
        created["metadata"]["managedFields"] = json!([{"manager": MANAGER, "operation": "Update",
            "fieldsV1": {"f:metadata": {"f:ownerReferences": {}}}}]);
        let (kept, log) = ensure(Some(created), DeletionPolicy::Retain, true, &mut None).await;
        assert_eq!(kept, Kept::Present);
        let asked = log.take();
        // Otherwise the owner would stay after the apply that follows.
        let entry = &asked[1].body["metadata"]["managedFields"][0];
        assert_eq!(entry["operation"], "Apply");
        assert_eq!(asked[2].body["metadata"]["ownerReferences"], Value::Null);
        assert_eq!(asked.len(), 3);
    }
}
