//! Which node of a cluster a process belongs to, and the names and addresses that follow from that.
//!
//! A cluster is one node that holds the control plane, and workers beside it, if it has any. Without
//! workers the one node runs the pods; with workers it is tainted, so that pods run on them.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::layout::{NODE_IP, POD_CIDR};

/// Most workers of a cluster: each takes a /24 of [`POD_CIDR`].
pub const MAX_WORKERS: u8 = 16;

/// The name of the node with the control plane.
const CONTROL: &str = "node";

/// The file in a node's folder that says which one it is; absent where a cluster has one node only.
const FILE: &str = "member.json";

/// One node among those of its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// 0 has the control plane, the workers follow.
    number: u8,
    workers: u8,
    zones: u8,
}

impl Member {
    /// The node with the control plane of a cluster with so many workers in so many zones.
    ///
    /// # Errors
    /// There are more than [`MAX_WORKERS`], or a zone would be empty.
    pub fn control(workers: u8, zones: u8) -> anyhow::Result<Self> {
        ensure!(
            workers <= MAX_WORKERS,
            "a cluster has {MAX_WORKERS} workers at most, not {workers}"
        );
        ensure!(
            workers == 0 || (1..=workers).contains(&zones),
            "{workers} workers are in 1 to {workers} zones, not {zones}"
        );
        Ok(Self {
            number: 0,
            workers,
            zones,
        })
    }

    /// Which node has this folder, as [`Self::write`] left it; the only one without such a file.
    pub(crate) fn read(run: &Path) -> Self {
        let text = fs::read(run.join(FILE)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Writes down which node has this folder.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(self, run: &Path) -> anyhow::Result<()> {
        let file = run.join(FILE);
        let text = serde_json::to_vec(&self)?;
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))
    }

    /// Whether its cluster has no other node.
    pub fn is_alone(self) -> bool {
        self.workers == 0
    }

    /// Whether it is a worker.
    pub fn is_worker(self) -> bool {
        self.number > 0
    }

    /// Its name in Kubernetes: `node`, or `n1`, `n2`, … of workers.
    pub fn name(self) -> String {
        if self.is_worker() {
            format!("n{}", self.number)
        } else {
            CONTROL.to_owned()
        }
    }

    /// Its address among the nodes.
    pub fn ip(self) -> String {
        if self.is_worker() {
            format!("198.18.0.{}", 10 + u16::from(self.number))
        } else {
            NODE_IP.to_owned()
        }
    }

    /// Addresses of its pods.
    pub fn pod_cidr(self) -> String {
        if self.is_alone() {
            POD_CIDR.to_owned()
        } else {
            format!("198.18.{}.0/24", 64 + u16::from(self.number))
        }
    }

    /// The zone of a worker: they take turns.
    pub fn zone(self) -> Option<String> {
        let before = self.number.checked_sub(1)?;
        Some(format!("z{}", before.checked_rem(self.zones)? + 1))
    }

    /// The workers of its cluster.
    pub fn workers(self) -> impl Iterator<Item = Self> {
        (1..=self.workers).map(move |number| Self { number, ..self })
    }

    /// The other nodes of its cluster.
    pub fn others(self) -> impl Iterator<Item = Self> {
        (0..=self.workers)
            .filter(move |number| *number != self.number)
            .map(move |number| Self { number, ..self })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_node_alone_has_all_addresses_of_pods() {
        let alone = Member::default();
        assert_eq!(alone, Member::control(0, 0).unwrap());
        assert!(alone.is_alone() && !alone.is_worker());
        assert_eq!(alone.name(), "node");
        assert_eq!(alone.pod_cidr(), POD_CIDR);
        assert_eq!(alone.zone(), None);
        assert_eq!(alone.others().count() + alone.workers().count(), 0);
    }

    #[test]
    fn no_two_nodes_share_a_name_an_address_or_pods() {
        let control = Member::control(MAX_WORKERS, 3).unwrap();
        let all: Vec<Member> = control.workers().chain([control]).collect();
        let distinct = |of: fn(Member) -> String| {
            let values: BTreeSet<String> = all.iter().map(|member| of(*member)).collect();
            assert_eq!(values.len(), all.len(), "{values:?}");
        };
        distinct(Member::name);
        distinct(Member::ip);
        distinct(Member::pod_cidr);
        for member in &all {
            let others: Vec<Member> = member.others().collect();
            assert_eq!(others.len(), usize::from(MAX_WORKERS));
            assert!(!others.contains(member));
        }
    }

    #[test]
    fn workers_take_turns_in_the_zones() {
        let zones = |workers, zones| -> Vec<String> {
            let control = Member::control(workers, zones).unwrap();
            assert_eq!(control.zone(), None);
            control.workers().filter_map(Member::zone).collect()
        };
        assert_eq!(zones(3, 3), ["z1", "z2", "z3"]);
        assert_eq!(zones(3, 2), ["z1", "z2", "z1"]);
        assert!(Member::control(3, 4).is_err());
        assert!(Member::control(3, 0).is_err());
        assert!(Member::control(MAX_WORKERS + 1, 1).is_err());
    }

    #[test]
    fn a_folder_says_which_node_it_is_of() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Member::read(dir.path()), Member::default());
        let worker = Member::control(2, 1).unwrap().workers().last().unwrap();
        worker.write(dir.path()).unwrap();
        assert_eq!(Member::read(dir.path()), worker);
    }
}
