//! What this process wrote and the watches have not shown yet.
//!
//! The planner may rely on seeing its own writes. Until every one of them is visible, nothing more
//! is planned for that cluster.

use std::time::Duration;

use tokio::time::Instant;

use crate::cache::Children;
use crate::kinds::Kind;

/// After this time a write that never showed counts as overtaken by somebody else's.
const LIMIT: Duration = Duration::from_secs(20);

/// The writes of one cluster.
#[derive(Debug, Default)]
pub(crate) struct Expectations(Vec<Expected>);

#[derive(Debug)]
struct Expected {
    kind: Kind,
    name: String,
    /// resourceVersion that the write got; `None` for a deletion.
    version: Option<u64>,
    created: bool,
    since: Instant,
}

impl Expectations {
    /// Notes that an object got this resourceVersion.
    pub(crate) fn written(&mut self, kind: Kind, name: &str, version: &str, created: bool) {
        self.0.push(Expected {
            kind,
            name: name.to_owned(),
            version: Some(version.parse().unwrap_or(0)),
            created,
            since: Instant::now(),
        });
    }

    /// Notes that an object was deleted.
    pub(crate) fn deleted(&mut self, kind: Kind, name: &str) {
        self.0.push(Expected {
            kind,
            name: name.to_owned(),
            version: None,
            created: false,
            since: Instant::now(),
        });
    }

    /// Whether everything written is visible at `now`.
    pub(crate) fn met(&mut self, children: &Children, now: Instant) -> bool {
        self.0.retain(|expected| {
            now.duration_since(expected.since) < LIMIT && !expected.visible(children)
        });
        self.0.is_empty()
    }
}

impl Expected {
    fn visible(&self, children: &Children) -> bool {
        match (children.get(self.kind, &self.name), self.version) {
            (None, Some(_)) => !self.created,
            (None, None) => true,
            (Some(entry), Some(version)) => {
                // Versions of one object grow; what is no number is taken as seen.
                entry
                    .version
                    .parse::<u64>()
                    .map_or(true, |seen| seen >= version)
            }
            (Some(entry), None) => entry.seen.deleting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Entry;
    use crate::cache::views::Detail;
    use crate::ownership::Seen;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn children(version: &str) -> Children {
        let mut children = Children::default();
        let entry = Entry {
            seen: Seen::read(&ObjectMeta::default()),
            version: version.to_owned(),
            detail: Detail::None,
        };
        children.insert(Kind::ReplicaSet, "a", entry);
        children
    }

    #[test]
    fn a_write_is_waited_for_until_it_shows() {
        let mut expectations = Expectations::default();
        assert!(expectations.met(&Children::default(), Instant::now()));
        expectations.written(Kind::ReplicaSet, "a", "10", true);
        assert!(!expectations.met(&Children::default(), Instant::now()));
        assert!(!expectations.met(&children("9"), Instant::now()));
        assert!(expectations.met(&children("10"), Instant::now()));
        expectations.deleted(Kind::ReplicaSet, "a");
        assert!(!expectations.met(&children("10"), Instant::now()));
        assert!(expectations.met(&Children::default(), Instant::now()));
        expectations.written(Kind::ReplicaSet, "a", "11", false);
        assert!(
            expectations.met(&Children::default(), Instant::now()),
            "it was deleted meanwhile"
        );
    }

    #[test]
    fn a_write_that_never_shows_is_given_up() {
        let mut expectations = Expectations::default();
        expectations.written(Kind::ReplicaSet, "a", "10", true);
        let later = Instant::now() + LIMIT;
        assert!(!expectations.met(&Children::default(), Instant::now()));
        assert!(expectations.met(&Children::default(), later));
    }
}
