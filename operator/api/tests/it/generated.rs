//! Files that are generated from the types. `IM_UPDATE=1` writes them.

use std::path::{Path, PathBuf};

use im_operator_api::{crd, reference};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn check(path: &str, expected: &str) {
    let path = root().join(path);
    if std::env::var_os("IM_UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, expected).unwrap();
    }
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        present == expected,
        "{} is not what the types say; IM_UPDATE=1 cargo test -p im-operator-api writes it",
        path.display()
    );
}

#[test]
fn the_definition_in_the_tree_is_that_of_the_types() {
    let yaml = serde_saphyr::to_string(&crd()).unwrap();
    // What `kubectl apply` without --server-side would keep of it in an annotation.
    let kept = serde_json::to_string(&crd()).unwrap();
    assert!(kept.len() < 256 << 10, "{} bytes", kept.len());
    check("crds/imclusters.imcluster.io.yaml", &yaml);
}

#[test]
fn the_reference_in_the_tree_is_that_of_the_types() {
    check("docs/reference/imcluster.md", &reference());
}

#[test]
fn the_definition_survives_its_file() {
    let yaml = serde_saphyr::to_string(&crd()).unwrap();
    let read: Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(read, serde_json::to_value(crd()).unwrap());
}

#[test]
fn every_field_of_ours_is_bounded_and_described_and_none_takes_null() {
    let crd = serde_json::to_value(crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut errors = Vec::new();
    walk(&schema["properties"]["spec"], "spec", &mut errors);
    assert!(errors.is_empty(), "{errors:#?}");
    assert!(!schema.to_string().contains("nullable"));
}

fn walk(node: &Value, path: &str, errors: &mut Vec<String>) {
    // What Kubernetes defines has the bounds that Kubernetes gives it.
    let foreign = [
        ".tolerations",
        ".topologySpreadConstraints",
        ".extraEgress",
        "Selector",
    ];
    let mut need = |holds: bool, what: &str| {
        if !holds {
            errors.push(format!("{path}: {what}"));
        }
    };
    let has = |key: &str| !node[key].is_null();
    need(has("description") || path.ends_with("[]"), "no description");
    match node["type"].as_str() {
        Some("string") => need(has("maxLength") || has("enum"), "text without bound"),
        Some("array") => need(has("maxItems"), "list without bound"),
        Some("integer") => need(has("minimum") && has("maximum"), "number without bounds"),
        Some("object") if has("additionalProperties") => {
            need(has("maxProperties"), "map without bound");
        }
        Some("object" | "boolean") => {}
        other => need(false, &format!("type {other:?}")),
    }
    if foreign.iter().any(|end| path.ends_with(end)) {
        return;
    }
    for (name, field) in node["properties"].as_object().into_iter().flatten() {
        walk(field, &format!("{path}.{name}"), errors);
    }
    if has("items") {
        walk(&node["items"], &format!("{path}[]"), errors);
    }
}

#[test]
fn the_shape_of_the_definition_is_the_documented_one() {
    let crd = serde_json::to_value(crd()).unwrap();
    let spec = &crd["spec"];
    assert_eq!(spec["names"]["plural"], "imclusters");
    assert_eq!(spec["names"]["shortNames"], serde_json::json!(["imc"]));
    assert_eq!(spec["names"]["categories"], serde_json::json!(["im"]));
    assert_eq!(spec["scope"], "Namespaced");
    let version = &spec["versions"][0];
    let scale = &version["subresources"]["scale"];
    assert_eq!(scale["specReplicasPath"], ".spec.roles.msg.replicas");
    assert_eq!(scale["statusReplicasPath"], ".status.roles.msg.replicas");
    assert_eq!(scale["labelSelectorPath"], ".status.selector");
    // Without these, /scale fails for the smallest manifest.
    let fields = &version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    assert_eq!(fields["roles"]["default"], serde_json::json!({}));
    let roles = &fields["roles"]["properties"];
    assert_eq!(roles["msg"]["default"], serde_json::json!({}));
    assert_eq!(roles["msg"]["properties"]["replicas"]["default"], 3);
    let status = &version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
    assert_eq!(
        status["conditions"]["x-kubernetes-list-map-keys"][0],
        "type"
    );
    let columns = version["additionalPrinterColumns"].as_array().unwrap();
    let names: Vec<_> = columns
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names[..7],
        ["Ready", "Phase", "Version", "Msg", "Conns", "Load%", "Age"]
    );
    let hash = crd["metadata"]["annotations"]["imcluster.io/schema-hash"].as_str();
    assert_eq!(hash.unwrap().len(), 16);
}
