//! One image for several processors, made of archives that hold it for one each.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::tar::{self, Archive, Entry};
use super::{MANIFEST, digest};

/// Media type of a list of manifests.
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Largest archive that is read, bytes.
const MAX_ARCHIVE: u64 = 1 << 30;

/// Files of an archive by name.
type Files = BTreeMap<String, Vec<u8>>;

/// Writes an archive of one image out of those of its builds for different processors, in any order, and
/// returns its digest: that under which a registry has it.
///
/// # Errors
/// An archive cannot be read, holds no single image or a damaged one, or two are for the same processor.
pub fn merge(archives: &[PathBuf], name: &str, file: &Path) -> anyhow::Result<String> {
    let mut builds: BTreeMap<String, Value> = BTreeMap::new();
    let mut blobs = Files::new();
    for path in archives {
        let what = || path.display().to_string();
        let files = read(path).with_context(what)?;
        let build = build(&files).with_context(what)?;
        let processor = text(&build, "/platform/architecture")?.to_owned();
        if builds.insert(processor.clone(), build).is_some() {
            bail!("{}: another archive is for {processor} too", path.display());
        }
        let of_image = files.into_iter().filter(|(name, _)| is_blob(name));
        blobs.extend(of_image);
    }
    ensure!(!builds.is_empty(), "an image needs at least one archive");
    let builds: Vec<Value> = builds.into_values().collect();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": builds});
    let index = index.to_string().into_bytes();
    let image_digest = digest(&index);
    let layout = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{
            "mediaType": INDEX,
            "digest": image_digest,
            "size": index.len(),
            "annotations": {
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": name,
            },
        }],
    });
    blobs.insert(blob_name(&image_digest), index);
    let mut archive = Archive::default();
    let version = br#"{"imageLayoutVersion":"1.0.0"}"#;
    archive.add("oci-layout", &Entry::file(version));
    archive.add("index.json", &Entry::file(layout.to_string().as_bytes()));
    archive.add("blobs/", &Entry::folder());
    archive.add("blobs/sha256/", &Entry::folder());
    for (name, blob) in &blobs {
        archive.add(name, &Entry::file(blob));
    }
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(file, archive.finish()).with_context(|| format!("write {}", file.display()))?;
    Ok(image_digest)
}

fn read(path: &Path) -> anyhow::Result<Files> {
    let bytes = fs::metadata(path)?.len();
    ensure!(
        bytes <= MAX_ARCHIVE,
        "has {bytes} bytes, at most {MAX_ARCHIVE} are read"
    );
    let files = tar::files(&fs::read(path)?)?;
    for (name, blob) in files.iter().filter(|(name, _)| is_blob(name)) {
        ensure!(
            *name == blob_name(&digest(blob)),
            "{name} is damaged: its digest is {}",
            digest(blob)
        );
    }
    Ok(files)
}

/// What the list says of the one image in an archive.
fn build(files: &Files) -> anyhow::Result<Value> {
    let index = object(files, "index.json")?;
    let images = index.get("manifests").and_then(Value::as_array);
    let images = images.map_or(&[][..], Vec::as_slice);
    let [image] = images else {
        bail!("index.json names {} images, expected one", images.len());
    };
    let kind = text(image, "/mediaType")?;
    ensure!(kind == MANIFEST, "holds {kind}, expected {MANIFEST}");
    let manifest = object(files, &blob_name(text(image, "/digest")?))?;
    let config = object(files, &blob_name(text(&manifest, "/config/digest")?))?;
    let platform = json!({
        "os": text(&config, "/os")?,
        "architecture": text(&config, "/architecture")?,
    });
    Ok(json!({
        "mediaType": MANIFEST,
        "digest": text(image, "/digest")?,
        "size": image.get("size"),
        "platform": platform,
    }))
}

fn object(files: &Files, name: &str) -> anyhow::Result<Value> {
    let bytes = files.get(name).with_context(|| format!("has no {name}"))?;
    serde_json::from_slice(bytes).with_context(|| format!("read {name}"))
}

