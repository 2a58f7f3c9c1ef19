//! The health rule for Argo CD says what the operator says.

use im_operator_api::condition;

/// No Lua is run here: what is checked is that every name in it is one of ours.
#[test]
fn the_health_rule_reads_conditions_that_the_operator_writes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/argo-cd/health.lua");
    let text = std::fs::read_to_string(path).unwrap();
    let ours = [
        condition::STALLED,
        condition::PAUSED,
        condition::RECONCILING,
        condition::READY,
    ];
    let mut asked = Vec::new();
    for part in text.split("holds(\"").skip(1) {
        asked.push(part.split('"').next().unwrap());
    }
    // In this order: what needs a person comes before what passes.
    assert_eq!(asked, ours);
    for part in text.split("found[\"").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(ours.contains(&name), "{name}");
    }
    assert!(text.contains("status.observedGeneration ~= obj.metadata.generation"));
    for word in ["Progressing", "Degraded", "Suspended", "Healthy"] {
        assert!(text.contains(&format!("health.status = \"{word}\"")) || word == "Progressing");
    }
}
