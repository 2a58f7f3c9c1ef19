use super::*;
use crate::status::failing::FailingPod;
use crate::status::roles::{Observed, RoleFacts};
use crate::status::{Database, LoadFacts};
use im_operator_plan::msg::{ScaleInLimit, Summary};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn role_facts(role: Role, pods: i32) -> RoleFacts {
    RoleFacts {
        role,
        wanted: pods,
        observed: Observed {
            replicas: pods,
            ready: pods,
            updated: pods,
            available: pods,
            ..Observed::default()
        },
        update_revision: "new".to_owned(),
        live_revision: Some("new".to_owned()),
        rolled_out: true,
        held: false,
    }
}

/// A cluster with nothing wrong.
pub(crate) fn facts() -> Facts {
    Facts {
        now: at(100),
        generation: Some(7),
        version: "1.0.0".to_owned(),
        operator_version: "0.1.0".to_owned(),
        selector: String::new(),
        paused: false,
        warnings: Vec::new(),
        hints: Vec::new(),
        endpoints: im_operator_api::Endpoints::default(),
        roles: vec![
            role_facts(Role::DB_PROXY, 1),
            role_facts(Role::ROUTE, 2),
            role_facts(Role::MSG, 3),
            role_facts(Role::LOGIN, 2),
        ],
        msg: Some(Summary {
            replicas: 3,
            ready: 3,
            updated: 3,
            available: 3,
            assignable: 3,
            draining: 0,
            current_revision: Some("new".to_owned()),
            progress: Progress::Complete,
            message: "all pods are as wanted".to_owned(),
            remaining: None,
            limit: None,
        }),
        desired_msg: 3,
        assignable: 3,
        msg_revision: "new".to_owned(),
        slots: Vec::new(),
        slots_without_address: Vec::new(),
        address_source: "WaitingForLoadBalancer",
        drains: Vec::new(),
        load: LoadFacts {
            knowledge: Knowledge::Known,
            connections: Some(0),
            capacity: 60_000,
            read_at: Some(at(90)),
            fresh: 3,
            silent: Vec::new(),
        },
        volume: Volume::LargeEnough,
        database: Database::Ready,
        on_server: None,
        data_is_durable: true,
        failing: Vec::new(),
        conflicts: Vec::new(),
        unwritten: None,
        refusals: Vec::new(),
        missing: Vec::new(),
    }
}

fn shown(facts: &Facts) -> Vec<Condition> {
    dated(of_facts(facts), &[], facts.generation, facts.now)
}

#[track_caller]
fn check(facts: &Facts, kind: &str, expected: Option<(&str, &str)>) -> String {
    let conditions = shown(facts);
    let found = conditions.iter().find(|it| it.type_ == kind);
    let summary = found.map(|it| (it.status.as_str(), it.reason.as_str()));
    assert_eq!(summary, expected, "{kind}");
    found.map(|it| it.message.clone()).unwrap_or_default()
}

#[test]
fn a_cluster_at_rest_is_ready_and_neither_reconciling_nor_stalled() {
    let facts = facts();
    check(&facts, "Ready", Some(("True", "Ready")));
    check(
        &facts,
        "Available",
        Some(("True", "MinimumReplicasAvailable")),
    );
    check(&facts, "Progressing", Some(("True", "RolloutComplete")));
    check(&facts, "Reconciling", None);
    check(&facts, "Stalled", None);
    check(&facts, "Degraded", Some(("False", "AsExpected")));
    check(&facts, "LoadReportsFresh", Some(("True", "AllReported")));
    assert_eq!(phase(&shown(&facts), false), Phase::Running);
    let observed = shown(&facts)
        .iter()
        .all(|it| it.observed_generation == Some(7));
    assert!(observed);
}

/// People go on chatting.
#[test]
fn a_role_that_an_installation_can_do_without_makes_it_degraded_and_not_unavailable() {
    let mut facts = facts();
    let mut file = role_facts(Role::FILE, 1);
    facts.roles.push(file.clone());
    let message = check(
        &facts,
        "Available",
        Some(("True", "MinimumReplicasAvailable")),
    );
    assert_eq!(message, "Every role has a ready pod");
    check(&facts, "Degraded", Some(("False", "AsExpected")));
    file.observed.ready = 0;
    *facts.roles.last_mut().unwrap() = file;
    let message = check(
        &facts,
        "Available",
        Some(("True", "MinimumReplicasAvailable")),
    );
    assert_eq!(message, "Every role but file has a ready pod");
    check(&facts, "Ready", Some(("True", "Ready")));
    let message = check(&facts, "Degraded", Some(("True", "PartialOutage")));
    assert_eq!(message, "0 of 1 file pods are ready");
}

