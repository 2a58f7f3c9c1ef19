//! Container images made without a container engine: one static program in an OCI archive.
//!
//! The archive depends on nothing but its inputs: no time stamps, no names of this machine.

pub mod build;
pub mod index;
mod tar;

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use tar::{Archive, Entry};

/// The user and group that programs in our images run as: numbers, so that a kubelet can see that
/// it is not root.
pub const USER: &str = "65532:65532";

const PASSWD: &str = "root:x:0:0:root:/:/sbin/nologin\nimcluster:x:65532:65532::/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nimcluster:x:65532:\n";

/// What goes into an image.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    /// Name with a host-like prefix and a tag: `imcluster.test/imd:1`.
    pub name: &'a str,
    /// The program's name in the root folder, which is also the entry point.
    pub program: &'a str,
    /// Arguments when the container names none.
    pub default_args: &'a [&'a str],
    /// Contents of the program: statically linked, for x86-64 or ARM64.
    pub binary: &'a [u8],
}

impl Image<'_> {
    /// Writes the archive and returns the image's digest (`sha256:…` of its manifest).
    ///
    /// # Errors
    /// The program is for an unknown processor, or the file cannot be written.
    pub fn write(&self, file: &Path) -> anyhow::Result<String> {
        let (archive, digest) = self.archive()?;
        if let Some(dir) = file.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(file, archive).with_context(|| format!("write {}", file.display()))?;
        Ok(digest)
    }

    fn archive(&self) -> anyhow::Result<(Vec<u8>, String)> {
        let layer = self.layer();
        let config = json!({
            "architecture": architecture(self.binary)?,
            "os": "linux",
            "config": {
                "User": USER,
                "Entrypoint": [format!("/{}", self.program)],
                "Cmd": self.default_args,
                "Env": ["PATH=/"],
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        });
        let manifest = manifest.to_string().into_bytes();
        let layout = json!({
            "schemaVersion": 2,
            "mediaType": index::INDEX,
            "manifests": [{
                "mediaType": MANIFEST,
                "digest": digest(&manifest),
                "size": manifest.len(),
                "annotations": {
                    "io.containerd.image.name": self.name,
                    "org.opencontainers.image.ref.name": self.name,
                },
            }],
        });
        let image_digest = digest(&manifest);
        let mut archive = Archive::default();
        archive.add(
            "oci-layout",
            &Entry::file(br#"{"imageLayoutVersion":"1.0.0"}"#),
        );
        archive.add("index.json", &Entry::file(layout.to_string().as_bytes()));
        archive.add("blobs/", &Entry::folder());
        archive.add("blobs/sha256/", &Entry::folder());
        for blob in [&layer, &config, &manifest] {
            let name = digest(blob).replace("sha256:", "blobs/sha256/");
            archive.add(&name, &Entry::file(blob));
        }
        Ok((archive.finish(), image_digest))
    }

    fn layer(&self) -> Vec<u8> {
        let mut layer = Archive::default();
        layer.add("etc/", &Entry::folder());
        layer.add("etc/group", &Entry::file(GROUP.as_bytes()));
        layer.add("etc/passwd", &Entry::file(PASSWD.as_bytes()));
        layer.add("tmp/", &Entry::folder().mode(0o1777));
        layer.add(self.program, &Entry::file(self.binary).mode(0o755));
        layer.finish()
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

fn digest(data: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(data)))
}

fn descriptor(media_type: &str, data: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(data), "size": data.len()})
}

/// The processor an ELF program is for, in the words of OCI.
fn architecture(binary: &[u8]) -> anyhow::Result<&'static str> {
    anyhow::ensure!(
        binary.starts_with(b"\x7fELF"),
        "the program is not an ELF file"
    );
    match binary.get(18..20) {
        Some([0x3e, 0]) => Ok("amd64"),
        Some([0xb7, 0]) => Ok("arm64"),
        _ => anyhow::bail!("the program is neither for x86-64 nor for ARM64"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Image, architecture, digest};

    fn elf() -> Vec<u8> {
        let mut elf = b"\x7fELF".to_vec();
        elf.resize(18, 0);
        elf.extend([0x3e, 0, 1, 2, 3]);
        elf
    }

    fn image<'a>(binary: &'a [u8], args: &'a [&'a str]) -> Image<'a> {
        Image {
            name: "imcluster.test/x:1",
            program: "x",
            default_args: args,
            binary,
        }
    }

    #[test]
    fn same_inputs_give_the_same_archive_and_digest() {
        let elf = elf();
        let first = image(&elf, &["a"]).archive().unwrap();
        assert_eq!(first, image(&elf, &["a"]).archive().unwrap());
        assert_ne!(first.1, image(&elf, &["b"]).archive().unwrap().1);
        let mut other = elf.clone();
        other.push(9);
        assert_ne!(first.1, image(&other, &["a"]).archive().unwrap().1);
    }

    #[test]
    fn tar_reads_the_archive_and_its_blobs_match_their_names() {
        let elf = elf();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.tar");
        let manifest = image(&elf, &[]).write(&file).unwrap();
        let mut tar = std::process::Command::new("tar");
        tar.args(["-xf", "x.tar"]).current_dir(dir.path());
        crate::run::check_output(&mut tar).unwrap();
        let blobs = dir.path().join("blobs/sha256");
        let mut names = Vec::new();
        for blob in std::fs::read_dir(&blobs).unwrap() {
            let blob = blob.unwrap();
            let name = format!("sha256:{}", blob.file_name().to_string_lossy());
            assert_eq!(name, digest(&std::fs::read(blob.path()).unwrap()));
            names.push(name);
        }
        assert_eq!(names.len(), 3);
        assert!(names.contains(&manifest));
    }

    #[test]
    fn only_programs_become_images() {
        assert_eq!(architecture(&elf()).unwrap(), "amd64");
        assert!(architecture(b"#!/bin/sh").is_err());
    }
}
