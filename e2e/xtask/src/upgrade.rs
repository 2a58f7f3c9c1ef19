//! Orders of versions with real images: an earlier revision is built beside this one, and the tests
//! `upgrade` of `e2e/tests` move installations from its charts and images to those of this one and back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::steps::{cargo, printed, programs, root, step, test_step};
use crate::{cluster, limits, tools};

/// Tag of the earlier images. Of the minor version of those that tests use, and before them: across a minor
/// version the operator refuses the way back.
const EARLIER: &str = "0.1.0-earlier";

/// What the tests read of the environment: the folder of the earlier charts, and [`EARLIER`].
const CHARTS: &str = "IM_EARLIER_CHARTS";
/// See [`CHARTS`].
const TAG: &str = "IM_EARLIER_TAG";

/// Builds a revision, the last release by default, and tests the ways between it and this one.
pub(crate) fn test(from: Option<&str>) -> anyhow::Result<()> {
    tools::check()?;
    if !tools::is_root()? {
        bail!(
            "the tests between revisions start a Kubernetes node, which needs root: run them as root"
        );
    }
    let root = root()?;
    let revision = revision(&root, from)?;
    println!("    from {revision}");
    let tree = Tree::take(&root, &revision)?;
    let result = test_from(&tree);
    let removed = tree.remove();
    result.and(removed)?;
    println!("\nall steps passed");
    Ok(())
}

fn test_from(tree: &Tree) -> anyhow::Result<()> {
    let earlier = tree.build()?;
    let mut images = cluster::images()?;
    images.extend(cluster::images_of(&earlier, EARLIER)?);
    cluster::on_node(&images, || {
        // One after the other: a test has the definition of the resource to itself, and waiting for that is
        // no part of its time.
        let asked = ["--ignored", "upgrade::"];
        let mut tests = cluster::inside(&cluster::tests(1, &asked.map(str::to_owned))?)?;
        tests.env(CHARTS, tree.folder.join("charts"));
        test_step(&limits::UPGRADE, tests.env(TAG, EARLIER))
    })
}

/// The commit that a name means; without one the last release before this commit, or its parent.
fn revision(repository: &Path, from: Option<&str>) -> anyhow::Result<String> {
    let name = match from {
        Some(name) => name.to_owned(),
        None => last_release(repository)?.unwrap_or_else(|| "HEAD~1".to_owned()),
    };
    let mut parse = git(repository, &["rev-parse", "--verify", "--quiet"]);
    parse.args(["--end-of-options", &format!("{name}^{{commit}}")]);
    let commit = printed(&limits::REVISION, &mut parse).with_context(|| {
        format!("find {name:?} in this repository; a shallow clone lacks it: git fetch --unshallow --tags")
    })?;
    Ok(commit.trim().to_owned())
}

/// The highest version among the tags of releases before this commit.
fn last_release(repository: &Path) -> anyhow::Result<Option<String>> {
    // What is before a version, such as v1.0.0-rc.1, is sorted before it.
    let sorted = ["-c", "versionsort.suffix=-", "tag", "--list", "v[0-9]*"];
    let mut tags = git(repository, &sorted);
    tags.args([
        "--sort=-version:refname",
        "--merged",
        "HEAD",
        "--no-contains",
        "HEAD",
    ]);
    let tags = printed(&limits::REVISION, &mut tags)?;
    Ok(tags.lines().next().map(str::to_owned))
}

/// The files of a revision.
struct Tree {
    repository: PathBuf,
    folder: PathBuf,
}

impl Tree {
    /// Takes a commit's files into a folder of their own. What an interrupted run has left there goes.
    fn take(repository: &Path, commit: &str) -> anyhow::Result<Self> {
        let folder = repository.join("target/upgrade").join(commit);
        if folder.try_exists()? {
            fs::remove_dir_all(&folder).with_context(|| format!("empty {}", folder.display()))?;
        }
        // By force: git may still list the folder that is gone.
        let mut add = git(
            repository,
            &["worktree", "add", "--quiet", "--force", "--detach"],
        );
        step(&limits::TREE, add.arg(&folder).arg(commit))?;
        let repository = repository.to_path_buf();
        Ok(Self { repository, folder })
    }

