//! What of an installation waits for what.

use im_operator_plan::{Role, Stage};
use serde_json::json;

use crate::support::{built, resolve};

#[test]
fn all_but_what_several_roles_need_and_services_for_clients_waits_for_its_role() {
    let desired = built(&resolve(json!({})));
    let mut base = Vec::new();
    for planned in &desired.children {
        let child = &planned.child;
        match planned.stage {
            Stage::Base => base.push(format!("{} {}", child.kind(), child.name())),
            Stage::Of(role) => {
                let labels = child.metadata().labels.as_ref().unwrap();
                assert_eq!(labels["app.kubernetes.io/component"], role.name());
            }
        }
    }
    let expected = [
        "Role demo-discovery",
        "RoleBinding demo-discovery",
        "Service demo-login",
        "NetworkPolicy demo-default-deny",
    ];
    assert_eq!(base, expected);
}

/// Its pods are denied everything before they are let do anything.
#[test]
fn the_policies_of_a_role_stand_before_its_workload() {
    let desired = built(&resolve(json!({})));
    let place = |kind: &str, name: &str| {
        let mut children = desired.children.iter().map(|planned| &planned.child);
        children.position(|child| child.kind() == kind && child.name() == name)
    };
    let deny = place("NetworkPolicy", "demo-default-deny").unwrap();
    for (role, kind) in [
        (Role::DB_PROXY, "StatefulSet"),
        (Role::ROUTE, "Deployment"),
        (Role::LOGIN, "Deployment"),
    ] {
        let name = format!("demo-{role}");
        let policy = place("NetworkPolicy", &name).unwrap();
        let workload = place(kind, &name).unwrap();
        assert!(deny < policy && policy < workload, "{role}");
    }
}
