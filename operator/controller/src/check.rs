//! `im-operator validate`: judges a manifest without a cluster.

use std::io::Read;

use anyhow::Context;
use im_operator_api::ImCluster;
use im_operator_plan::{Settings, validate};

use crate::cli::ValidateArgs;

/// What is wrong with the ImClusters of a file, a line each; other objects in it are passed over.
pub(crate) fn check(args: &ValidateArgs) -> anyhow::Result<Vec<String>> {
    let text = if args.file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("read standard input")?;
        text
    } else {
        std::fs::read_to_string(&args.file)
            .with_context(|| format!("read {}", args.file.display()))?
    };
    let settings = Settings {
        node_access: args.node_access,
        ..Settings::default()
    };
    wrong(&text, &settings)
}

fn wrong(text: &str, settings: &Settings) -> anyhow::Result<Vec<String>> {
    let documents: Vec<serde_json::Value> =
        serde_saphyr::from_multiple(text).context("the file is no YAML")?;
    let mut lines = Vec::new();
    let mut clusters = 0;
    for document in documents {
        let word = |key: &str| document.get(key).and_then(serde_json::Value::as_str);
        if word("kind") != Some("ImCluster") {
            continue;
        }
        clusters += 1;
        let name = document
            .pointer("/metadata/name")
            .and_then(serde_json::Value::as_str);
        let name = name.unwrap_or("?").to_owned();
        if word("apiVersion") != Some("imcluster.io/v1alpha1") {
            lines.push(format!("{name}: apiVersion: must be imcluster.io/v1alpha1"));
            continue;
        }
        let unknown = unknown_fields(&document);
        lines.extend(
            unknown
                .iter()
                .map(|field| format!("{name}: {field}: unknown field")),
        );
        match serde_json::from_value::<ImCluster>(document) {
            Ok(mut cluster) => {
                cluster
                    .metadata
                    .namespace
                    .get_or_insert_with(|| "default".to_owned());
                if let Err(errors) = validate::validate(&cluster, settings) {
                    lines.extend(errors.iter().map(|error| format!("{name}: {error}")));
                }
            }
            Err(error) => lines.push(format!("{name}: {error}")),
        }
    }
    anyhow::ensure!(clusters > 0, "there is no ImCluster in the file");
    Ok(lines)
}

/// Fields of the specification that the definition does not know; the API server drops them or
/// refuses.
fn unknown_fields(document: &serde_json::Value) -> Vec<String> {
    let definition = serde_json::to_value(im_operator_api::crd()).unwrap_or_default();
    let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec");
    let mut found = Vec::new();
    if let (Some(schema), Some(spec)) = (schema, document.get("spec")) {
        collect(spec, schema, "spec", &mut found);
    }
    found
}

fn collect(
    value: &serde_json::Value,
    schema: &serde_json::Value,
    path: &str,
    found: &mut Vec<String>,
) {
    use serde_json::Value;
    match value {
        Value::Object(fields) => {
            let free =
                schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
            let known = schema.get("properties");
            let others = schema
                .get("additionalProperties")
                .filter(|it| it.is_object());
            for (key, value) in fields {
                let path = format!("{path}.{key}");
                match known.and_then(|known| known.get(key)).or(others) {
                    Some(schema) => collect(value, schema, &path, found),
                    None if free || known.is_none() => {}
                    None => found.push(path),
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    collect(item, schema, &format!("{path}[{index}]"), found);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &str, expected: &[&str]) {
        let text = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: chat}}\n---\n\
             apiVersion: imcluster.io/v1alpha1\nkind: ImCluster\nmetadata: {{name: demo}}\nspec: {spec}\n"
        );
        let lines = wrong(&text, &Settings::default()).unwrap();
        assert_eq!(lines.len(), expected.len(), "{lines:?}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.contains(expected), "{line} lacks {expected}");
        }
    }

    #[test]
    fn every_error_names_its_field() {
        check("{version: 1.2.3}", &[]);
        check(
            "{version: 1.2.3, roles: {msg: {replicaz: 3}}}",
            &["spec.roles.msg.replicaz: unknown"],
        );
        check(
            "{version: 1.2.3, roles: {msg: {config: {nonsense.key: '1'}}}}",
            &["nonsense.key"],
        );
        check("{version: latest}", &["spec.version"]);
    }

    #[test]
    fn a_file_without_imcluster_is_an_error() {
        let error = wrong("kind: ConfigMap\n", &Settings::default()).unwrap_err();
        assert!(error.to_string().contains("no ImCluster"), "{error}");
    }
}
