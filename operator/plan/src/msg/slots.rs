//! Slots: which pod owns which address.
//!
//! A slot's Service names its holder before the pod gets the slot's label, and both writes fail on a
//! changed object. So two pods never share a slot, whatever has been observed late.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};

use super::types::{Action, Pod, Slot};
use super::view::{LivePod, View, add, count};

/// Labels from this index on are nobody's doing but a user's, and ignored.
const MAX_SLOTS: u32 = 10_000;

/// Who owns which slot.
pub(super) struct Owners {
    by_slot: HashMap<u32, String>,
    by_pod: HashMap<String, u32>,
}

impl Owners {
    /// The holder that the Service names comes first, as long as it lives and has no other slot;
    /// then the oldest live pod with the slot's label.
    pub(super) fn new(live: &[&Pod], slots: &[Slot]) -> Self {
        let mut owners = Self {
            by_slot: HashMap::new(),
            by_pod: HashMap::new(),
        };
        let pods: HashMap<&str, &Pod> = live
            .iter()
            .map(|pod| (pod.object.uid.as_str(), *pod))
            .collect();
        let mut claims: Vec<(u32, &Pod)> = (slots.iter())
            .filter_map(|slot| {
                let holder = slot.holder.as_ref()?;
                Some((slot.index, *pods.get(holder.uid.as_str())?))
            })
            .collect();
        claims.sort_by_key(|(index, pod)| (pod.slot != Some(*index), *index));
        for (index, pod) in claims {
            if pod.slot.is_none_or(|label| label == index) {
                owners.give(index, pod);
            }
        }
        let mut labelled: Vec<&Pod> = live.to_vec();
        labelled.sort_by(|a, b| (a.created, &a.object.name).cmp(&(b.created, &b.object.name)));
        for pod in labelled {
            if let Some(index) = pod.slot.filter(|index| *index < MAX_SLOTS) {
                owners.give(index, pod);
            }
        }
        owners
    }

    fn give(&mut self, index: u32, pod: &Pod) {
        let uid = &pod.object.uid;
        if !self.by_slot.contains_key(&index) && !self.by_pod.contains_key(uid) {
            self.by_slot.insert(index, uid.clone());
            self.by_pod.insert(uid.clone(), index);
        }
    }

    pub(super) fn slot_of(&self, uid: &str) -> Option<u32> {
        self.by_pod.get(uid).copied()
    }

    fn owner_of(&self, index: u32) -> Option<&str> {
        self.by_slot.get(&index).map(String::as_str)
    }
}

/// What is to be done about slots, and when there will be more.
pub(super) struct Steps {
    pub(super) actions: Vec<Action>,
    pub(super) wake_at: Option<Timestamp>,
}

/// What is to be done about slots. Nothing of it depends on the rest of the plan.
pub(super) fn steps(view: &View<'_>) -> Steps {
    let pods: HashMap<&str, &LivePod<'_>> = view
        .pods
        .iter()
        .map(|pod| (pod.pod.object.uid.as_str(), pod))
        .collect();
    let mut slots: Vec<&Slot> = view.state.slots.iter().collect();
    slots.sort_by_key(|slot| slot.index);
    let counts = Counts::new(view);
    let mut actions = counts.missing();
    let mut free = Vec::new();
    for slot in slots {
        let owner = view
            .owners
            .owner_of(slot.index)
            .and_then(|uid| pods.get(uid));
        match owner {
            Some(owner) => actions.extend(serve(slot, owner)),
            None if slot.holder.is_some() || slot.bound => actions.push(unbind(slot)),
            None => free.push(slot),
        }
    }
    let waiting = waiting(view);
    let unused = free.split_off(free.len().min(waiting.len()));
    actions.extend(
        free.into_iter()
            .zip(waiting)
            .map(|(slot, pod)| bind(slot, pod.pod)),
    );
    let mut wake_at = None;
    // The last ones go first, so that what stays lies together.
    for slot in unused.into_iter().rev().take(counts.surplus()) {
        match slot.unused_since.map(|since| end_of_grace(view, since)) {
            None => actions.push(mark(slot)),
            Some(end) if end <= view.now => actions.push(release(slot)),
            Some(end) => wake_at = wake_at.into_iter().chain([end]).min(),
        }
    }
    Steps { actions, wake_at }
}

