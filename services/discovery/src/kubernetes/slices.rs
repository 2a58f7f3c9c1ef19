//! The slices of one Service as the watch reports them.

use std::collections::{BTreeMap, HashSet};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::Event;

use super::merge::{Found, merge};
use crate::Endpoint;

/// Keeps the slices and says which endpoints follow from them.
pub(super) struct Slices {
    port: String,
    /// By name of the slice.
    known: BTreeMap<String, EndpointSlice>,
    /// Those of a new list that is not complete yet.
    draft: BTreeMap<String, EndpointSlice>,
    /// Identities of what is listed now.
    listed: HashSet<String>,
}

impl Slices {
    pub(super) fn new(port: &str) -> Self {
        Self {
            port: port.to_owned(),
            known: BTreeMap::new(),
            draft: BTreeMap::new(),
            listed: HashSet::new(),
        }
    }

    /// Takes an event in; the endpoints when they are known now.
    pub(super) fn take(&mut self, event: Event<EndpointSlice>) -> Option<Vec<Endpoint>> {
        match event {
            Event::Init => {
                self.draft.clear();
                return None;
            }
            Event::InitApply(slice) => {
                self.draft.insert(name(&slice), slice);
                return None;
            }
            Event::InitDone => self.known = std::mem::take(&mut self.draft),
            Event::Apply(slice) => drop(self.known.insert(name(&slice), slice)),
            Event::Delete(slice) => drop(self.known.remove(&name(&slice))),
        }
        if self.known.is_empty() {
            return None;
        }
        let found = merge(self.known.values(), &self.port, &self.listed);
        self.listed = found.iter().map(|found| found.uid.clone()).collect();
        Some(found.into_iter().map(Found::into_endpoint).collect())
    }
}

fn name(slice: &EndpointSlice) -> String {
    slice.metadata.name.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slice(name: &str, pods: &[&str]) -> EndpointSlice {
        let endpoints: Vec<_> = pods
            .iter()
            .map(|pod| {
                json!({
                    "addresses": [format!("10.0.0.{}", pod.len())],
                    "targetRef": {"name": pod, "uid": format!("uid of {pod}")},
                })
            })
            .collect();
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "addressType": "IPv4",
            "ports": [{"name": "grpc", "port": 8200}],
            "endpoints": endpoints,
        }))
        .unwrap()
    }

    fn names(endpoints: Option<Vec<Endpoint>>) -> Option<Vec<String>> {
        Some(endpoints?.into_iter().map(|e| e.name).collect())
    }

    #[test]
    fn a_new_list_counts_when_it_is_complete() {
        let mut slices = Slices::new("grpc");
        for event in [
            Event::Init,
            Event::InitApply(slice("one", &["a"])),
            Event::InitApply(slice("two", &["bb"])),
        ] {
            assert_eq!(slices.take(event), None);
        }
        let pods = |names: &[&str]| Some(names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>());
        assert_eq!(names(slices.take(Event::InitDone)), pods(&["a", "bb"]));
        let event = Event::Apply(slice("two", &["ccc"]));
        assert_eq!(names(slices.take(event)), pods(&["a", "ccc"]));
        let event = Event::Delete(slice("one", &["a"]));
        assert_eq!(names(slices.take(event)), pods(&["ccc"]));
        // A list that begins and breaks off changes nothing; the next one replaces everything.
        slices.take(Event::Init);
        slices.take(Event::InitApply(slice("three", &["dddd"])));
        slices.take(Event::Init);
        slices.take(Event::InitApply(slice("four", &["eeeee"])));
        assert_eq!(names(slices.take(Event::InitDone)), pods(&["eeeee"]));
    }

    #[test]
    fn a_service_without_pods_empties_the_list_and_a_deleted_service_leaves_it() {
        let mut slices = Slices::new("grpc");
        slices.take(Event::Apply(slice("one", &["a"])));
        assert_eq!(slices.take(Event::Delete(slice("one", &["a"]))), None);
        slices.take(Event::Init);
        assert_eq!(slices.take(Event::InitDone), None);
        let event = Event::Apply(slice("two", &[]));
        assert_eq!(slices.take(event), Some(vec![]));
    }
}
