//! The control groups below which the pods of a node run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::layout::Layout;

const ROOT: &str = "/sys/fs/cgroup";

/// Checks that control groups can be made.
///
/// # Errors
/// The hierarchy is absent or read-only.
pub(crate) fn check() -> anyhow::Result<()> {
    for hierarchy in hierarchies()? {
        if hierarchy.ends_with("unified") {
            continue;
        }
        let probe = hierarchy.join(format!("imcluster-check-{}", std::process::id()));
        fs::create_dir(&probe)
            .and_then(|()| fs::remove_dir(&probe))
            .with_context(|| {
                format!(
                    "control groups cannot be made in {}: mount it writable (in a container, run it \
                     privileged)",
                    hierarchy.display()
                )
            })?;
    }
    Ok(())
}

/// Makes the node's group in every hierarchy.
pub(crate) fn make(layout: &Layout) -> anyhow::Result<()> {
    for hierarchy in hierarchies()? {
        // The runtime adds its own there, besides those of version 1.
        if hierarchy.ends_with("unified") {
            continue;
        }
        let group = hierarchy.join(layout.cgroup());
        fs::create_dir_all(&group).with_context(|| format!("make {}", group.display()))?;
        // A new group of version 1 has no processors until it is given some.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if hierarchy.ends_with("cpuset") {
                fs::read(hierarchy.join(file))
                    .and_then(|all| fs::write(group.join(file), all))
                    .with_context(|| format!("fill {file} of {}", group.display()))?;
            }
        }
    }
    Ok(())
}

/// Removes the node's groups and those of its workers, from the leaves up. Processes in them must have
/// ended.
///
/// # Errors
/// A group cannot be removed, since processes are left in it.
pub(crate) fn remove(layout: &Layout) -> anyhow::Result<()> {
    for hierarchy in hierarchies()? {
        for entry in fs::read_dir(&hierarchy)? {
            let group = entry?.path();
            if is_of(&group, &layout.cgroup()) && group.is_dir() {
                remove_tree(&group).with_context(|| format!("remove {}", group.display()))?;
            }
        }
    }
    Ok(())
}

/// Whether a group is this one, or that of a worker of the same cluster.
fn is_of(group: &Path, name: &str) -> bool {
    let found = group.file_name().unwrap_or_default().to_string_lossy();
    let rest = found.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn remove_tree(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

/// Every hierarchy of version 1, or the one of version 2.
fn hierarchies() -> anyhow::Result<Vec<PathBuf>> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").is_file() {
        return Ok(vec![root.to_path_buf()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root).with_context(|| format!("{ROOT} is not mounted"))? {
        let entry = entry?;
        // Symbolic links (`cpu` to `cpu,cpuacct`) would name the same hierarchy again.
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    anyhow::ensure!(
        !found.is_empty(),
        "{ROOT} has no hierarchies: control groups are not mounted"
    );
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::Member;

    #[test]
    fn groups_of_workers_go_with_the_cluster_and_those_of_others_stay() {
        let member = Member::control(1, 1).unwrap();
        let cluster = Layout::new("/tmp/one".into()).with_member(member);
        let worker = cluster.workers().next().unwrap();
        let other = Layout::new("/tmp/two".into());
        let is_of = |layout: &Layout| is_of(Path::new(&layout.cgroup()), &cluster.cgroup());
        assert!(is_of(&cluster) && is_of(&worker) && !is_of(&other));
        assert_ne!(cluster.cgroup(), worker.cgroup());
    }
}
