//! Building static programs and the images that hold them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::Image;
use crate::layout::{GUEST_IMAGE, cache_dir, workspace_root};
use crate::run::check_output;

/// The images of a release: package and program, and the last part of the image's name.
pub const RELEASED: [(&str, &str); 2] = [("imd", "imd"), ("im-operator", "im-operator")];

/// The program of a release that people run themselves: package and program.
pub const PLUGIN: &str = "kubectl-im";

/// What to build, and how to name it.
#[derive(Clone, Debug)]
pub struct Release<'a> {
    /// The programs.
    pub programs: Programs<'a>,
    /// First part of the names: `imcluster.test` gives `imcluster.test/imd:<tag>`.
    pub repository: &'a str,
    /// Last part of the names.
    pub tag: &'a str,
    /// Where the archives go: `imd.tar`, `im-operator.tar`, and beside them the plugin if it is built.
    pub out: &'a Path,
}

/// Where the programs of images come from.
#[derive(Clone, Copy, Debug)]
pub enum Programs<'a> {
    /// They are built, reproducibly, with this cargo profile: `dist` for releases.
    Build {
        /// Its name.
        profile: &'a str,
    },
    /// They are in this folder: those that tests have built already.
    In(&'a Path),
}

/// An image that was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its full name.
    pub name: String,
    /// Digest of its manifest.
    pub digest: String,
    /// The OCI archive.
    pub file: PathBuf,
}

impl Release<'_> {
    /// Takes or builds the programs and writes an image of each.
    ///
    /// # Errors
    /// A program does not build, is not static, or an archive cannot be written.
    pub fn write(&self) -> anyhow::Result<Vec<Written>> {
        let folder = self.programs()?;
        let mut written = Vec::new();
        for (_, program) in RELEASED {
            let file = self.out.join(format!("{program}.tar"));
            let path = folder.join(program);
            let binary = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            check_static(&path)?;
            let name = format!("{}/{program}:{}", self.repository, self.tag);
            let image = Image {
                name: &name,
                program,
                default_args: &[],
                binary: &binary,
            };
            let digest = image.write(&file)?;
            written.push(Written { name, digest, file });
        }
        if let Programs::Build { .. } = self.programs {
            self.plugin(&folder)?;
        }
        Ok(written)
    }

    /// Copies the plugin under a name that says for which processor it is.
    fn plugin(&self, folder: &Path) -> anyhow::Result<()> {
        let path = folder.join(PLUGIN);
        check_static(&path)?;
        let binary = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let processor = super::architecture(&binary)?;
        let to = self.out.join(format!("{PLUGIN}-linux-{processor}"));
        // With the permission to run it.
        fs::copy(&path, &to).with_context(|| format!("write {}", to.display()))?;
        Ok(())
    }

    /// The folder of the programs, which are built unless they are there.
    fn programs(&self) -> anyhow::Result<PathBuf> {
        let profile = match self.programs {
            Programs::In(folder) => return Ok(folder.to_path_buf()),
            Programs::Build { profile } => profile,
        };
        let root = workspace_root();
        let target = host_target()?;
        let target_dir = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => PathBuf::from(dir),
            None => root.join("target"),
        };
        let mut cargo = Command::new("cargo");
        cargo
            .args(["build", "--locked", "--profile", profile])
            .args(["--target", &target])
            .env("RUSTFLAGS", rustflags(&root)?)
            .env("CARGO_TARGET_DIR", &target_dir)
            .current_dir(&root);
        for package in RELEASED.map(|(package, _)| package).iter().chain([&PLUGIN]) {
            cargo.args(["-p", package]);
        }
        let status = cargo.status().context("run cargo build")?;
        if !status.success() {
            bail!("building the programs of the images failed");
        }
        let profile_dir = match profile {
            "dev" => "debug",
            profile => profile,
        };
        Ok(target_dir.join(target).join(profile_dir))
    }
}

/// Static linking as in `.cargo/config.toml`, whose flags these replace, and no path of this machine
/// inside, so that the same source gives the same bytes.
fn rustflags(root: &Path) -> anyhow::Result<String> {
    let cargo_home = match std::env::var_os("CARGO_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(&std::env::var_os("HOME").context("HOME is not set")?).join(".cargo"),
    };
    Ok(format!(
        "-C target-feature=+crt-static --remap-path-prefix={}=/imcluster --remap-path-prefix={}=/cargo",
        root.display(),
        cargo_home.display(),
    ))
}

fn host_target() -> anyhow::Result<String> {
    let version = check_output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .context("rustc -vV names no host target")
}

/// A dynamically linked program would not start in an image that holds nothing else.
fn check_static(program: &Path) -> anyhow::Result<()> {
    let headers = check_output(Command::new("readelf").arg("-l").arg(program))?;
    if headers.contains("INTERP") {
        bail!("{} is linked dynamically", program.display());
    }
    Ok(())
}

/// The image with the tests' helper program, built once for each version of its source.
///
/// # Errors
/// The compiler fails.
pub fn guest() -> anyhow::Result<PathBuf> {
    const SOURCE: &str = include_str!("../../guest/main.rs");
    let key = super::digest(format!("{SOURCE}{GUEST_IMAGE}").as_bytes()).replace("sha256:", "");
    let archive = cache_dir()?.join(format!("tools/guest-{key}.tar"));
    if archive.is_file() {
        return Ok(archive);
    }
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("guest");
    let mut rustc = Command::new("rustc");
    rustc
        .args(["--edition", "2024", "--crate-name", "guest", "-O"])
        .args(["-C", "target-feature=+crt-static", "-C", "strip=symbols"])
        .arg("-o")
        .arg(&program)
        .arg(workspace_root().join("e2e/kube/guest/main.rs"));
    check_output(&mut rustc).context("build the helper program of test pods")?;
    check_static(&program)?;
    let binary = fs::read(&program)?;
    let image = Image {
        name: GUEST_IMAGE,
        program: "guest",
        default_args: &["pause"],
        binary: &binary,
    };
    // A run that is stopped half-way must not leave half an archive.
    let unfinished = archive.with_extension("part");
    image.write(&unfinished)?;
    fs::rename(unfinished, &archive)?;
    Ok(archive)
}
