//! MariaDB of Debian, unpacked into the cache once per version: nothing is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::limits;
use crate::steps::{printed, programs, step, test_step};
use crate::tools::{cache_dir, check_programs, is_root};
use crate::workspace::whole_workspace;

/// The server, what makes its first files, and what reads its options.
const PACKAGES: [&str; 3] = [
    "mariadb-server-core",
    "mariadb-server",
    "mariadb-client-core",
];
/// Libraries of the server that other programs hardly need, by the beginning of their names: releases end them
/// in other ways.
const LIBRARIES: [&str; 3] = ["libaio1", "libnuma1", "liburing2"];

/// Runs the tests of the store on a MySQL-protocol database, and those of servers that use it. All programs are built.
pub(crate) fn test() -> anyhow::Result<()> {
    let folder = mariadb()?;
    let mut store = whole_workspace(&["--test", "it", "--", "--ignored", "mariadb::"])?;
    test_step(&limits::MARIADB, store.env("MARIADB", &folder))?;
    let chosen = [
        "--test",
        "e2e",
        "--",
        "--ignored",
        "--test-threads=2",
        "mysql::",
    ];
    let mut servers = whole_workspace(&chosen)?;
    servers.env("IMD_BIN", programs("debug")?.join("imd"));
    test_step(&limits::ON_MARIADB, servers.env("MARIADB", folder))
}

/// The folder of the packages, fetched and unpacked the first time.
pub(crate) fn mariadb() -> anyhow::Result<PathBuf> {
    check_programs(&[
        ("apt-get", "tests of MariaDB take its packages from Debian"),
        (
            "apt-cache",
            "tests of MariaDB take its packages from Debian",
        ),
        ("dpkg", "tests of MariaDB take its packages from Debian"),
    ])?;
    let version = match version()? {
        Some(version) => version,
        None if is_root()? => {
            update_lists()?;
            version()?.context("find mariadb-server-core: Debian has no such package")?
        }
        None => bail!("find mariadb-server-core: run `apt-get update` as root once"),
    };
    let tools = cache_dir()?.join("tools");
    let folder = tools.join(format!("mariadb-{}", version.replace([':', '~', '+'], "-")));
    if folder.is_dir() {
        return Ok(folder);
    }
    println!(
        "    unpacking MariaDB {version} once, into {}",
        folder.display()
    );
    std::fs::create_dir_all(&tools).context("make the folder of tools")?;
    let draft = tools.join(format!("mariadb-{}", std::process::id()));
    unpack(&draft)?;
    // Somebody else may have been first.
    if let Err(error) = std::fs::rename(&draft, &folder) {
        std::fs::remove_dir_all(&draft).context("remove a draft")?;
        if !folder.is_dir() {
            return Err(error).context("keep MariaDB");
        }
    }
    Ok(folder)
}

fn update_lists() -> anyhow::Result<()> {
    let mut update = Command::new("apt-get");
    step(&limits::PACKAGE_LISTS, update.args(["update", "--quiet"]))
}

/// Which version there is, if the lists of packages are there.
fn version() -> anyhow::Result<Option<String>> {
    let mut show = Command::new("apt-cache");
    show.args(["policy", "mariadb-server-core"]);
    let said = printed(&limits::PACKAGE_NAMES, &mut show)?;
    Ok(candidate(&said))
}

/// The version that `apt-cache policy` would install.
fn candidate(policy: &str) -> Option<String> {
    let line = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "));
    line.filter(|version| *version != "(none)")
        .map(str::to_owned)
}

/// Names of the packages of [`LIBRARIES`] in this release, of what `apt-cache depends` says.
fn libraries(depends: &str) -> Vec<&str> {
    let names = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    names
        .filter(|name| LIBRARIES.iter().any(|library| name.starts_with(library)))
        .collect()
}

fn unpack(draft: &Path) -> anyhow::Result<()> {
    let packages = draft.join("packages");
    std::fs::create_dir_all(&packages).context("make a draft")?;
    let mut ask = Command::new("apt-cache");
    ask.args(["depends", "mariadb-server-core"]);
    let depends = printed(&limits::PACKAGE_NAMES, &mut ask)?;
    let mut fetch = Command::new("apt-get");
    fetch
        .args(["download", "--quiet"])
        .args(PACKAGES)
        .args(libraries(&depends));
    let fetched = step(&limits::MARIADB_FETCH, fetch.current_dir(&packages));
    if fetched.is_err() && is_root()? {
        // The lists may be older than the archive, which has no such version any more.
        update_lists()?;
        step(&limits::MARIADB_FETCH, &mut fetch)?;
    } else {
        fetched?;
    }
    let mut unpack = Command::new("sh");
    unpack.args([
        "-e",
        "-c",
        "for package in packages/*.deb; do dpkg --extract $package .; done",
    ]);
    step(&limits::MARIADB_UNPACK, unpack.current_dir(draft))?;
    std::fs::remove_dir_all(&packages).context("remove the packages")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_candidate_is_the_version_that_would_be_installed() {
        let policy =
            "mariadb-server-core:\n  Installed: (none)\n  Candidate: 1:10.11.19-0+deb12u1\n";
        assert_eq!(candidate(policy).as_deref(), Some("1:10.11.19-0+deb12u1"));
        assert_eq!(
            candidate("x:\n  Installed: (none)\n  Candidate: (none)\n"),
            None
        );
        assert_eq!(candidate(""), None);
    }

    #[test]
    fn libraries_are_found_by_the_beginning_of_their_names() {
        let depends = "mariadb-server-core\n  Depends: libaio1t64\n  Depends: libc6\n  Depends: libnuma1\n \
                       |Depends: libx\n  Conflicts: liburing2\n";
        assert_eq!(libraries(depends), ["libaio1t64", "libnuma1"]);
    }
}
