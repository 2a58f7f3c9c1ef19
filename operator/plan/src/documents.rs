//! The documents of a manifest, judged without a cluster.

use im_operator_api::{ImCluster, SpecError, manifest};
use serde_json::Value;

use crate::{Settings, validate};

/// What is wrong with the ImClusters among some documents, a line each, which begins with the name of the
/// ImCluster; other objects are passed over. `None` where there is no ImCluster.
pub fn wrong(documents: Vec<Value>, settings: &Settings) -> Option<Vec<String>> {
    let mut lines = None;
    for document in documents {
        if document.get("kind").and_then(Value::as_str) != Some("ImCluster") {
            continue;
        }
        let name = document.pointer("/metadata/name").and_then(Value::as_str);
        let name = name.unwrap_or("?").to_owned();
        let mut errors = manifest::wrong(&document);
        match serde_json::from_value::<ImCluster>(document) {
            Ok(mut cluster) => {
                cluster
                    .metadata
                    .namespace
                    .get_or_insert_with(|| "default".to_owned());
                let judged = validate::validate(&cluster, settings);
                errors.extend(judged.err().unwrap_or_default());
            }
            Err(error) if errors.is_empty() => {
                errors.push(SpecError::new("spec", error.to_string()));
            }
            Err(_) => {}
        }
        let lines = lines.get_or_insert_with(Vec::new);
        lines.extend(errors.iter().map(|error| format!("{name}: {error}")));
    }
    lines
}
