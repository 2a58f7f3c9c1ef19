//! `validate`: judges a manifest, without a cluster or with the API server too.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use im_operator_plan::{Settings, documents};
use serde_json::{Value, json};

use crate::access::{Access, code, said};
use crate::cli::{Format, Global, ValidateArgs};
use crate::output::{Outcome, complain, print};

/// Judges it.
pub(crate) async fn run(global: &Global, args: &ValidateArgs) -> anyhow::Result<Outcome> {
    let text = read(&args.file)?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).context("the file is no YAML")?;
    let settings = Settings {
        node_access: args.node_access,
        ..Settings::default()
    };
    let wrong = documents::wrong(documents.clone(), &settings);
    let mut wrong = wrong.context("there is no ImCluster in the file")?;
    if args.server {
        let access = Access::connect(global).await?;
        wrong.extend(by_server(&access, documents, global.namespace.is_some()).await?);
    }
    match args.output {
        Format::Json => {
            let verdict = json!({"valid": wrong.is_empty(), "errors": wrong});
            print(&(serde_json::to_string_pretty(&verdict)? + "\n"))?;
        }
        Format::Table => {
            for line in &wrong {
                complain(line);
            }
        }
    }
    Ok(if wrong.is_empty() {
        Outcome::Done
    } else {
        Outcome::NotSo
    })
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        read.context("read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}

/// What the API server refuses. An object goes into its own namespace, unless another one is `forced`.
async fn by_server(
    access: &Access,
    documents: Vec<Value>,
    forced: bool,
) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    for mut document in documents {
        if document.get("kind").and_then(Value::as_str) != Some("ImCluster") {
            continue;
        }
        let of = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
        let name = of("/metadata/name").unwrap_or_default().to_owned();
        let namespace = of("/metadata/namespace").map(str::to_owned);
        let place = match namespace {
            Some(namespace) if forced && namespace != access.namespace => {
                lines.push(format!(
                    "{name}: metadata.namespace is {namespace}, and -n says {}",
                    access.namespace
                ));
                continue;
            }
            Some(namespace) => access.in_namespace(&namespace)?,
            None => access.clone(),
        };
        if let Some(fields) = document.as_object_mut() {
            fields.remove("status");
        }
        match place.dry_run(&place.cluster_path(&name)?, &document).await {
            Ok(_) => {}
            // What it says of the object, and not of the caller.
            Err(error) if matches!(code(&error), Some(400 | 422)) => {
                lines.push(format!("{name}: {}", said(&error)));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, refusal};

    fn document() -> Value {
        json!({"apiVersion": "imcluster.io/v1alpha1", "kind": "ImCluster",
            "metadata": {"name": "demo", "namespace": "other"}, "spec": {}, "status": {"a": 1}})
    }

    #[tokio::test]
    async fn the_api_server_is_asked_by_a_dry_run_and_its_answer_is_a_line() {
        let (access, log) = testing::server(|_| refusal(422, "roles.dbProxy.replicas must be 1"));
        let two = vec![json!({"kind": "Namespace"}), document()];
        let lines = by_server(&access, two, false).await.unwrap();
        assert_eq!(lines, ["demo: roles.dbProxy.replicas must be 1"]);
        let asked = log.take();
        assert_eq!(asked.len(), 1);
        let path = "/apis/imcluster.io/v1alpha1/namespaces/other/imclusters/demo";
        assert_eq!(asked[0].path, path);
        assert!(asked[0].query.contains("dryRun=All"), "{}", asked[0].query);
        assert_eq!(asked[0].body.get("status"), None);
    }

    #[tokio::test]
    async fn what_concerns_the_caller_is_an_error_and_another_namespace_a_line() {
        let (access, _) = testing::server(|_| refusal(403, "Forbidden"));
        assert!(by_server(&access, vec![document()], false).await.is_err());
        let lines = by_server(&access, vec![document()], true).await.unwrap();
        assert_eq!(
            lines,
            ["demo: metadata.namespace is other, and -n says chat"]
        );
    }
}