    /// Builds the programs of images with the profile of the tests', and returns their folder. It is kept
    /// for the next time, with what they share with other revisions.
    fn build(&self) -> anyhow::Result<PathBuf> {
        let target = self.folder.with_file_name("target");
        let beside = programs("debug")?;
        let platform = beside.parent().and_then(Path::file_name);
        let platform = platform.context("find the platform that programs are built for")?;
        let mut build = cargo(&["build", "--locked", "--quiet"]);
        build.args(["-p", "imd", "-p", "im-operator", "--target"]);
        // With the revision's own toolchain and settings; but cargo would add the flags of the folders above,
        // those of this revision, unless they are named here. Without them an image could not run the program.
        build.arg(platform).current_dir(&self.folder);
        build.env_remove("RUSTUP_TOOLCHAIN");
        build.env("RUSTFLAGS", "-C target-feature=+crt-static");
        step(&limits::EARLIER, build.env("CARGO_TARGET_DIR", &target))?;
        Ok(target.join(platform).join("debug"))
    }

    fn remove(self) -> anyhow::Result<()> {
        let mut remove = git(&self.repository, &["worktree", "remove", "--force"]);
        step(&limits::TREE_GONE, remove.arg(&self.folder))
    }
}

fn git(repository: &Path, args: &[&str]) -> Command {
    let mut git = Command::new("git");
    git.arg("-C").arg(repository).args(args);
    git
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository with commits that are named by their tags, `a` if they have none.
    fn repository(commits: &[&[&str]]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let run = |args: &[&str]| {
            let mut git = git(folder.path(), args);
            for role in ["AUTHOR", "COMMITTER"] {
                git.env(format!("GIT_{role}_NAME"), "n");
                git.env(format!("GIT_{role}_EMAIL"), "n@example.com");
            }
            let output = git.output().unwrap();
            assert!(output.status.success(), "{args:?}: {output:?}");
        };
        run(&["init", "--quiet"]);
        for (number, tags) in commits.iter().enumerate() {
            let number = number.to_string();
            fs::write(folder.path().join("number"), &number).unwrap();
            run(&["add", "number"]);
            run(&["commit", "--quiet", "--message", &number]);
            for tag in *tags {
                run(&["tag", tag]);
            }
        }
        folder
    }

    /// The number of the commit that is tested from.
    fn tested_from(commits: &[&[&str]], from: Option<&str>) -> anyhow::Result<usize> {
        let repository = repository(commits);
        let commit = revision(repository.path(), from)?;
        let tree = Tree::take(repository.path(), &commit)?;
        // What an interrupted run leaves is taken again.
        let Tree { folder, .. } = tree;
        fs::write(folder.join("more"), "").unwrap();
        let tree = Tree::take(repository.path(), &commit)?;
        assert!(!folder.join("more").try_exists().unwrap());
        let number = fs::read_to_string(folder.join("number"))?.parse()?;
        tree.remove()?;
        assert!(!folder.try_exists().unwrap());
        Ok(number)
    }

    #[test]
    fn the_last_release_before_this_commit_is_tested_from_and_without_one_the_parent() {
        let none: &[&str] = &[];
        for (commits, wanted) in [
            (&[none, none, none][..], 1),
            (&[&["v0.9.0"], &["v0.10.0-rc.1", "work"], none], 1),
            (&[&["v0.10.0"], &["v0.10.0-rc.1"], none], 0),
            (&[&["v0.9.0"], none, &["v0.10.0"]], 0),
            (&[&["v0.10.0"], &["v0.9.1"], none], 0),
        ] {
            assert_eq!(tested_from(commits, None).unwrap(), wanted, "{commits:?}");
        }
    }

    #[test]
    fn a_revision_is_named_as_git_knows_it_and_one_that_is_not_there_is_told() {
        let commits: [&[&str]; 3] = [&["first"], &[], &["v1.0.0"]];
        assert_eq!(tested_from(&commits, Some("first")).unwrap(), 0);
        assert_eq!(tested_from(&commits, Some("HEAD")).unwrap(), 2);
        for wrong in ["v9.9.9", "--all", ""] {
            let error = format!("{:#}", tested_from(&commits, Some(wrong)).unwrap_err());
            assert!(error.contains(&format!("find {wrong:?}")), "{error}");
        }
        // A clone without history.
        let error = tested_from(&[&[]], None).unwrap_err();
        assert!(format!("{error:#}").contains("--unshallow"), "{error:#}");
    }
}
