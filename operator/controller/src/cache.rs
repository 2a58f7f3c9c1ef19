//! What the watches have seen of the children of every cluster, in a compact form.
//!
//! Entries are grouped by the cluster that their labels name, whoever owns them: whether they are
//! really that cluster's is for the reader to check by UID.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::kinds::Kind;
use crate::ownership::Seen;

pub(crate) mod views;

use views::Detail;

/// Namespace and name of an ImCluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClusterKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// One child as last seen.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) seen: Seen,
    /// resourceVersion: a precondition of writes; a new one alone is no change.
    pub(crate) version: String,
    pub(crate) detail: Detail,
}

impl Entry {
    fn looks_like(&self, other: &Self) -> bool {
        self.seen == other.seen && self.detail == other.detail
    }
}

/// The children of one cluster by kind and name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Children(BTreeMap<(Kind, Arc<str>), Arc<Entry>>);

impl Children {
    pub(crate) fn get(&self, kind: Kind, name: &str) -> Option<&Entry> {
        self.0.get(&(kind, Arc::from(name))).map(Arc::as_ref)
    }

    /// All entries in the order of their kinds and names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Kind, &str, &Entry)> {
        self.0
            .iter()
            .map(|((kind, name), entry)| (*kind, name.as_ref(), entry.as_ref()))
    }

    /// Entries of one kind.
    pub(crate) fn of(&self, kind: Kind) -> impl Iterator<Item = (&str, &Entry)> {
        self.iter()
            .filter(move |(other, ..)| *other == kind)
            .map(|(_, name, entry)| (name, entry))
    }

    pub(crate) fn insert(&mut self, kind: Kind, name: &str, entry: Entry) {
        self.0.insert((kind, Arc::from(name)), Arc::new(entry));
    }
}

/// Children of all clusters. Clones share everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cache(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    clusters: HashMap<ClusterKey, Children>,
    /// Which cluster an object belonged to when it was last seen: labels can be edited.
    homes: HashMap<(Kind, String, String), String>,
}

impl Cache {
    /// The children of a cluster as they are now.
    pub(crate) fn children(&self, cluster: &ClusterKey) -> Children {
        self.lock()
            .clusters
            .get(cluster)
            .cloned()
            .unwrap_or_default()
    }

    /// Takes in an object. Returns the clusters for which that is a change.
    pub(crate) fn apply(
        &self,
        kind: Kind,
        cluster: ClusterKey,
        name: &str,
        entry: Entry,
    ) -> Vec<ClusterKey> {
        let mut inner = self.lock();
        let mut changed = Vec::new();
        let home = (kind, cluster.namespace.clone(), name.to_owned());
        if let Some(old) = inner.homes.insert(home, cluster.name.clone())
            && old != cluster.name
        {
            let old = ClusterKey {
                namespace: cluster.namespace.clone(),
                name: old,
            };
            inner.remove_from(&old, kind, name);
            changed.push(old);
        }
        let children = inner.clusters.entry(cluster.clone()).or_default();
        let same = children
            .get(kind, name)
            .is_some_and(|old| old.looks_like(&entry));
        children.insert(kind, name, entry);
        if !same {
            changed.push(cluster);
        }
        changed
    }

    /// Forgets an object. Returns the cluster that it belonged to.
    pub(crate) fn delete(&self, kind: Kind, namespace: &str, name: &str) -> Option<ClusterKey> {
        let mut inner = self.lock();
        let home = (kind, namespace.to_owned(), name.to_owned());
        let cluster = ClusterKey {
            namespace: namespace.to_owned(),
            name: inner.homes.remove(&home)?,
        };
        inner.remove_from(&cluster, kind, name);
        Some(cluster)
    }

    /// Forgets the objects of a kind that a complete list in `namespace` (every namespace if
    /// `None`) did not show. Returns the clusters that they belonged to.
    pub(crate) fn retain(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        shown: &HashSet<(String, String)>,
    ) -> Vec<ClusterKey> {
        let gone: Vec<(String, String)> = self
            .lock()
            .homes
            .keys()
            .filter(|(other, home, _)| *other == kind && namespace.is_none_or(|it| it == home))
            .map(|(_, namespace, name)| (namespace.clone(), name.clone()))
            .filter(|place| !shown.contains(place))
            .collect();
        gone.iter()
            .filter_map(|(namespace, name)| self.delete(kind, namespace, name))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remove_from(&mut self, cluster: &ClusterKey, kind: Kind, name: &str) {
        if let Some(children) = self.clusters.get_mut(cluster) {
            children.0.remove(&(kind, Arc::from(name)));
            if children.0.is_empty() {
                self.clusters.remove(cluster);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn key(name: &str) -> ClusterKey {
        ClusterKey {
            namespace: "chat".to_owned(),
            name: name.to_owned(),
        }
    }

    fn entry(version: &str, uid: &str) -> Entry {
        Entry {
            seen: Seen::read(&ObjectMeta {
                uid: Some(uid.to_owned()),
                ..ObjectMeta::default()
            }),
            version: version.to_owned(),
            detail: Detail::None,
        }
    }

    #[test]
    fn a_new_version_alone_is_no_change() {
        let cache = Cache::default();
        assert_eq!(
            cache.apply(Kind::ConfigMap, key("a"), "a-msg", entry("1", "u")),
            [key("a")]
        );
        assert!(
            cache
                .apply(Kind::ConfigMap, key("a"), "a-msg", entry("2", "u"))
                .is_empty()
        );
        assert_eq!(
            cache
                .children(&key("a"))
                .get(Kind::ConfigMap, "a-msg")
                .unwrap()
                .version,
            "2"
        );
        assert_eq!(
            cache.apply(Kind::ConfigMap, key("a"), "a-msg", entry("3", "v")),
            [key("a")]
        );
    }

    #[test]
    fn an_object_that_moves_or_vanishes_is_a_change_for_its_old_cluster() {
        let cache = Cache::default();
        cache.apply(Kind::ConfigMap, key("a"), "x", entry("1", "u"));
        assert_eq!(
            cache.apply(Kind::ConfigMap, key("b"), "x", entry("2", "u")),
            [key("a"), key("b")]
        );
        assert_eq!(cache.children(&key("a")).iter().count(), 0);
        let nothing = HashSet::new();
        assert!(
            cache
                .retain(Kind::ConfigMap, Some("other"), &nothing)
                .is_empty()
        );
        assert!(cache.retain(Kind::Service, None, &nothing).is_empty());
        assert_eq!(
            cache.retain(Kind::ConfigMap, Some("chat"), &nothing),
            [key("b")]
        );
        assert_eq!(cache.children(&key("b")).iter().count(), 0);
    }
}
