//! The charts of a release: those of the tree with the images of the release, by digest.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

/// Repository and digest of each image, by program.
pub(crate) type Images = BTreeMap<String, (String, String)>;

/// What is replaced in the values of a chart: text of the tree, program, and the text of the release, where
/// `{repository}` and `{digest}` stand for those of the program's image.
const VALUES: [(&str, &str, &str, &str); 4] = [
    (
        "im-operator",
        "repository: imcluster/im-operator\n",
        "im-operator",
        "repository: {repository}\n",
    ),
    (
        "im-operator",
        "  digest: \"\"\n",
        "im-operator",
        "  digest: {digest}\n",
    ),
    (
        "im-operator",
        "repository: imcluster/imd\n",
        "imd",
        "repository: {repository}\n",
    ),
    (
        "im-cluster",
        "repository: imcluster/imd\n",
        "imd",
        "repository: {repository}\n",
    ),
];

/// Copies a chart into a folder and puts the images into it. What `spec.version` says chooses the servers'
/// image, so that has no digest in values; annotations of every chart name both, for mirrors.
///
/// # Errors
/// A file cannot be copied, or the values do not have what is to be replaced, once.
pub(crate) fn prepare(from: &Path, to: &Path, images: &Images) -> anyhow::Result<()> {
    copy(from, to)?;
    let name = from.file_name().and_then(|name| name.to_str());
    let name = name.context("a chart without a name")?;
    let path = to.join("values.yaml");
    let mut values = fs::read_to_string(&path)?;
    for (_, old, program, new) in VALUES.iter().filter(|(chart, ..)| *chart == name) {
        let found = values.matches(old).count();
        ensure!(
            found == 1,
            "{}: {old:?} is there {found} times, expected once",
            path.display()
        );
        let (repository, digest) = images
            .get(*program)
            .with_context(|| format!("there is no image of {program}"))?;
        let new = new.replace("{repository}", repository);
        values = values.replace(old, &new.replace("{digest}", digest));
    }
    fs::write(&path, values)?;
    let path = to.join("Chart.yaml");
    let mut chart = fs::read_to_string(&path)?;
    ensure!(
        !chart.contains("\nannotations:"),
        "{} has annotations already",
        path.display()
    );
    chart.push_str("annotations:\n");
    for (program, (repository, digest)) in images {
        chart.push_str(&format!(
            "  imcluster.io/image-{program}: {repository}@{digest}\n"
        ));
    }
    fs::write(path, chart)?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Images {
        let image = |program: &str, digit: &str| {
            let digest = format!("sha256:{}", digit.repeat(64));
            (
                program.to_owned(),
                (format!("example.com/im/{program}"), digest),
            )
        };
        Images::from([image("imd", "a"), image("im-operator", "b")])
    }

    #[test]
    fn charts_of_a_release_name_its_images_by_digest() {
        let charts = crate::steps::root().unwrap().join("charts");
        let folder = tempfile::tempdir().unwrap();
        let read = |chart: &str, file: &str| {
            let text = fs::read_to_string(folder.path().join(chart).join(file)).unwrap();
            serde_saphyr::from_str::<serde_json::Value>(&text).unwrap()
        };
        for chart in ["im-crds", "im-operator", "im-cluster"] {
            prepare(&charts.join(chart), &folder.path().join(chart), &images()).unwrap();
            let annotations = &read(chart, "Chart.yaml")["annotations"];
            let image = annotations["imcluster.io/image-imd"].as_str().unwrap();
            assert_eq!(
                image,
                format!("example.com/im/imd@sha256:{}", "a".repeat(64))
            );
        }
        let values = read("im-operator", "values.yaml");
        assert_eq!(values["image"]["repository"], "example.com/im/im-operator");
        let digest = values["image"]["digest"].as_str().unwrap();
        assert_eq!(digest, format!("sha256:{}", "b".repeat(64)));
        assert_eq!(
            values["servers"]["image"]["repository"],
            "example.com/im/imd"
        );
        let values = read("im-cluster", "values.yaml");
        assert_eq!(values["test"]["repository"], "example.com/im/imd");
        assert_eq!(values["spec"], serde_json::json!({}));
        assert!(folder.path().join("im-crds/templates/crds.yaml").is_file());
    }

    #[test]
    fn values_without_the_image_are_no_chart_of_a_release() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("im-operator");
        fs::create_dir(&from).unwrap();
        fs::write(from.join("values.yaml"), "image: {}\n").unwrap();
        let error = prepare(&from, &folder.path().join("out"), &images()).unwrap_err();
        assert!(error.to_string().contains("is there 0 times"), "{error}");
    }
}
