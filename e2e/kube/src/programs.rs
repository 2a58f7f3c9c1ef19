//! The Go programs of a node: built once from the committed modules, kept outside the tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::layout::{cache_dir, workspace_root};
use crate::run::check_output;

/// Oldest Go that builds the modules, as their `go` lines say.
const OLDEST_GO: (u32, u32) = (1, 26);

/// A committed module, and the programs made from it.
struct Module {
    folder: &'static str,
    /// What is hashed, besides the version of Go.
    sources: &'static [&'static str],
    /// Program and package.
    programs: &'static [(&'static str, &'static str)],
    /// Names under which the first program is called.
    links: &'static [&'static str],
    hint: &'static str,
}

const MODULES: [Module; 4] = [
    Module {
        folder: "kubebox",
        sources: &["go.mod", "go.sum", "main.go"],
        programs: &[("kubebox", ".")],
        links: &[
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-proxy",
            "kube-scheduler",
            "kubectl",
            "kubelet",
        ],
        hint: "Kubernetes and etcd, about 10 minutes of processor time",
    },
    Module {
        folder: "tools",
        sources: &["go.mod", "go.sum", "coredns/main.go"],
        programs: &[
            ("coredns", "./coredns"),
            ("crane", "github.com/google/go-containerregistry/cmd/crane"),
            ("helm", "helm.sh/helm/v4/cmd/helm"),
        ],
        links: &[],
        hint: "CoreDNS, crane and helm, about 4 minutes of processor time",
    },
    Module {
        folder: "s3",
        sources: &["go.mod", "go.sum"],
        programs: &[("versitygw", "github.com/versity/versitygw/cmd/versitygw")],
        links: &[],
        hint: "an S3 server, about a minute of processor time",
    },
    Module {
        folder: "rules",
        sources: &["go.mod", "go.sum", "main.go", "series.go", "test.go"],
        programs: &[("ruletest", ".")],
        links: &[],
        hint: "the test of alerts, about a minute of processor time",
    },
];

/// Builds what is not in the cache and returns the folders with the programs.
///
/// # Errors
/// Go is missing or too old, or a module does not build.
pub fn build() -> anyhow::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for module in &MODULES {
        folders.push(module.build()?);
    }
    Ok(folders)
}

impl Module {
    fn build(&self) -> anyhow::Result<PathBuf> {
        let source = workspace_root().join("e2e/kube").join(self.folder);
        let version = go_version()?;
        let key = self.key(&source, &version)?;
        let folder = cache_dir()?.join(format!("tools/{}-{key}", self.folder));
        if folder.is_dir() {
            return Ok(folder);
        }
        crate::progress(&format!(
            "building {} once into {}",
            self.hint,
            folder.display()
        ));
        // The folder gets its name when it is complete.
        let unfinished = folder.with_extension(format!("part-{}", std::process::id()));
        fs::create_dir_all(&unfinished)?;
        let flags = linker_flags(&source)?;
        for (program, package) in self.programs {
            let mut go = Command::new("go");
            go.args(["build", "-ldflags", &flags, "-o"])
                .arg(unfinished.join(program))
                .arg(package)
                .current_dir(&source)
                .env("CGO_ENABLED", "0")
                .env("GOTOOLCHAIN", "local")
                .env("GOFLAGS", "-buildvcs=false -mod=readonly -trimpath");
            check_output(&mut go).with_context(|| format!("build {program}"))?;
        }
        for (link, (program, _)) in self.links.iter().zip(self.programs.iter().take(1).cycle()) {
            std::os::unix::fs::symlink(program, unfinished.join(link))?;
        }
        match fs::rename(&unfinished, &folder) {
            // Another run was quicker.
            Err(_) if folder.is_dir() => fs::remove_dir_all(&unfinished)?,
            done => done.with_context(|| format!("make {}", folder.display()))?,
        }
        Ok(folder)
    }

    fn key(&self, source: &Path, version: &str) -> anyhow::Result<String> {
        let mut hash = Sha256::new();
        hash.update(version);
        for name in self.sources {
            let file = source.join(name);
            let content = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
            hash.update(content.len().to_le_bytes());
            hash.update(content);
        }
        let mut key = crate::image::hex(&hash.finalize());
        key.truncate(16);
        Ok(key)
    }
}

/// `go1.26.8 linux/amd64`.
fn go_version() -> anyhow::Result<String> {
    let mut go = Command::new("go");
    go.args(["env", "GOVERSION", "GOOS", "GOARCH"])
        .env("GOTOOLCHAIN", "local");
    let (major, minor) = OLDEST_GO;
    let wanted = format!("Go {major}.{minor} or newer is needed: https://go.dev/doc/install");
    let version = check_output(&mut go).with_context(|| wanted.clone())?;
    let number = version.trim_start_matches("go");
    let mut numbers = number
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < OLDEST_GO {
        bail!("{wanted}; found {}", version.trim());
    }
    Ok(version)
}

/// Strips the programs and tells them the version of Kubernetes, which they compare with each
/// other's.
fn linker_flags(source: &Path) -> anyhow::Result<String> {
    let module = fs::read_to_string(source.join("go.mod"))?;
    let Some(version) = kubernetes_version(&module) else {
        return Ok("-s -w".to_owned());
    };
    let mut parts = version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let mut flags = "-s -w".to_owned();
    for package in [
        "k8s.io/component-base/version",
        "k8s.io/client-go/pkg/version",
    ] {
        for (name, value) in [
            ("gitVersion", version),
            ("gitMajor", major),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
        ] {
            flags.push_str(&format!(" -X {package}.{name}={value}"));
        }
    }
    Ok(flags)
}

/// The version in the line that requires Kubernetes itself.
fn kubernetes_version(module: &str) -> Option<&str> {
    module.lines().find_map(|line| {
        let line = line.trim().trim_start_matches("require ");
        let version = line.strip_prefix("k8s.io/kubernetes ")?;
        version.split_whitespace().next()
    })
}

#[cfg(test)]
mod tests {
    use super::kubernetes_version;

    #[test]
    fn finds_the_version_in_the_module() {
        let module = include_str!("../kubebox/go.mod");
        let version = kubernetes_version(module).unwrap();
        assert!(version.starts_with("v1."), "{version}");
        assert_eq!(kubernetes_version(include_str!("../tools/go.mod")), None);
    }
}
