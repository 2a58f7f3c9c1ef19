//! The definition's chart holds the generated definition, and renders nothing else.

use serde_json::{Value, json};

use crate::helm::{helm, objects};
use crate::{compare, read, repository};

const FILE: &str = "imclusters.imcluster.io.yaml";

fn original() -> String {
    read(&repository("crds").join(FILE))
}

#[test]
fn the_chart_holds_the_generated_definition() {
    compare(&repository("charts/im-crds/files").join(FILE), &original());
}

fn rendered(flags: &[&str]) -> Value {
    let outcome = helm(["template", "im-crds", "im-crds"].iter().chain(flags));
    assert!(outcome.success, "{}", outcome.complaint);
    let mut objects = objects(&outcome.out);
    assert_eq!(objects.len(), 1);
    objects.remove(0)
}

/// Takes away what the chart adds, and says whether Helm is told to keep the definition.
fn without_additions(definition: &mut Value) -> bool {
    let metadata = definition["metadata"].as_object_mut().expect("metadata");
    let labels = metadata.get_mut("labels").and_then(Value::as_object_mut);
    let labels = labels.expect("labels");
    let chart = concat!("im-crds-", env!("CARGO_PKG_VERSION"));
    assert_eq!(labels.remove("helm.sh/chart"), Some(json!(chart)));
    assert_eq!(
        labels.remove("app.kubernetes.io/managed-by"),
        Some(json!("Helm"))
    );
    if labels.is_empty() {
        metadata.remove("labels");
    }
    let annotations = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut);
    let Some(annotations) = annotations else {
        return false;
    };
    let kept = annotations.remove("helm.sh/resource-policy");
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    kept == Some(json!("keep"))
}

/// Where two values differ first, with both.
fn difference(one: &Value, other: &Value) -> Option<String> {
    let below = |key: &str, one: &Value, other: &Value| {
        difference(one, other).map(|rest| format!("/{key}{rest}"))
    };
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => a
            .keys()
            .chain(b.keys().filter(|key| !a.contains_key(*key)))
            .find_map(|key| below(key, &one[key], &other[key])),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => (a.iter().zip(b).enumerate())
            .find_map(|(index, (one, other))| below(&index.to_string(), one, other)),
        _ => (one != other).then(|| format!(": {one} instead of {other}")),
    }
}

#[test]
fn a_difference_is_found_and_named() {
    let one = json!({"a": [1, {"b": 2}], "c": 3});
    assert_eq!(difference(&one, &one), None);
    let named = |other: Value| difference(&one, &other).expect("a difference");
    let other = json!({"a": [1, {"b": 4}], "c": 3});
    assert_eq!(named(other), "/a/1/b: 2 instead of 4");
    let other = json!({"a": [1, {"b": 2}]});
    assert_eq!(named(other), "/c: 3 instead of null");
    let other = json!({"a": [1, {"b": 2}], "c": 3, "d": 5});
    assert_eq!(named(other), "/d: null instead of 5");
}

#[test]
fn the_definition_is_rendered_unchanged_and_kept_unless_told_otherwise() {
    let original = objects(&original()).remove(0);
    for (flags, kept) in [(&[][..], true), (&["--set", "keep=false"], false)] {
        let mut definition = rendered(flags);
        assert_eq!(without_additions(&mut definition), kept, "{flags:?}");
        assert_eq!(difference(&definition, &original), None, "{flags:?}");
    }
}

#[test]
fn labels_and_annotations_of_the_values_are_added() {
    let definition = rendered(&["--values", "im-crds/ci/labelled-values.yaml"]);
    let metadata = &definition["metadata"];
    assert_eq!(metadata["labels"]["team"], "chat");
    assert_eq!(metadata["annotations"]["example.com/owner"], "chat");
}