/// How many slots there are, and should be.
struct Counts<'a> {
    /// Those with a Service.
    existing: BTreeSet<u32>,
    /// These, and those of live pods.
    all: BTreeSet<u32>,
    owners: &'a Owners,
    /// At least so many: as many as pods may exist, one more for each stuck pod that keeps its slot.
    needed: usize,
    /// No more than so many: more pods may exist for a while.
    kept: usize,
}

impl<'a> Counts<'a> {
    fn new(view: &'a View<'_>) -> Self {
        let existing: BTreeSet<u32> = view.state.slots.iter().map(|slot| slot.index).collect();
        let owners = &view.owners;
        let all = existing
            .iter()
            .chain(owners.by_slot.keys())
            .copied()
            .collect();
        let stuck = count(
            view.pods
                .iter()
                .filter(|pod| pod.stuck && owners.slot_of(&pod.pod.object.uid).is_some()),
        );
        let needed = view.max_total().saturating_add(stuck).min(MAX_SLOTS);
        let needed = usize::try_from(needed).unwrap_or(usize::MAX);
        Self {
            existing,
            all,
            owners,
            needed,
            kept: needed.max(view.pods.len()),
        }
    }

    /// Slots of live pods without a Service, and the lowest that there are not yet.
    fn missing(&self) -> Vec<Action> {
        let lost = self.owners.by_slot.keys();
        let lost = lost.filter(|index| !self.existing.contains(index)).copied();
        let new = (0..MAX_SLOTS).filter(|index| !self.all.contains(index));
        let new = new.take(self.needed.saturating_sub(self.all.len()));
        let missing: BTreeSet<u32> = lost.chain(new).collect();
        missing
            .into_iter()
            .map(|index| Action::EnsureSlot { index })
            .collect()
    }

    /// Slots that no pod needs.
    fn surplus(&self) -> usize {
        self.all.len().saturating_sub(self.kept)
    }
}

fn end_of_grace(view: &View<'_>, since: Timestamp) -> Timestamp {
    let grace = SignedDuration::from_secs(view.state.slot_grace_seconds.into());
    add(since, grace)
}

/// What a slot with a live owner needs.
fn serve(slot: &Slot, owner: &LivePod<'_>) -> Option<Action> {
    let pod = owner.pod;
    if slot
        .holder
        .as_ref()
        .is_some_and(|holder| holder.uid != pod.object.uid)
    {
        return Some(unbind(slot));
    }
    if !owner.active() {
        return None;
    }
    if slot.holder.is_none() || !slot.bound || pod.slot != Some(slot.index) {
        return Some(bind(slot, pod));
    }
    let address = slot
        .address
        .as_ref()
        .filter(|address| pod.endpoint.as_ref() != Some(address))?;
    Some(Action::SetEndpoint {
        pod: pod.object.clone(),
        endpoint: address.clone(),
    })
}

/// Pods that still need a slot, the most useful first.
fn waiting<'a, 'b>(view: &'b View<'a>) -> Vec<&'b LivePod<'a>> {
    let mut waiting: Vec<&LivePod<'_>> = (view.pods.iter())
        .filter(|pod| pod.active() && pod.set.is_some() && !pod.committed())
        .filter(|pod| view.owners.slot_of(&pod.pod.object.uid).is_none())
        .collect();
    waiting.sort_by(|a, b| {
        let key = |pod: &LivePod<'_>| {
            (
                Reverse(pod.pod.ready),
                Reverse(pod.current),
                pod.pod.created,
            )
        };
        key(a)
            .cmp(&key(b))
            .then_with(|| a.pod.object.name.cmp(&b.pod.object.name))
    });
    waiting
}

fn bind(slot: &Slot, pod: &Pod) -> Action {
    Action::BindSlot {
        index: slot.index,
        service: slot.service.clone(),
        pod: pod.object.clone(),
    }
}

fn unbind(slot: &Slot) -> Action {
    Action::UnbindSlot {
        index: slot.index,
        service: slot.service.clone(),
        was: slot.holder.clone(),
    }
}

fn mark(slot: &Slot) -> Action {
    Action::MarkSlot {
        index: slot.index,
        service: slot.service.clone(),
    }
}

fn release(slot: &Slot) -> Action {
    Action::ReleaseSlot {
        index: slot.index,
        service: slot.service.clone(),
    }
}
