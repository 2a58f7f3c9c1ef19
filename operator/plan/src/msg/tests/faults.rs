//! What users, nodes and networks do to a simulated cluster.

use jiff::SignedDuration;
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

use super::cluster::Cluster;
use crate::msg::UpdateRules;

/// Rules of any allowed kind.
pub(super) fn random_rules(random: &mut StdRng) -> UpdateRules {
    let max_surge = random.random_range(0..=3);
    UpdateRules {
        max_surge,
        max_unavailable: random.random_range(u32::from(max_surge == 0)..=2),
        min_ready_seconds: random.random_range(0..=15),
        progress_deadline_seconds: random.random_range(60..=600),
    }
}

/// Somebody changes what is wanted.
pub(super) fn change_wish(cluster: &mut Cluster, random: &mut StdRng, revisions: &mut u32) {
    match random.random_range(0..10) {
        0..4 => cluster.want.replicas = random.random_range(0..=7),
        4..6 => {
            *revisions += 1;
            cluster.want.revision = format!("r{revisions}");
            if random.random_bool(0.3) {
                cluster.bad.insert(cluster.want.revision.clone());
            }
        }
        6 => cluster.want.revision = format!("r{}", random.random_range(0..=*revisions)),
        7 => cluster.want.paused = !cluster.want.paused,
        8 => cluster.want.rules = random_rules(random),
        _ => cluster.want.load_reports = !cluster.want.load_reports,
    }
}

/// Something breaks or comes back.
pub(super) fn fault(cluster: &mut Cluster, random: &mut StdRng) {
    let now = cluster.now;
    let later = now + SignedDuration::from_secs(random.random_range(1..=90));
    let uids: Vec<String> = cluster
        .pods
        .iter()
        .map(|sim| sim.pod.object.uid.clone())
        .collect();
    if let Some(uid) = uids.choose(random) {
        match random.random_range(0..9) {
            0..3 => cluster.change(uid, |sim| {
                sim.starts = later;
                if sim.pod.ready {
                    sim.pod.ready = false;
                    sim.pod.ready_changed = now;
                }
            }),
            3 => cluster.change(uid, |sim| {
                sim.pod.finished |= sim.pod.terminating.is_none();
                sim.pod.ready = false;
            }),
            4..6 => cluster.terminate(uid),
            6 => {
                cluster.change(uid, |sim| sim.node_lost = true);
                cluster.terminate(uid);
            }
            7 => cluster.change(uid, |sim| sim.node_lost = false),
            _ => cluster.change(uid, |sim| {
                sim.pod.connections = sim.pod.connections.map_or(Some(7), |_| None);
            }),
        }
    }
    let slots: Vec<u32> = cluster.slots.iter().map(|slot| slot.index).collect();
    if let Some(index) = slots.choose(random) {
        match random.random_range(0..20) {
            0 => cluster.slots.retain(|slot| slot.index != *index),
            1 | 2 => cluster.lose_address(*index),
            _ => {}
        }
    }
    cluster.record();
}
