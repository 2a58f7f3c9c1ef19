//! Every object of some manifests, as files to look at. `IM_UPDATE=1` writes them.

use std::path::Path;

use im_operator_api::testing::manifests;
use im_operator_plan::{build, slots};
use serde::Serialize;

use crate::support::{built, owner, read, validate};

const SHOWN: [&str; 6] = [
    "minimal",
    "ephemeral",
    "node-port",
    "load-balancer",
    "all-fields",
    "older-servers",
];

fn yaml(text: &mut String, object: &impl Serialize) {
    text.push_str("---\n");
    text.push_str(&serde_saphyr::to_string(object).unwrap());
}

#[test]
fn the_objects_of_each_manifest_are_those_of_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for manifest in manifests("good").unwrap() {
        if !SHOWN.contains(&manifest.name.as_str()) {
            continue;
        }
        let cluster = validate(&read(&manifest)).unwrap();
        let desired = built(&cluster);
        let mut text = String::new();
        for planned in &desired.children {
            text.push_str(&format!("# stage: {:?}\n", planned.stage));
            yaml(&mut text, &planned.child.to_json().unwrap());
        }
        text.push_str("# made by the msg planner\n");
        let replicas = cluster.spec.roles.msg.replicas;
        yaml(
            &mut text,
            &build::msg_replica_set(&cluster, &owner(), &desired.msg, replicas),
        );
        yaml(&mut text, &slots::service(&cluster, &owner(), 0, true));
        yaml(&mut text, &slots::service(&cluster, &owner(), 1, false));
        let file = folder.join(format!("{}.yaml", manifest.name));
        if std::env::var_os("IM_UPDATE").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        let present = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            present == text,
            "{} differs; IM_UPDATE=1 cargo test -p im-operator-plan writes it",
            file.display()
        );
    }
}