#[test]
fn old_keys_leave_a_specification_valid_and_are_told_there() {
    let mut facts = facts();
    assert_eq!(check(&facts, "SpecValid", Some(("True", "Valid"))), "");
    facts.warnings = vec!["one".to_owned(), "two".to_owned()];
    let message = check(&facts, "SpecValid", Some(("True", "OldKeys")));
    assert_eq!(message, "one; two");
    facts.hints = vec!["three".to_owned()];
    let message = check(&facts, "SpecValid", Some(("True", "OldKeys")));
    assert_eq!(message, "one; two; three");
    facts.warnings.clear();
    let message = check(&facts, "SpecValid", Some(("True", "Valid")));
    assert_eq!(message, "three");
}

#[test]
fn a_bad_image_stops_progress_with_its_reason_and_leaves_the_rest_available() {
    let mut facts = facts();
    facts.roles[2].rolled_out = false;
    facts.roles[2].observed.deadline_exceeded = true;
    facts.failing.push(FailingPod {
        pod: "demo-msg-bad-x".to_owned(),
        role: Role::MSG,
        reason: "ErrImagePull".to_owned(),
        message: "not found".to_owned(),
    });
    let message = check(
        &facts,
        "Progressing",
        Some(("False", "ProgressDeadlineExceeded")),
    );
    assert_eq!(
        message,
        "msg makes no progress: pod demo-msg-bad-x: ErrImagePull: not found"
    );
    check(
        &facts,
        "Available",
        Some(("True", "MinimumReplicasAvailable")),
    );
    check(&facts, "Degraded", Some(("True", "ImagePullFailed")));
    check(
        &facts,
        "Reconciling",
        Some(("True", "ProgressDeadlineExceeded")),
    );
    assert_eq!(phase(&shown(&facts), false), Phase::Degraded);
}

#[test]
fn a_crash_loop_is_reported_with_pod_and_reason() {
    let mut facts = facts();
    facts.failing.push(FailingPod {
        pod: "demo-route-x".to_owned(),
        role: Role::ROUTE,
        reason: "CrashLoopBackOff".to_owned(),
        message: "exit code 64".to_owned(),
    });
    let message = check(&facts, "Degraded", Some(("True", "PodCrashLoop")));
    assert_eq!(message, "pod demo-route-x: CrashLoopBackOff: exit code 64");
    check(&facts, "Ready", Some(("True", "Ready")));
}

#[test]
fn what_stops_pods_from_being_made_is_told_at_once() {
    let mut facts = facts();
    let quota = "pods \"demo-db-proxy-0\" is forbidden: exceeded quota: none, limited: pods=0";
    facts.roles[0].rolled_out = false;
    facts.roles[0].observed.ready = 0;
    facts.roles[0].observed.failure = Some(quota.to_owned());
    let message = check(&facts, "Degraded", Some(("True", "QuotaExceeded")));
    assert_eq!(message, format!("no dbProxy pod can be made: {quota}"));
    let message = check(&facts, "Progressing", Some(("True", "Scaling")));
    assert!(message.contains(quota), "{message}");
    facts.roles[0].observed.failure = Some("admission webhook \"x\" denied it".to_owned());
    check(&facts, "Degraded", Some(("True", "PodsNotCreated")));
}

#[test]
fn what_cannot_be_written_for_a_while_is_told_and_stalls_nothing() {
    let mut facts = facts();
    facts.unwritten = Some("apply Service demo-msg: webhook: connection refused".to_owned());
    let message = check(&facts, "Degraded", Some(("True", "ApplyFailed")));
    assert!(message.contains("Service demo-msg"), "{message}");
    check(&facts, "Stalled", None);
    check(&facts, "Ready", Some(("True", "Ready")));
}

#[test]
fn foreign_objects_and_refusals_stall() {
    let mut facts = facts();
    facts.refusals.push((
        "QuotaExceeded",
        "apply Service demo-msg: exceeded quota".to_owned(),
    ));
    check(&facts, "Stalled", Some(("True", "QuotaExceeded")));
    facts.conflicts.push("Service demo-login".to_owned());
    let message = check(&facts, "Stalled", Some(("True", "Conflict")));
    assert!(message.contains("Service demo-login"), "{message}");
    check(&facts, "Ready", Some(("False", "Conflict")));
    assert_eq!(phase(&shown(&facts), false), Phase::Failed);
}

#[test]
fn without_pods_or_without_assignable_msg_it_is_not_available() {
    let mut facts = facts();
    facts.roles[1].observed.ready = 0;
    let message = check(&facts, "Available", Some(("False", "RoleUnavailable")));
    assert_eq!(message, "No pod is ready of: route");
    facts.roles[1].observed.ready = 2;
    facts.assignable = 0;
    check(&facts, "Ready", Some(("False", "RoleUnavailable")));
}

#[test]
fn the_database_says_what_it_lacks() {
    let mut facts = facts();
    facts.database = Database::StorageClassMissing;
    check(
        &facts,
        "DatabaseReady",
        Some(("False", "StorageClassMissing")),
    );
    facts.data_is_durable = false;
    check(&facts, "DataNotDurable", Some(("True", "EphemeralStorage")));
}

