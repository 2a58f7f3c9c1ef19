//! What a program is made of, as an SPDX 2.3 document.
//!
//! It says what `Cargo.lock` and the crates' manifests say, and the time of the commit: the same source
//! gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use cargo_metadata::{DependencyKind, Metadata, Package, PackageId};
use serde_json::{Value, json};

/// Names the document itself.
const DOCUMENT: &str = "SPDXRef-DOCUMENT";

/// The document of a program of this workspace. `lock` is `Cargo.lock`, `created` a time such as
/// `2026-01-01T00:00:00Z`.
///
/// # Errors
/// There is no such program, the dependencies are not resolved, or a crate has no checksum.
pub(crate) fn document(
    metadata: &Metadata,
    lock: &str,
    program: &str,
    created: &str,
) -> anyhow::Result<Value> {
    let packages: BTreeMap<&PackageId, &Package> =
        metadata.packages.iter().map(|it| (&it.id, it)).collect();
    let mut ours = metadata.workspace_packages().into_iter();
    let root = ours.find(|it| it.name.as_str() == program);
    let root = root.with_context(|| format!("{program} is no package of the workspace"))?;
    let edges = edges(metadata)?;
    let parts = reachable(&root.id, &edges);
    let checksums = checksums(lock);
    let mut described = Vec::new();
    let mut relationships = vec![relation(DOCUMENT, "DESCRIBES", &id(root))];
    let mut names = BTreeSet::new();
    for part in &parts {
        let package = packages.get(part).context("a package without metadata")?;
        ensure!(names.insert(id(package)), "{} stands for two", id(package));
        described.push(describe(package, &checksums)?);
        for other in edges.get(part).into_iter().flatten() {
            let other = packages.get(other).context("a package without metadata")?;
            relationships.push(relation(&id(package), "DEPENDS_ON", &id(other)));
        }
    }
    let version = &root.version;
    Ok(json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": format!("{program}-{version}"),
        "documentNamespace": format!("urn:imcluster:sbom:{program}:{version}:{created}"),
        "creationInfo": {"created": created, "creators": ["Tool: imcluster-xtask"]},
        "documentDescribes": [id(root)],
        "packages": described,
        "relationships": relationships,
    }))
}

/// What each package is built from or with; what only its tests use is left out.
fn edges(metadata: &Metadata) -> anyhow::Result<BTreeMap<&PackageId, BTreeSet<&PackageId>>> {
    let resolve = metadata.resolve.as_ref();
    let resolve = resolve.context("the dependencies are not resolved")?;
    let nodes = resolve.nodes.iter().map(|node| {
        let used = node.deps.iter().filter(|dependency| {
            let mut kinds = dependency.dep_kinds.iter();
            kinds.any(|kind| kind.kind != DependencyKind::Development)
        });
        (&node.id, used.map(|dependency| &dependency.pkg).collect())
    });
    Ok(nodes.collect())
}

fn reachable<'a>(
    root: &'a PackageId,
    edges: &BTreeMap<&'a PackageId, BTreeSet<&'a PackageId>>,
) -> BTreeSet<&'a PackageId> {
    let mut found = BTreeSet::new();
    let mut open = vec![root];
    while let Some(package) = open.pop() {
        if found.insert(package) {
            open.extend(edges.get(package).into_iter().flatten());
        }
    }
    found
}

/// Checksums by name and version.
type Checksums = BTreeMap<(String, String), String>;

/// Those of `Cargo.lock`: packages of registries have one.
fn checksums(lock: &str) -> Checksums {
    let mut found = Checksums::new();
    for package in lock.split("[[package]]") {
        let field = |name: &str| {
            let start = format!("{name} = \"");
            let mut lines = package.lines();
            let value = lines.find_map(|line| line.strip_prefix(&start)?.strip_suffix('"'));
            value.map(str::to_owned)
        };
        if let (Some(name), Some(version), Some(sum)) =
            (field("name"), field("version"), field("checksum"))
        {
            found.insert((name, version), sum);
        }
    }
    found
}

