//! Whether fewer pods can carry the clients that there are.
//!
//! Every pod less is a promise that the others have room: at most `max_scale_in_pods` let their clients go
//! at a time, and only while what is known of the load says that the rest takes them.

use super::types::{DrainReason, ScaleInLimit};
use super::view::{LivePod, View, count};

/// Part of what the pods that stay take to which a scale-in may fill them, percent.
const FULL_PERCENT: u64 = 85;

/// What a scale-in may still take. Nothing limits one where no load is reported, or where no pod is
/// wanted: then nobody is to be served.
pub(super) struct Guard {
    is_needed: bool,
    load_is_known: bool,
    /// Of all pods, those included that go: their clients come to the others.
    connections: u64,
    /// Pods that serve and stay.
    serving: u32,
    max_connections: u32,
    /// Pods that may be committed now: none while the load may be that before the last one was gone.
    places: u32,
}

impl Guard {
    pub(super) fn new(view: &View<'_>) -> Self {
        let state = view.state;
        let live = || view.pods.iter().filter(|pod| !pod.stuck);
        let connections = live().filter_map(|pod| pod.pod.connections);
        // More pods than a roll may have: those of old revisions count among the ones that scaling takes.
        let is_shrinking = view.staying() > view.max_total();
        let going = live().filter(|pod| {
            let reason = pod.pod.drain.map(|drain| drain.reason);
            reason == Some(DrainReason::ScaleDown) || (is_shrinking && reason.is_some())
        });
        Self {
            is_needed: state.load_reports && state.replicas > 0,
            load_is_known: !live().any(hides_load),
            connections: connections.map(u64::from).sum(),
            serving: count(live().filter(|pod| pod.available())),
            max_connections: state.max_connections,
            places: if view.load_settled().is_some_and(|at| view.now < at) {
                0
            } else {
                state.max_scale_in_pods.saturating_sub(count(going))
            },
        }
    }

    /// Why no serving pod may go now, however few go at a time.
    pub(super) fn limit(&self) -> Option<ScaleInLimit> {
        let rest = self.serving.saturating_sub(1);
        if !self.is_needed {
            None
        } else if !self.load_is_known {
            Some(ScaleInLimit::LoadUnknown)
        } else if self.connections * 100
            > u64::from(rest) * u64::from(self.max_connections) * FULL_PERCENT
        {
            Some(ScaleInLimit::TooFull { rest })
        } else {
            None
        }
    }

    /// Whether this pod may go; if so it is counted. One that is not ready goes beside it, unless it is known to have
    /// clients: a probe may have come too late.
    pub(super) fn takes(&mut self, victim: &LivePod<'_>) -> bool {
        let is_idle = !victim.pod.ready && victim.pod.connections.unwrap_or(0) == 0;
        if !self.is_needed || is_idle {
            return true;
        }
        if self.places == 0 || self.limit().is_some() {
            return false;
        }
        self.places -= 1;
        self.serving -= u32::from(victim.available());
        true
    }
}

/// Its connections matter and are unknown.
fn hides_load(pod: &LivePod<'_>) -> bool {
    pod.active()
        && !pod.committed()
        && pod.pod.ready
        && pod.pod.endpoint.is_some()
        && pod.pod.connections.is_none()
}

impl ScaleInLimit {
    /// Reason of the condition `ScalingLimited`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::LoadUnknown => "LoadUnknown",
            Self::TooFull { .. } => "TooManyConnections",
        }
    }

    /// One sentence for people. It has no figure that changes with each client.
    pub fn message(self) -> String {
        match self {
            Self::LoadUnknown => "removing pods waits until their connections are known".to_owned(),
            Self::TooFull { rest } => format!(
                "removing pods waits: {rest} would be filled beyond {FULL_PERCENT} % of maxConnections"
            ),
        }
    }
}