#[test]
fn a_database_on_a_server_is_named_with_what_the_pods_say_of_it() {
    let ended = |pod: &str, said: &str| FailingPod {
        pod: pod.to_owned(),
        role: Role::DB_PROXY,
        reason: "CrashLoopBackOff".to_owned(),
        message: format!("last end: Error, exit code 1: {said}"),
    };
    let mut facts = facts();
    facts.on_server = Some("im on db.example.com:3306".to_owned());
    let serves = "dbProxy serves the database im on db.example.com:3306";
    let message = check(&facts, "DatabaseReady", Some(("True", "MySQL")));
    assert_eq!(message, serves);
    facts.failing.push(ended("demo-db-proxy-1", "no TLS"));
    let message = check(&facts, "DatabaseReady", Some(("True", "MySQL")));
    let of_second = "pod demo-db-proxy-1: CrashLoopBackOff: last end: Error, exit code 1: no TLS";
    assert_eq!(message, format!("{serves}; {of_second}"));

    let not = "the database im on db.example.com:3306 is not served: ";
    facts.database = Database::Starting;
    facts.failing.push(ended("demo-db-proxy-0", "log in"));
    let message = check(&facts, "DatabaseReady", Some(("False", "DbProxyFails")));
    let of_first = "pod demo-db-proxy-0: CrashLoopBackOff: last end: Error, exit code 1: log in";
    assert_eq!(message, format!("{not}{of_second}; {of_first}"));
    facts.failing.clear();
    let message = check(&facts, "DatabaseReady", Some(("False", "Starting")));
    assert_eq!(message, format!("{not}1 dbProxy pods exist, none is ready"));
    // Other roles have nothing to say of it.
    facts.failing.push(FailingPod {
        role: Role::ROUTE,
        ..ended("demo-route-x", "x")
    });
    check(&facts, "DatabaseReady", Some(("False", "Starting")));
}

#[test]
fn a_scale_in_that_waits_says_why_and_makes_nothing_worse() {
    let mut facts = facts();
    check(&facts, "ScalingLimited", None);
    let limit = |facts: &mut Facts, limit| {
        let msg = facts.msg.as_mut().unwrap();
        msg.limit = Some(limit);
    };
    limit(&mut facts, ScaleInLimit::TooFull { rest: 2 });
    let message = check(
        &facts,
        "ScalingLimited",
        Some(("True", "TooManyConnections")),
    );
    assert!(
        message.contains("2 would be filled beyond 85 %"),
        "{message}"
    );
    limit(&mut facts, ScaleInLimit::LoadUnknown);
    check(&facts, "ScalingLimited", Some(("True", "LoadUnknown")));
    check(&facts, "Ready", Some(("True", "Ready")));
    check(&facts, "Degraded", Some(("False", "AsExpected")));
}

#[test]
fn unread_load_is_unknown_and_silent_pods_are_named() {
    let mut facts = facts();
    facts.load.silent.push("demo-msg-a".to_owned());
    let message = check(
        &facts,
        "LoadReportsFresh",
        Some(("False", "ReportsMissing")),
    );
    assert!(message.contains("demo-msg-a"), "{message}");
    check(&facts, "LoadKnown", Some(("True", "Read")));
    facts.load.knowledge = Knowledge::NotYet;
    check(&facts, "LoadReportsFresh", Some(("Unknown", "NotReadYet")));
    check(&facts, "LoadKnown", Some(("Unknown", "NotReadYet")));
}

#[test]
fn an_operator_that_reaches_no_login_server_says_that_and_nothing_worse() {
    let mut facts = facts();
    facts.load.knowledge = Knowledge::Unknown;
    facts.load.connections = None;
    check(&facts, "LoadKnown", Some(("False", "NoAnswer")));
    check(&facts, "LoadReportsFresh", Some(("Unknown", "LoadUnknown")));
    check(&facts, "Ready", Some(("True", "Ready")));
    check(&facts, "Degraded", Some(("False", "AsExpected")));
    assert_eq!(phase(&shown(&facts), false), Phase::Running);
}

#[test]
fn times_change_with_the_status_only() {
    let facts = facts();
    let before = shown(&facts);
    let later = dated(of_facts(&facts), &before, Some(8), at(500));
    for (old, new) in before.iter().zip(&later) {
        assert_eq!(
            old.last_transition_time, new.last_transition_time,
            "{}",
            new.type_
        );
        assert_eq!(new.observed_generation, Some(8));
    }
    let mut changed = facts.clone();
    changed.assignable = 0;
    let later = dated(of_facts(&changed), &before, Some(8), at(500));
    let ready = later.iter().find(|it| it.type_ == "Ready").unwrap();
    assert_eq!(ready.last_transition_time, Time(at(500)));
}

#[test]
fn a_paused_cluster_says_so_and_does_not_reconcile() {
    let mut facts = facts();
    facts.paused = true;
    facts.roles[3].rolled_out = false;
    check(&facts, "Paused", Some(("True", "AsRequested")));
    check(&facts, "Reconciling", None);
    assert_eq!(phase(&shown(&facts), true), Phase::Paused);
}