fn describe(package: &Package, checksums: &Checksums) -> anyhow::Result<Value> {
    let (name, version) = (package.name.to_string(), package.version.to_string());
    let license = package.license.as_deref();
    // Crates of old write both of a choice with a slash.
    let license = license.map_or_else(
        || "NOASSERTION".to_owned(),
        |license| license.replace('/', " OR "),
    );
    let mut described = json!({
        "SPDXID": id(package),
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseDeclared": license,
        "licenseConcluded": "NOASSERTION",
        "copyrightText": "NOASSERTION",
    });
    if package.source.is_none() {
        return Ok(described);
    }
    let sum = checksums.get(&(name.clone(), version.clone()));
    let sum = sum.with_context(|| format!("Cargo.lock has no checksum of {name} {version}"))?;
    if let Some(fields) = described.as_object_mut() {
        let locator = format!("pkg:cargo/{name}@{version}");
        let reference = json!({"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
            "referenceLocator": locator});
        let sum = json!({"algorithm": "SHA256", "checksumValue": sum});
        fields.insert("externalRefs".to_owned(), json!([reference]));
        fields.insert("checksums".to_owned(), json!([sum]));
    }
    Ok(described)
}

/// The name of a package within the document: letters, digits, dots and dashes.
fn id(package: &Package) -> String {
    let text = format!("{}-{}", package.name, package.version);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let text = text.replace(|c| !plain(c), "-");
    format!("SPDXRef-Package-{text}")
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to})
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-01-02T03:04:05Z";

    fn document_of(program: &str) -> Value {
        let metadata = super::super::metadata().unwrap();
        let lock = std::fs::read_to_string(crate::steps::root().unwrap().join("Cargo.lock"));
        document(&metadata, &lock.unwrap(), program, TIME).unwrap()
    }

    fn packages(document: &Value) -> BTreeMap<&str, &Value> {
        let packages = document["packages"].as_array().unwrap().iter();
        packages
            .map(|it| (it["name"].as_str().unwrap(), it))
            .collect()
    }

    #[test]
    fn the_servers_document_names_what_they_are_made_of_with_licences_and_checksums() {
        let document = document_of("imd");
        let packages = packages(&document);
        for part in ["imd", "im-msg", "tokio", "libsqlite3-sys"] {
            assert!(packages.contains_key(part), "{part}");
        }
        for not in ["proptest", "im-e2e", "xtask", "im-operator", "windows-sys"] {
            assert!(!packages.contains_key(not), "{not}");
        }
        for (name, package) in &packages {
            let license = package["licenseDeclared"].as_str().unwrap();
            assert!(!license.is_empty() && !license.contains('/'), "{name}");
            let ours = ["imd", "im-"].iter().any(|start| name.starts_with(start));
            let sum = package["checksums"][0]["checksumValue"].as_str();
            assert_eq!(sum.map(str::len), (!ours).then_some(64), "{name}");
        }
    }

    #[test]
    fn everything_that_is_related_is_described_and_the_same_source_gives_the_same_document() {
        let document = document_of("im-operator");
        let described = document["packages"].as_array().unwrap().iter();
        let mut described: BTreeSet<_> = described
            .map(|it| it["SPDXID"].clone().to_string())
            .collect();
        assert!(described.insert(json!(DOCUMENT).to_string()));
        let relations = document["relationships"].as_array().unwrap();
        assert!(relations.len() > described.len());
        let mut reached = BTreeSet::from([json!(DOCUMENT).to_string()]);
        for relation in relations {
            for end in ["spdxElementId", "relatedSpdxElement"] {
                assert!(described.contains(&relation[end].to_string()), "{relation}");
            }
            reached.insert(relation["relatedSpdxElement"].to_string());
        }
        assert_eq!(reached, described, "nothing is there for no reason");
        assert_eq!(document["creationInfo"]["created"], TIME);
        assert_eq!(document, document_of("im-operator"));
    }

    #[test]
    fn a_crate_whose_checksum_is_not_known_is_named() {
        let metadata = super::super::metadata().unwrap();
        let error = document(&metadata, "", "imd", TIME).unwrap_err();
        assert!(error.to_string().contains("no checksum of"), "{error}");
        let error = document(&metadata, "", "nothing", TIME).unwrap_err();
        assert!(
            error.to_string().contains("nothing is no package"),
            "{error}"
        );
    }
}
