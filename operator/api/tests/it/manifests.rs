//! Manifests that must be accepted or refused; the same files are tried on a real API server.

use im_operator_api::testing::manifests;
use im_operator_api::{ImCluster, crd};
use serde::Deserialize;
use serde_json::Value;

use crate::schema::{By, judge, with_defaults};

fn schema() -> Value {
    let crd = serde_json::to_value(crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

struct File {
    name: String,
    expect: String,
    by: String,
    documents: Vec<Value>,
}

fn all(folder: &str) -> Vec<File> {
    let files = manifests(folder).unwrap().into_iter().map(|file| File {
        documents: file
            .documents
            .iter()
            .map(|text| serde_saphyr::from_str(text).unwrap())
            .collect(),
        name: file.name,
        expect: file.expect,
        by: file.by,
    });
    let files: Vec<File> = files.collect();
    assert!(!files.is_empty(), "{folder}");
    files
}

#[test]
fn good_manifests_are_accepted() {
    let schema = schema();
    for file in all("good") {
        let found = judge(&schema, &file.documents[0], None);
        assert!(found.is_empty(), "{}: {found:?}", file.name);
        ImCluster::deserialize(&file.documents[0]).unwrap();
    }
}

#[test]
fn good_updates_are_accepted() {
    let schema = schema();
    for file in all("good-updates") {
        let found = judge(&schema, &file.documents[1], Some(&file.documents[0]));
        assert!(found.is_empty(), "{}: {found:?}", file.name);
    }
}

#[test]
fn bad_manifests_are_refused_for_the_stated_reason() {
    let schema = schema();
    for file in all("bad") {
        let found = judge(&schema, &file.documents[0], None);
        let by = match file.by.as_str() {
            "schema" => By::Schema,
            "cel" => By::Cel,
            "validate" => {
                assert!(found.is_empty(), "{}: {found:?}", file.name);
                ImCluster::deserialize(&file.documents[0]).unwrap();
                continue;
            }
            other => panic!("{}: by {other:?}", file.name),
        };
        let stated = found
            .iter()
            .any(|(of, text)| *of == by && text.contains(&file.expect));
        assert!(
            stated && !file.expect.is_empty(),
            "{}: {found:?}",
            file.name
        );
    }
}

#[test]
fn bad_updates_are_refused_for_the_stated_reason() {
    let schema = schema();
    for file in all("bad-updates") {
        let [old, new] = &file.documents[..] else {
            panic!("{}: two manifests", file.name);
        };
        for one in [old, new] {
            let found = judge(&schema, one, None);
            assert!(
                found.is_empty(),
                "{}: each alone is good: {found:?}",
                file.name
            );
        }
        let found = judge(&schema, new, Some(old));
        let stated = found
            .iter()
            .any(|(by, text)| *by == By::Cel && text.contains(&file.expect));
        assert!(
            stated && !file.expect.is_empty(),
            "{}: {found:?}",
            file.name
        );
    }
}

#[test]
fn every_rule_refuses_something() {
    let mut messages = Vec::new();
    rules(&schema(), &mut messages);
    assert!(messages.len() >= 15, "{messages:?}");
    let expected: Vec<_> = all("bad").into_iter().chain(all("bad-updates")).collect();
    for message in &messages {
        let tried = expected.iter().any(|file| {
            (file.by == "cel" || file.documents.len() == 2) && message.contains(&file.expect)
        });
        assert!(tried, "no manifest breaks the rule {message:?}");
    }
    // Rules can only be broken where they are looked at: one manifest must have every field.
    assert!(expected.len() >= 60, "{} bad manifests", expected.len());
}

fn rules(node: &Value, messages: &mut Vec<String>) {
    match node {
        Value::Object(fields) => {
            for rule in fields
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                messages.push(rule["message"].as_str().unwrap().to_owned());
            }
            fields.values().for_each(|field| rules(field, messages));
        }
        Value::Array(items) => items.iter().for_each(|item| rules(item, messages)),
        _ => {}
    }
}

#[test]
fn defaults_of_the_schema_are_those_of_the_types() {
    let good = all("good");
    let minimal = good.iter().find(|file| file.name == "minimal").unwrap();
    let filled = with_defaults(&schema(), &minimal.documents[0]);
    let typed = ImCluster::deserialize(&minimal.documents[0]).unwrap();
    let typed = serde_json::to_value(&typed.spec).unwrap();
    assert_eq!(filled["spec"], typed);
}
