//! What a release consists of, in one folder: an image of each program for all processors of which there is
//! one, the plugin for kubectl for each processor, bills of materials, the charts with the images' digests,
//! and checksums of it all.

mod charts;
#[cfg(test)]
mod pins;
mod sbom;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use cargo_metadata::{Metadata, MetadataCommand};

use crate::steps::{printed, root, step};
use crate::{cluster, limits, tools};
use charts::Images;

/// Programs with an image, which are packages of the workspace.
const PROGRAMS: [&str; 2] = ["imd", "im-operator"];

/// The program that people run themselves.
const PLUGIN: &str = "kubectl-im";

/// Processors for which there are releases.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

const CHARTS: [&str; 3] = ["im-crds", "im-operator", "im-cluster"];

/// How a release is made.
#[derive(clap::Args)]
pub(crate) struct ReleaseArgs {
    /// First part of the images' names.
    #[arg(long, default_value = "imcluster.test")]
    repository: String,
    /// A folder of images of one processor, as `image` writes it, as often as there are processors; none:
    /// those of this machine's are built.
    #[arg(long)]
    images: Vec<PathBuf>,
    /// A folder of static programs to take instead of building them.
    #[arg(long, conflicts_with = "images")]
    programs: Option<PathBuf>,
    /// Where everything goes. What is there already is removed.
    #[arg(long, default_value = "target/release-files")]
    out: PathBuf,
}

/// Makes the files of a release. Nothing is sent anywhere.
pub(crate) fn make(args: &ReleaseArgs) -> anyhow::Result<()> {
    let out = root()?.join(&args.out);
    if out.try_exists()? {
        fs::remove_dir_all(&out).with_context(|| format!("empty {}", out.display()))?;
    }
    fs::create_dir_all(&out)?;
    let folders = if args.images.is_empty() {
        vec![build(args, &out)?]
    } else {
        cluster::build_kube_node()?;
        args.images.clone()
    };
    let images = index(args, &folders, &out)?;
    plugins(args, &folders, &out)?;
    bills(&out)?;
    let helm = helm()?;
    for chart in CHARTS {
        let prepared = out.join("charts").join(chart);
        charts::prepare(&root()?.join("charts").join(chart), &prepared, &images)?;
        let mut package = Command::new(&helm);
        package.arg("package").arg(&prepared);
        package.arg("--destination").arg(&out);
        step(&limits::PACKAGE, &mut package)?;
    }
    fs::remove_dir_all(out.join("charts"))?;
    fs::remove_dir_all(out.join("images")).ok();
    let sums = sums(&out)?;
    print!("{sums}");
    Ok(())
}

/// Images of the processor of this machine.
fn build(args: &ReleaseArgs, out: &Path) -> anyhow::Result<PathBuf> {
    let folder = out.join("images");
    let text = |path: &Path| path.display().to_string();
    let mut image = vec!["--repository".to_owned(), args.repository.clone()];
    image.extend(["--out".to_owned(), text(&folder)]);
    if let Some(programs) = &args.programs {
        image.extend(["--programs".to_owned(), text(programs)]);
    }
    cluster::image(&image)?;
    Ok(folder)
}

/// One image of each program over all processors.
fn index(args: &ReleaseArgs, folders: &[PathBuf], out: &Path) -> anyhow::Result<Images> {
    let mut images = Images::new();
    for program in PROGRAMS {
        let repository = format!("{}/{program}", args.repository);
        let name = format!("{repository}:{}", env!("CARGO_PKG_VERSION"));
        let archive = format!("{program}.tar");
        let mut index = cluster::program(&["index", "--name", &name, "--out"])?;
        index.arg(out.join(&archive));
        index.args(folders.iter().map(|folder| folder.join(&archive)));
        let line = printed(&limits::INDEX, &mut index)?;
        print!("    {line}");
        let digest = line.split_whitespace().nth(1).unwrap_or_default();
        ensure!(
            digest.starts_with("sha256:"),
            "{program}: no digest in {line:?}"
        );
        images.insert(program.to_owned(), (repository, digest.to_owned()));
    }
    Ok(images)
}

/// The plugin for each processor, under a name that says for which.
fn plugins(args: &ReleaseArgs, folders: &[PathBuf], out: &Path) -> anyhow::Result<()> {
    let mut found = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            if name.starts_with(PLUGIN) {
                found.push((path.clone(), name.to_owned()));
            }
        }
    }
    if let Some(programs) = &args.programs {
        let processor = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let name = format!("{PLUGIN}-linux-{processor}");
        found.push((programs.join(PLUGIN), name));
    }
    ensure!(!found.is_empty(), "no {PLUGIN} is beside the images");
    for (from, name) in found {
        fs::copy(&from, out.join(name)).with_context(|| format!("copy {}", from.display()))?;
    }
    Ok(())
}

/// The bill of materials of each program.
fn bills(out: &Path) -> anyhow::Result<()> {
    let metadata = metadata()?;
    let lock = fs::read_to_string(root()?.join("Cargo.lock"))?;
    let mut commit = Command::new("git");
    commit.args(["log", "-1", "--date=format-local:%Y-%m-%dT%H:%M:%SZ"]);
    commit.args(["--format=%cd"]).env("TZ", "UTC");
    let created = printed(&limits::COMMIT, commit.current_dir(root()?))?;
    for program in PROGRAMS.into_iter().chain([PLUGIN]) {
        let document = sbom::document(&metadata, &lock, program, created.trim())?;
        let path = out.join(format!("{program}.spdx.json"));
        fs::write(path, serde_json::to_string_pretty(&document)? + "\n")?;
    }
    Ok(())
}

/// What cargo knows of the workspace, without what other systems than ours would need.
fn metadata() -> anyhow::Result<Metadata> {
    let mut options = vec!["--locked".to_owned()];
    for target in TARGETS {
        options.extend(["--filter-platform".to_owned(), target.to_owned()]);
    }
    let mut command = MetadataCommand::new();
    command.manifest_path(root()?.join("Cargo.toml"));
    Ok(command.other_options(options).exec()?)
}

/// The Helm that HELM names or the PATH has, or that of the node for tests.
fn helm() -> anyhow::Result<PathBuf> {
    match std::env::var_os("HELM") {
        Some(helm) => Ok(helm.into()),
        None if tools::on_path("helm") => Ok("helm".into()),
        None => cluster::node_program("helm"),
    }
}

/// Writes `SHA256SUMS` over every file of the folder, and returns it.
fn sums(out: &Path) -> anyhow::Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(out)? {
        names.push(entry?.file_name());
    }
    names.sort();
    let mut command = Command::new("sha256sum");
    let text = printed(&limits::SUMS, command.args(names).current_dir(out))?;
    fs::write(out.join("SHA256SUMS"), &text)?;
    Ok(text)
}
