//! What a node may leave on the machine: nothing.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::bail;

const RULES: &str = "packet filter: ";

/// Mounts, network interfaces, control groups, packet filter rules and the node's processes, as they
/// are at one time.
pub(crate) struct Leftovers {
    found: BTreeSet<String>,
    /// Rules can be listed. The program for it may come with the node; what it lists then for the
    /// first time was there before.
    has_rules: bool,
}

impl Leftovers {
    /// What there is now.
    pub(crate) fn now() -> anyhow::Result<Self> {
        let mut found = BTreeSet::new();
        for line in fs::read_to_string("/proc/self/mounts")?.lines() {
            found.insert(format!("mount: {line}"));
        }
        for (what, folder) in [
            ("network interface", "/sys/class/net"),
            ("control group", "/sys/fs/cgroup"),
            ("network namespace", "/run/netns"),
        ] {
            // Not every machine has each.
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if what == "control group" && !entry.path().is_dir() {
                    continue;
                }
                found.insert(format!("{what}: {}", entry.file_name().to_string_lossy()));
            }
        }
        for entry in fs::read_dir("/proc")?.flatten() {
            let group = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            if group.contains("imcluster-") {
                let pid = entry.file_name();
                found.insert(format!("process: {} {group}", pid.to_string_lossy()));
            }
        }
        let rules = Command::new("nft").args(["list", "tables"]).output();
        let has_rules = rules.is_ok();
        if let Ok(rules) = rules {
            let rules = String::from_utf8_lossy(&rules.stdout);
            found.extend(rules.lines().map(|table| format!("{RULES}{table}")));
        }
        Ok(Self { found, has_rules })
    }

    /// Fails if there is more now.
    pub(crate) fn compare(&self) -> anyhow::Result<()> {
        let now = Self::now()?;
        let more: Vec<&str> = now
            .found
            .difference(&self.found)
            .map(String::as_str)
            .filter(|line| self.has_rules || !line.starts_with(RULES))
            .collect();
        if !more.is_empty() {
            bail!("the node left behind:\n  {}", more.join("\n  "));
        }
        println!("    nothing is left behind");
        Ok(())
    }
}
