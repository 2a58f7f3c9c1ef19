//! What is reported in `status`, computed from facts, without I/O.

use im_operator_api::{DrainStatus, Endpoints, SlotStatus};
use im_operator_plan::msg::Summary;
use im_operator_plan::{Role, SpecError};
use jiff::Timestamp;

pub(crate) mod compose;
pub(crate) mod conditions;
pub(crate) mod failing;
pub(crate) mod roles;
pub(crate) mod write;

use crate::load::Knowledge;
use failing::FailingPod;
use roles::RoleFacts;

/// Everything that a status is made from.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) now: Timestamp,
    pub(crate) generation: Option<i64>,
    pub(crate) version: String,
    pub(crate) operator_version: String,
    pub(crate) selector: String,
    pub(crate) paused: bool,
    /// Old keys of the servers' configuration that are in use.
    pub(crate) warnings: Vec<String>,
    /// What of the specification is valid and seldom meant.
    pub(crate) hints: Vec<String>,
    pub(crate) endpoints: Endpoints,
    /// In the order of roll-out.
    pub(crate) roles: Vec<RoleFacts>,
    /// The planner's view of msg; `None` until it may run.
    pub(crate) msg: Option<Summary>,
    pub(crate) desired_msg: i32,
    /// Msg pods that clients are sent to.
    pub(crate) assignable: u32,
    pub(crate) msg_revision: String,
    pub(crate) slots: Vec<SlotStatus>,
    /// Slots whose pod waits for an address.
    pub(crate) slots_without_address: Vec<i32>,
    /// The word for what such slots wait for.
    pub(crate) address_source: &'static str,
    pub(crate) drains: Vec<DrainStatus>,
    pub(crate) load: LoadFacts,
    pub(crate) database: Database,
    /// The database on a server, in words; `None` where it is the embedded one.
    pub(crate) on_server: Option<String>,
    pub(crate) volume: Volume,
    pub(crate) data_is_durable: bool,
    pub(crate) failing: Vec<FailingPod>,
    /// Objects of others that pods mount and that are not there, or not whole.
    pub(crate) missing: Vec<Missing>,
    /// Objects of others with our names.
    pub(crate) conflicts: Vec<String>,
    /// What the API server, or something that it asks, has failed to write for a while.
    pub(crate) unwritten: Option<String>,
    /// What the API server refused and a person must look at: (reason, message).
    pub(crate) refusals: Vec<(&'static str, String)>,
}

impl Facts {
    /// What somebody should know of a specification that is used.
    pub(crate) fn advice(&self) -> String {
        let lines: Vec<&str> = self
            .warnings
            .iter()
            .chain(&self.hints)
            .map(String::as_str)
            .collect();
        lines.join("; ")
    }
}

/// Load as known now.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoadFacts {
    pub(crate) knowledge: Knowledge,
    /// Client connections; `None` when no fresh report is known.
    pub(crate) connections: Option<i64>,
    pub(crate) capacity: i64,
    pub(crate) read_at: Option<Timestamp>,
    pub(crate) fresh: i32,
    /// Ready msg pods without a fresh report, as far as that is known.
    pub(crate) silent: Vec<String>,
}

/// What stands between dbProxy and its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    /// dbProxy is ready.
    Ready,
    /// The claim names no class and the cluster has no default one.
    StorageClassMissing,
    /// The claim waits for a volume; with what is known about it.
    VolumePending(String),
    /// dbProxy does not answer yet, or not any more.
    Starting,
}

/// How a volume is, or all of them are, compared with the size that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Volume {
    /// This process has not read the claim yet: what was said before holds.
    #[default]
    Unknown,
    /// It is as large as it is to be, or there is none.
    LargeEnough,
    /// It is not; with a word and a sentence that say why.
    TooSmall {
        reason: &'static str,
        message: String,
    },
}

impl Volume {
    /// How several are together: too small if one is, for the reasons of each.
    pub(crate) fn all(volumes: impl Iterator<Item = Self>) -> Self {
        volumes.fold(Self::LargeEnough, |all, one| match (all, one) {
            (Self::TooSmall { reason, message }, Self::TooSmall { message: also, .. }) => {
                let message = format!("{message}; {also}");
                Self::TooSmall { reason, message }
            }
            (small @ Self::TooSmall { .. }, _) | (_, small @ Self::TooSmall { .. }) => small,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::LargeEnough, Self::LargeEnough) => Self::LargeEnough,
        })
    }
}

/// An object of somebody else that pods mount and that is not there, or lacks a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// A word for it.
    pub(crate) reason: &'static str,
    /// A sentence that names it and the field that asks for it.
    pub(crate) message: String,
}

/// What a status says when the specification cannot be used: nothing else was touched.
#[derive(Clone, Debug)]
pub(crate) struct Invalid {
    pub(crate) now: Timestamp,
    pub(crate) generation: Option<i64>,
    pub(crate) operator_version: String,
    pub(crate) errors: Vec<SpecError>,
}

/// The facts of one role.
pub(crate) fn role(facts: &[RoleFacts], role: Role) -> Option<&RoleFacts> {
    facts.iter().find(|facts| facts.role == role)
}
