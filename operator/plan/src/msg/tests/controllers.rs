//! What acts in a simulated cluster besides the planner: the ReplicaSet controller with its real
//! order of victims, kubelets, and load balancers.

use std::collections::BTreeSet;
use std::rc::Rc;

use jiff::{SignedDuration, Timestamp};

use super::cluster::{Cluster, SimPod, SimSet, change_pod};
use crate::msg::{Pod, ReplicaSet};

impl Cluster {
    /// One pass of the ReplicaSet controller over all sets, from its own caches; it knows what it
    /// has created and deleted itself.
    pub(super) fn replica_set_controller(&mut self) {
        let sets = Rc::clone(&self.history.sets[self.controller.sets]);
        for cached in sets.iter() {
            self.sync(cached);
            self.record();
        }
    }

    fn sync(&mut self, cached: &SimSet) {
        let uid = &cached.set.object.uid;
        let pods = Rc::clone(&self.history.pods[self.controller.pods]);
        let mut active: Vec<&SimPod> = (pods.iter())
            .filter(|sim| sim.pod.replica_set == *uid)
            .filter(|sim| sim.pod.terminating.is_none() && !sim.pod.finished)
            .collect();
        let (have, want) = (active.len(), cached.set.replicas as usize);
        if have > want {
            active.sort_by_key(|sim| removal_rank(sim));
            for sim in active.iter().take(have - want) {
                self.terminate(&sim.pod.object.uid);
            }
        } else if self.sets.iter().any(|sim| sim.set.object.uid == *uid) {
            (have..want).for_each(|_| self.create_pod(&cached.set));
        }
        if have != want {
            self.record();
            self.controller.pods = self.newest().pods;
        }
        let version = self.next_version();
        if let Some(sim) = self
            .sets
            .iter_mut()
            .find(|sim| sim.set.object == cached.set.object)
        {
            let seen = u32::try_from(have).expect("few pods");
            if (sim.set.observed_replicas, sim.observed_generation) != (seen, cached.generation) {
                sim.set.observed_replicas = seen;
                sim.observed_generation = cached.generation;
                sim.set.object.resource_version = version.to_string();
            }
        }
    }

    fn create_pod(&mut self, set: &ReplicaSet) {
        let object = self.new_object(&format!("{}-{}", set.object.name, self.version));
        let delay = SignedDuration::from_secs((self.version % 20).cast_signed());
        let pod = Pod {
            object,
            replica_set: set.object.uid.clone(),
            created: self.now,
            ready: false,
            ready_changed: self.now,
            terminating: None,
            finished: false,
            slot: None,
            endpoint: None,
            drain: None,
            leaving: None,
            order: None,
            cordoned: false,
            connections: None,
            failure: None,
        };
        self.pods.push(SimPod {
            pod,
            scheduled: false,
            node_lost: false,
            starts: self.now + delay,
            ends: Timestamp::MAX,
            cost: 0,
        });
    }

    /// One pass of all kubelets and load balancers. Returns whether anything changed.
    pub(super) fn kubelets(&mut self) -> bool {
        let before = (self.pods.clone(), self.slots.clone());
        let (now, bad) = (self.now, &self.bad);
        let broken: BTreeSet<&str> = (self.sets.iter())
            .filter(|sim| bad.contains(&sim.set.revision))
            .map(|sim| sim.set.object.uid.as_str())
            .collect();
        self.pods
            .retain(|sim| sim.pod.terminating.is_none() || sim.node_lost || now < sim.ends);
        let mut version = self.version;
        for sim in &mut self.pods {
            let starts = !sim.pod.ready && !sim.node_lost && !sim.pod.finished && now >= sim.starts;
            if starts && (!sim.scheduled || !broken.contains(sim.pod.replica_set.as_str())) {
                let ready = !broken.contains(sim.pod.replica_set.as_str());
                version += 1;
                change_pod(sim, version, |sim| {
                    sim.scheduled = true;
                    sim.pod.failure = (!ready).then(|| "CrashLoopBackOff".to_owned());
                    if ready {
                        sim.pod.ready = true;
                        sim.pod.ready_changed = now;
                        sim.pod.connections = Some(u32::try_from(version % 100).expect("small"));
                    }
                });
            }
        }
        for sim in &mut self.pods {
            // Servers do what they are asked for, from one pass to the next.
            let emptied = sim.pod.emptied_since().is_some();
            let is_new = sim.pod.cordoned != emptied || (emptied && sim.pod.connections != Some(0));
            if sim.pod.ready && is_new {
                version += 1;
                change_pod(sim, version, |sim| {
                    let was_cordoned = std::mem::replace(&mut sim.pod.cordoned, emptied);
                    if emptied && was_cordoned {
                        sim.pod.connections = Some(0);
                    }
                });
            }
        }
        self.version = version;
        self.record();
        before != (self.pods.clone(), self.slots.clone())
    }

    /// Takes the address of a slot away.
    pub(super) fn lose_address(&mut self, index: u32) {
        let version = self.next_version();
        for slot in self.slots.iter_mut().filter(|slot| slot.index == index) {
            slot.address = None;
            slot.service.resource_version = version.to_string();
        }
    }

    /// Gives an address to each slot that has none.
    pub(super) fn load_balancers(&mut self) {
        for slot in &mut self.slots {
            if slot.address.is_none() {
                self.version += 1;
                slot.address = Some(format!("{}:{}", slot.index, self.version));
                slot.service.resource_version = self.version.to_string();
            }
        }
        self.record();
    }

    /// The next moment at which a kubelet has something to do.
    pub(super) fn next_event(&self) -> Option<Timestamp> {
        (self.pods.iter())
            .filter(|sim| !sim.node_lost)
            .flat_map(|sim| [sim.starts, sim.ends])
            .filter(|at| *at > self.now && *at < Timestamp::MAX)
            .min()
    }
}

/// The order in which the ReplicaSet controller deletes: unscheduled, not ready, cheap, ready for
/// a short time, young.
fn removal_rank(sim: &SimPod) -> impl Ord + use<> {
    let age = std::cmp::Reverse((sim.pod.ready_changed, sim.pod.created));
    (
        sim.scheduled,
        sim.pod.ready,
        sim.cost,
        age,
        sim.pod.object.name.clone(),
    )
}
