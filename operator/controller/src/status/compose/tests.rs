use super::*;
use crate::status::conditions::tests::facts;
use crate::status::write::differs;
use im_operator_api::Phase;
use im_operator_plan::SpecError;
use jiff::Timestamp;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

#[test]
fn an_idle_cluster_has_nothing_new_to_say() {
    let mut facts = facts();
    facts.load.connections = Some(41_234);
    let first = status(&facts, &ImClusterStatus::default());
    facts.now = at(900);
    facts.load.read_at = Some(at(900));
    facts.load.connections = Some(41_300);
    let second = status(&facts, &first);
    assert!(!differs(&second, &first), "{second:?}");
    assert_eq!(second.conditions, first.conditions);
    facts.load.connections = Some(42_300);
    assert!(differs(&status(&facts, &second), &second));
}

#[test]
fn load_is_shown_to_two_digits_and_unknown_load_is_absent() {
    let mut facts = facts();
    facts.load.capacity = 60_000;
    facts.load.connections = Some(41_234);
    let msg = status(&facts, &ImClusterStatus::default())
        .roles
        .unwrap()
        .msg
        .unwrap();
    assert_eq!(
        (msg.connections, msg.utilization_percent),
        (Some(41_000), Some(68))
    );
    facts.load.connections = None;
    let msg = status(&facts, &ImClusterStatus::default())
        .roles
        .unwrap()
        .msg
        .unwrap();
    assert_eq!((msg.connections, msg.utilization_percent), (None, None));
}

#[test]
fn the_version_changes_when_every_role_runs_it() {
    let mut facts = facts();
    let before = status(&facts, &ImClusterStatus::default());
    assert_eq!(before.version.as_deref(), Some("1.0.0"));
    facts.version = "1.1.0".to_owned();
    facts.roles[3].rolled_out = false;
    let during = status(&facts, &before);
    assert_eq!(during.version.as_deref(), Some("1.0.0"));
    facts.roles[3].rolled_out = true;
    assert_eq!(status(&facts, &during).version.as_deref(), Some("1.1.0"));
}

#[test]
fn a_bad_specification_changes_only_what_says_so() {
    let before = status(&facts(), &ImClusterStatus::default());
    let bad = Invalid {
        now: at(500),
        generation: Some(8),
        operator_version: "0.1.0".to_owned(),
        errors: vec![SpecError {
            field: "spec.version".to_owned(),
            message: "must be MAJOR.MINOR.PATCH".to_owned(),
        }],
    };
    let after = invalid(&bad, &before);
    assert_eq!(after.observed_generation, Some(8));
    assert_eq!(after.phase, Some(Phase::Failed));
    assert_eq!(after.roles, before.roles);
    let stalled = after
        .conditions
        .iter()
        .find(|it| it.type_ == "Stalled")
        .unwrap();
    assert_eq!(stalled.reason, "InvalidSpec");
    assert_eq!(stalled.message, "spec.version: must be MAJOR.MINOR.PATCH");
    let unchanged = |kind: &str| {
        let find = |status: &ImClusterStatus| {
            status
                .conditions
                .iter()
                .find(|it| it.type_ == kind)
                .cloned()
        };
        assert_eq!(find(&after), find(&before), "{kind}");
    };
    unchanged("Available");
    unchanged("DatabaseReady");
    let healed = status(&facts(), &after);
    assert!(healed.conditions.iter().all(|it| it.type_ != "Stalled"));
}
