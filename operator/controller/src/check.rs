//! `im-operator validate`: judges a manifest without a cluster.

use std::io::Read;

use anyhow::Context;
use im_operator_plan::{Settings, documents};

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
    documents::wrong(documents, settings).context("there is no ImCluster in the file")
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
