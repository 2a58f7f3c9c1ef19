//! The charts, installed from this checkout.

use anyhow::Context as _;
use im_e2e_kube::layout::workspace_root;
use im_e2e_kube::testing::{self, TestNamespace, helm};

/// Name of the release, of what it makes, and so of the operator's ServiceAccount and Lease.
pub(crate) const ACCOUNT: &str = "im-operator";

/// Installs the definition of the resource.
pub(crate) fn define() -> anyhow::Result<()> {
    let chart = chart("im-crds");
    let install = ["upgrade", "--install", "im-crds", &chart, "--wait"];
    helm(&[&install[..], &["--namespace", "default"]].concat()).map(drop)
}

/// Installs the operator for one namespace, with these values on top of its defaults.
pub(crate) fn install_operator(namespace: &TestNamespace, set: &[&str]) -> anyhow::Result<()> {
    let chart = chart("im-operator");
    let operator = testing::operator_image();
    let (repository, tag) = split(&operator)?;
    let values = [
        format!("image.repository={repository}"),
        format!("image.tag={tag}"),
        format!("servers.image.repository={}", servers()?.0),
    ];
    let mut args = vec!["install", ACCOUNT, &chart];
    for value in values.iter().map(String::as_str).chain(set.iter().copied()) {
        args.extend(["--set", value]);
    }
    namespace.helm(&args).map(drop)
}

/// Repository and version of the servers' image.
pub(crate) fn servers() -> anyhow::Result<(String, String)> {
    let image = testing::image();
    let (repository, tag) = split(&image)?;
    Ok((repository.to_owned(), tag.to_owned()))
}

fn split(image: &str) -> anyhow::Result<(&str, &str)> {
    let parts = image.rsplit_once(':');
    parts.with_context(|| format!("the image {image} has no tag"))
}

fn chart(name: &str) -> String {
    let folder = workspace_root().join("charts").join(name);
    folder.to_string_lossy().into_owned()
}
