//! `backup`: what `imd backup` writes in the dbProxy pod becomes a file here.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use im_operator_api::Role;
use im_operator_plan::names;
use jiff::Timestamp;
use serde_json::Value;

use crate::access::{Access, at, name};
use crate::cli::{BackupArgs, Global};
use crate::head::{self, Verdict};
use crate::kubectl::kubectl;
use crate::output::{Outcome, complain, refused};

/// Copies it.
pub(crate) async fn run(
    access: &Access,
    global: &Global,
    args: &BackupArgs,
) -> anyhow::Result<Outcome> {
    let cluster = access.cluster(args.name.as_deref()).await?;
    let name = name(&cluster);
    on_embedded(&cluster)?;
    let pod = format!("{}-0", names::component(name, Role::DB_PROXY));
    let mut exec = kubectl(global, &access.namespace);
    exec.args(["exec", &pod, "--container", Role::DB_PROXY.name, "--"]);
    exec.args(["/imd", "backup", "--data-dir", "/data", "--to", "-"]);
    exec.stdin(Stdio::null());
    if args.to.as_deref() == Some(Path::new("-")) {
        let status = exec.status().context("run kubectl")?;
        anyhow::ensure!(status.success(), "the backup in {pod} failed");
        return Ok(Outcome::Done);
    }
    let to = args.to.clone().unwrap_or_else(|| file_name(name));
    let part = PathBuf::from(format!("{}.part", to.display()));
    if to.try_exists()? {
        return Err(refused(format!("{} exists", to.display())));
    }
    let file = create(&part)?;
    let status = exec.stdout(file).status().context("run kubectl");
    let result = status.and_then(|status| {
        anyhow::ensure!(status.success(), "the backup in {pod} failed");
        whole(&part)
    });
    let bytes = match result {
        Ok(bytes) => bytes,
        Err(error) => {
            fs::remove_file(&part).ok();
            return Err(error);
        }
    };
    fs::rename(&part, &to).with_context(|| format!("name {}", to.display()))?;
    complain(&format!("{} has {bytes} bytes and is whole", to.display()));
    Ok(Outcome::Done)
}

/// Refuses where the database is not in the pod.
fn on_embedded(cluster: &Value) -> anyhow::Result<()> {
    match at(cluster, "/spec/database/type") {
        "" | "Embedded" => Ok(()),
        kind => Err(refused(format!(
            "the database of {} is a {kind} server: back it up with its own tools",
            name(cluster)
        ))),
    }
}

fn file_name(cluster: &str) -> PathBuf {
    let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    PathBuf::from(format!("{cluster}-{now}.backup"))
}

/// A file that only its owner may read: it holds what everybody wrote.
fn create(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.with_context(|| format!("make {}", path.display()))
}

/// Bytes of a backup that is whole, and on disk.
fn whole(path: &Path) -> anyhow::Result<u64> {
    let (verdict, bytes) = judge(path)?;
    match verdict {
        Verdict::Whole => {}
        Verdict::CutOff { expected } => {
            bail!("the stream was cut off after {bytes} of {expected} bytes: make another backup")
        }
        Verdict::Foreign => bail!("what came is no backup"),
    }
    File::open(path)?.sync_all().context("write to disk")?;
    Ok(bytes)
}

/// What is to be thought of a file, and its length.
///
/// # Errors
/// It cannot be read.
pub(crate) fn judge(path: &Path) -> anyhow::Result<(Verdict, u64)> {
    let read = || -> std::io::Result<(Vec<u8>, u64)> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut head = Vec::new();
        let limit = u64::try_from(head::BYTES).unwrap_or(u64::MAX);
        file.take(limit).read_to_end(&mut head)?;
        Ok((head, bytes))
    };
    let (head, bytes) = read().with_context(|| format!("read {}", path.display()))?;
    Ok((head::judge(&head, bytes), bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_database_on_a_server_has_tools_of_its_own() {
        for (kind, refused) in [("Embedded", false), ("MySQL", true)] {
            let cluster =
                json!({"metadata": {"name": "demo"}, "spec": {"database": {"type": kind}}});
            assert_eq!(on_embedded(&cluster).is_err(), refused);
        }
        assert!(on_embedded(&json!({})).is_ok());
    }

    #[test]
    fn a_backup_is_for_its_owner_and_overwrites_nothing() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup");
        let file = create(&path).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(create(&path).is_err());
        assert!(whole(&path).unwrap_err().to_string().contains("no backup"));
    }
}