fn text<'a>(object: &'a Value, pointer: &str) -> anyhow::Result<&'a str> {
    let text = object.pointer(pointer).and_then(Value::as_str);
    text.with_context(|| format!("expected a text at {pointer}"))
}

fn is_blob(name: &str) -> bool {
    name.starts_with("blobs/sha256/") && !name.ends_with('/')
}

fn blob_name(digest: &str) -> String {
    digest.replace("sha256:", "blobs/sha256/")
}

#[cfg(test)]
mod tests {
    use super::super::Image;
    use super::*;

    /// An archive of a program for this processor (`e_machine` of ELF).
    fn archive(dir: &Path, name: &str, machine: u8) -> PathBuf {
        let mut elf = b"\x7fELF".to_vec();
        elf.resize(18, 0);
        elf.extend([machine, 0, 1, 2, 3]);
        let image = Image {
            name: "imcluster.test/x:1",
            program: "x",
            default_args: &[],
            binary: &elf,
        };
        let file = dir.join(name);
        image.write(&file).unwrap();
        file
    }

    #[test]
    fn a_list_names_the_image_for_each_processor_and_every_blob_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let intel = archive(dir.path(), "amd64.tar", 0x3e);
        let arm = archive(dir.path(), "arm64.tar", 0xb7);
        let out = dir.path().join("both.tar");
        let both = merge(&[arm.clone(), intel.clone()], "imcluster.test/x:1", &out).unwrap();
        let files = read(&out).unwrap();
        let layout = object(&files, "index.json").unwrap();
        assert_eq!(layout["manifests"][0]["digest"], json!(both));
        let list = object(&files, &blob_name(&both)).unwrap();
        let found = list["manifests"].as_array().unwrap().iter();
        let found: Vec<_> = found.map(|it| it["platform"].clone()).collect();
        let platform = |processor: &str| json!({"os": "linux", "architecture": processor});
        assert_eq!(found, [platform("amd64"), platform("arm64")]);
        for image in list["manifests"].as_array().unwrap() {
            let manifest = blob_name(image["digest"].as_str().unwrap());
            assert_eq!(json!(files[&manifest].len()), image["size"]);
            let manifest = object(&files, &manifest).unwrap();
            let layers = manifest["layers"].as_array().unwrap().iter();
            for part in layers.chain([&manifest["config"]]) {
                let name = blob_name(part["digest"].as_str().unwrap());
                assert_eq!(json!(files[&name].len()), part["size"], "{name}");
            }
        }
        let again = dir.path().join("again.tar");
        assert_eq!(
            merge(&[intel, arm], "imcluster.test/x:1", &again).unwrap(),
            both
        );
        assert_eq!(fs::read(out).unwrap(), fs::read(again).unwrap());
    }

    #[test]
    fn what_cannot_be_one_image_is_refused_with_its_archive() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |archives: &[PathBuf]| {
            let out = dir.path().join("out.tar");
            let error = merge(archives, "x", &out).unwrap_err();
            assert!(!out.try_exists().unwrap());
            format!("{error:#}")
        };
        let one = archive(dir.path(), "one.tar", 0x3e);
        let twin = archive(dir.path(), "twin.tar", 0x3e);
        let found = refused(&[one.clone(), twin]);
        assert!(
            found.contains("twin.tar") && found.contains("amd64"),
            "{found}"
        );
        assert!(refused(&[]).contains("at least one"));
        let damaged = dir.path().join("damaged.tar");
        let mut bytes = fs::read(&one).unwrap();
        let at = bytes
            .windows(5)
            .position(|it| it == b"\x3e\0\x01\x02\x03")
            .unwrap();
        bytes[at + 4] = 9;
        fs::write(&damaged, bytes).unwrap();
        assert!(refused(&[damaged]).contains("is damaged"));
        let text = dir.path().join("text.tar");
        fs::write(&text, "no archive").unwrap();
        assert!(refused(&[text]).contains("text.tar"));
    }
}
