//! Runs Helm without the caller's settings.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::{read, repository};

/// Outcome of a command.
pub(crate) struct Outcome {
    pub(crate) success: bool,
    pub(crate) out: String,
    pub(crate) complaint: String,
}

/// Runs Helm; it meets no cluster, no caches and no plugins.
pub(crate) fn helm<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(args: I) -> Outcome {
    let program = std::env::var_os("HELM").unwrap_or_else(|| "helm".into());
    let home = tempfile::tempdir().expect("make a folder");
    let mut command = Command::new(&program);
    command.args(args).current_dir(repository("charts"));
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, home.path());
    }
    command.env("KUBECONFIG", home.path().join("none"));
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "run {}: {error}; the variable HELM names the program",
            program.display()
        )
    });
    Outcome {
        success: output.status.success(),
        out: String::from_utf8(output.stdout).expect("text"),
        complaint: String::from_utf8(output.stderr).expect("text"),
    }
}

/// Renders a chart as release `demo` (the operator's as `im-operator`) in namespace `chat`. A first
/// line `# flags: …` of the values file gives more flags.
pub(crate) fn template(chart: &str, values: &Path) -> Outcome {
    let release = if chart == "im-cluster" { "demo" } else { chart };
    let text = read(values);
    let flags = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("# flags: "))
        .unwrap_or_default();
    let mut args = vec!["template", release, chart, "--namespace", "chat"];
    args.extend(["--kube-version", "1.36.0", "--values"]);
    args.push(values.to_str().expect("text"));
    args.extend(flags.split_whitespace());
    helm(args)
}

/// The objects of a rendered text. Helm prints 10.0 as 10, so whole numbers are all integers here.
pub(crate) fn objects(text: &str) -> Vec<Value> {
    let mut objects: Vec<Value> = serde_saphyr::from_multiple(text).expect("read YAML");
    objects.iter_mut().for_each(make_integers);
    objects
        .into_iter()
        .filter(|object| !object.is_null())
        .collect()
}

/// Makes integers of numbers without a fraction.
fn make_integers(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(make_integers),
        Value::Array(list) => list.iter_mut().for_each(make_integers),
        Value::Number(number) if number.is_f64() => {
            let text = number.to_string();
            let whole = text
                .strip_suffix(".0")
                .and_then(|text| text.parse::<i64>().ok());
            if let Some(whole) = whole {
                *value = whole.into();
            }
        }
        _ => {}
    }
}
