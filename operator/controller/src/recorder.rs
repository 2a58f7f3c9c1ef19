//! Events: what happened to an ImCluster, for `kubectl describe`.
//!
//! Repeats are gathered by the recorder into one series. An event that cannot be written is logged
//! and forgotten: nothing depends on events.

use im_core::Chain;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tracing::{debug, info};

/// Words of our events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    RolloutStarted,
    RolloutCompleted,
    RolloutStalled,
    DrainStarted,
    DrainCompleted,
    DrainCancelled,
    Rebalancing,
    ScaledUp,
    ScaledDown,
    ScaledByOthers,
    SlotAddressReady,
    SlotAddressLost,
    SlotReleased,
    SpecInvalid,
    OldKeys,
    Conflict,
    ApplyFailed,
    DriftCorrected,
    SecretRestored,
    SecretReplaced,
    SecretChanged,
    SecretRotated,
    Paused,
    Resumed,
    PodFailing,
    StorageClassMissing,
    ReferenceMissing,
    VolumeGrowing,
    VolumeGrown,
    VolumeNotGrown,
    LookedAfterByAnother,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::RolloutStarted => "RolloutStarted",
            Self::RolloutCompleted => "RolloutCompleted",
            Self::RolloutStalled => "RolloutStalled",
            Self::DrainStarted => "DrainStarted",
            Self::DrainCompleted => "DrainCompleted",
            Self::DrainCancelled => "DrainCancelled",
            Self::Rebalancing => "Rebalancing",
            Self::ScaledUp => "ScaledUp",
            Self::ScaledDown => "ScaledDown",
            Self::ScaledByOthers => "ScaledByOthers",
            Self::SlotAddressReady => "SlotAddressReady",
            Self::SlotAddressLost => "SlotAddressLost",
            Self::SlotReleased => "SlotReleased",
            Self::SpecInvalid => "SpecInvalid",
            Self::OldKeys => "OldKeys",
            Self::Conflict => "Conflict",
            Self::ApplyFailed => "ApplyFailed",
            Self::DriftCorrected => "DriftCorrected",
            Self::SecretRestored => "SecretRestored",
            Self::SecretReplaced => "SecretReplaced",
            Self::SecretChanged => "SecretChanged",
            Self::SecretRotated => "SecretRotated",
            Self::Paused => "Paused",
            Self::Resumed => "Resumed",
            Self::PodFailing => "PodFailing",
            Self::StorageClassMissing => "StorageClassMissing",
            Self::ReferenceMissing => "ReferenceMissing",
            Self::VolumeGrowing => "VolumeGrowing",
            Self::VolumeGrown => "VolumeGrown",
            Self::VolumeNotGrown => "VolumeNotGrown",
            Self::LookedAfterByAnother => "LookedAfterByAnother",
        }
    }

    const fn kind(self) -> EventType {
        match self {
            Self::RolloutStarted
            | Self::RolloutCompleted
            | Self::DrainStarted
            | Self::DrainCompleted
            | Self::DrainCancelled
            | Self::Rebalancing
            | Self::ScaledUp
            | Self::ScaledDown
            | Self::SlotAddressReady
            | Self::SlotReleased
            | Self::DriftCorrected
            | Self::SecretChanged
            | Self::SecretRotated
            | Self::Paused
            | Self::Resumed
            | Self::VolumeGrowing
            | Self::VolumeGrown => EventType::Normal,
            Self::RolloutStalled
            | Self::ScaledByOthers
            | Self::SlotAddressLost
            | Self::SpecInvalid
            | Self::OldKeys
            | Self::Conflict
            | Self::ApplyFailed
            | Self::SecretRestored
            | Self::SecretReplaced
            | Self::PodFailing
            | Self::StorageClassMissing
            | Self::ReferenceMissing
            | Self::VolumeNotGrown
            | Self::LookedAfterByAnother => EventType::Warning,
        }
    }
}

/// Longest note that the API server takes, bytes.
const MAX_NOTE: usize = 1024;

/// Writes events of all clusters.
#[derive(Clone)]
pub(crate) struct EventRecorder(Recorder);

impl std::fmt::Debug for EventRecorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventRecorder")
    }
}

impl EventRecorder {
    pub(crate) fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter {
            controller: "imcluster.io/operator".to_owned(),
            instance: Some(instance.to_owned()),
        };
        Self(Recorder::new(client, reporter))
    }

    /// Says that something happened.
    pub(crate) async fn record(&self, about: &ObjectReference, reason: Reason, note: &str) {
        let namespace = about.namespace.as_deref().unwrap_or_default();
        let name = about.name.as_deref().unwrap_or_default();
        info!(namespace, name, reason = reason.as_str(), note, "event");
        let event = Event {
            type_: reason.kind(),
            reason: reason.as_str().to_owned(),
            note: Some(cut(note).to_owned()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.0.publish(&event, about).await {
            debug!(namespace, name, error = %Chain(&error), "event cannot be written");
        }
    }
}

/// The start of a text that fits into an event.
fn cut(note: &str) -> &str {
    let mut end = note.len().min(MAX_NOTE);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let note = format!("a{}", "ü".repeat(600));
        assert_eq!(cut(&note).len(), 1023);
        assert_eq!(cut("short"), "short");
    }
}
