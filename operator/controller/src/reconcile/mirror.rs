//! The mirror: addresses and load of the msg servers in EndpointSlices, for others to read.

use std::time::Duration;

use im_operator_api::{Mirror, labels};
use im_operator_plan::Role;
use im_operator_plan::mirror::{self, Mirrored, Steps};
use tokio::time::Instant;

use super::{Reconciliation, Trouble};
use crate::apply::Wanted;
use crate::context::{Memory, Shown};
use crate::kinds::Kind;
use crate::load::Knowledge;

impl Reconciliation<'_> {
    /// Brings the mirror up to date, not more often than `mirrorIntervalSeconds`.
    pub(crate) async fn mirror(&self, memory: &mut Memory, trouble: &mut Trouble) {
        let load = &self.cluster.spec.load;
        if load.mirror != Mirror::EndpointSlice {
            memory.mirror = None;
            return;
        }
        if self.mirror_rests(memory) {
            return;
        }
        let servers = self.mirrored();
        let none = Steps::new();
        let shown = memory.mirror.as_ref().map_or(&none, |shown| &shown.steps);
        let slices = mirror::slices(self.cluster, self.owner, &servers, shown);
        let objects: Result<Vec<Wanted>, _> = slices
            .iter()
            .map(|slice| Wanted::new(serde_json::to_value(slice).unwrap_or_default()))
            .collect();
        let fresh = match objects {
            Ok(objects) => Shown {
                changed: Instant::now(),
                objects,
                steps: mirror::steps(self.cluster, &servers, shown),
            },
            Err(error) => return trouble.errors.push(error),
        };
        let interval =
            Duration::from_secs(u64::try_from(load.mirror_interval_seconds).unwrap_or(15));
        let shown = match memory.mirror.take() {
            Some(old) if same(&old.objects, &fresh.objects) => old,
            Some(old) if old.changed.elapsed() < interval => {
                let left = interval.saturating_sub(old.changed.elapsed());
                trouble.wake(self.now.checked_add(left).ok());
                old
            }
            _ => fresh,
        };
        for slice in &shown.objects {
            self.ensure_wanted(slice, memory, trouble).await;
        }
        memory.mirror = Some(shown);
    }

    /// Whether another process wrote the mirror, and this one does not know the load yet.
    pub(crate) fn mirror_rests(&self, memory: &Memory) -> bool {
        let knowledge = self.load.knowledge(self.now, self.reading);
        let mut slices = self.children.of(Kind::EndpointSlice);
        self.cluster.spec.load.mirror == Mirror::EndpointSlice
            && memory.mirror.is_none()
            && knowledge == Knowledge::NotYet
            && slices.any(|(_, entry)| crate::msg::observe::owned(entry, self.applier.uid))
    }

    fn mirrored(&self) -> Vec<Mirrored> {
        let capacity = i64::from(self.cluster.spec.roles.msg.capacity.max_connections);
        self.children
            .of(Kind::Pod)
            .filter_map(|(name, entry)| Some((name, entry, entry.detail.pod()?)))
            .filter(|(_, _, pod)| {
                let component = pod.labels.get(labels::COMPONENT).map(String::as_str);
                component == Some(Role::MSG.name()) && pod.ready
            })
            .map(|(name, entry, pod)| {
                let row = self.load.fresh(name, self.now, self.reading);
                let percent = row.and_then(|row| {
                    let percent = (i64::from(row.connections) * 100).checked_div(capacity)?;
                    u32::try_from(percent).ok()
                });
                Mirrored {
                    pod: name.to_owned(),
                    uid: entry.seen.uid.clone(),
                    ips: pod.ips.clone(),
                    node: pod.node.clone(),
                    ready: pod.ready
                        && !entry.seen.deleting
                        && !pod.annotations.contains_key(labels::DRAINING)
                        && pod.annotations.contains_key(labels::EXTERNAL_ENDPOINT),
                    endpoint: pod.annotations.get(labels::EXTERNAL_ENDPOINT).cloned(),
                    load_percent: percent,
                }
            })
            .collect()
    }
}

fn same(a: &[Wanted], b: &[Wanted]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(a, b)| a.name == b.name && a.hash == b.hash)
}
