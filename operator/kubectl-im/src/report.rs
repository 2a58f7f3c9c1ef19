//! `report`: what somebody needs who is to help, in one file without secrets.
//!
//! Everything is bounded: what one answer may have, what all logs may have, and the sum. What does not fit, and
//! what may not be read, is said in the file LEFT-OUT.txt.

mod archive;
mod redact;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use im_operator_api::labels;
use jiff::Timestamp;
use serde_json::Value;

use crate::access::{APPS, Access, CORE, at, items, label, name, query, said};
use crate::cli::ReportArgs;
use crate::output::{Outcome, complain, refused};
use redact::Redactor;

/// Bytes of all texts together: the file has less, as it is compressed, and never more than 20 MiB.
const TOTAL: usize = 18 << 20;
/// Bytes of a list of objects, as it is read.
const LIST: usize = 8 << 20;
/// Bytes of all logs together.
const LOGS: usize = 12 << 20;
/// Bytes of one log.
const LOG: usize = 1 << 20;
/// Bytes of what one server says of itself.
const DUMP: usize = 256 << 10;
/// Age of the oldest line of a log, seconds.
const LOG_SECONDS: u32 = 1_800;
/// Port at which servers say it, unless `observability.metrics.port` names another.
const PORT: i64 = 9_090;

/// What is read: its file, where it is, and whether it is chosen by the ImCluster's label.
const KINDS: &[(&str, &str, &str, bool)] = &[
    ("pods", CORE, "pods", true),
    ("services", CORE, "services", true),
    ("configmaps", CORE, "configmaps", true),
    ("claims", CORE, "persistentvolumeclaims", false),
    ("deployments", APPS, "deployments", true),
    ("statefulsets", APPS, "statefulsets", true),
    ("replicasets", APPS, "replicasets", true),
    ("revisions", APPS, "controllerrevisions", true),
    (
        "endpoints",
        "/apis/discovery.k8s.io/v1",
        "endpointslices",
        true,
    ),
    (
        "policies",
        "/apis/networking.k8s.io/v1",
        "networkpolicies",
        true,
    ),
    ("budgets", "/apis/policy/v1", "poddisruptionbudgets", true),
    (
        "autoscalers",
        "/apis/autoscaling/v2",
        "horizontalpodautoscalers",
        false,
    ),
    ("quotas", CORE, "resourcequotas", false),
    ("limits", CORE, "limitranges", false),
    ("events", CORE, "events", false),
];

/// Writes it.
pub(crate) async fn run(access: &Access, args: &ReportArgs) -> anyhow::Result<Outcome> {
    let cluster = access.cluster(args.name.as_deref()).await?;
    let title = format!("im-report-{}-{}", access.namespace, name(&cluster));
    let to = args.to.clone();
    let to = to.unwrap_or_else(|| PathBuf::from(format!("{title}.tar.gz")));
    if to.try_exists()? {
        return Err(refused(format!("{} exists", to.display())));
    }
    let files = gather(access, cluster, &title, Timestamp::now()).await?;
    let packed = archive::pack(&files)?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(&to)?;
    let written = file.write_all(&packed).and_then(|()| file.sync_all());
    written.with_context(|| format!("write {}", to.display()))?;
    let (_, left_out) = files.last().context("a list of what is left out")?;
    complain(left_out.trim_end());
    complain(&format!(
        "{} has {} bytes; look through it before you give it away",
        to.display(),
        packed.len()
    ));
    Ok(Outcome::Done)
}

/// Texts on their way into the file.
struct Report {
    title: String,
    redactor: Redactor,
    files: Vec<(String, String)>,
    left_out: Vec<String>,
    bytes: usize,
}

impl Report {
    /// Takes a text in, if it fits.
    fn add(&mut self, file: &str, text: String) {
        if self.bytes + text.len() > TOTAL {
            let bytes = text.len();
            self.left_out
                .push(format!("{file}: its {bytes} bytes do not fit"));
            return;
        }
        self.bytes += text.len();
        self.files.push((format!("{}/{file}", self.title), text));
    }

    fn add_objects(&mut self, file: &str, objects: Vec<Value>) -> anyhow::Result<()> {
        let objects: Vec<Value> = { objects.into_iter() }
            .map(|object| self.redactor.object(object))
            .collect();
        // JSON is YAML too, and whoever reads it may like either.
        let text = serde_json::to_string_pretty(&objects)? + "\n";
        self.add(file, text);
        Ok(())
    }
}

/// All of it; the last file says what is left out.
async fn gather(
    access: &Access,
    cluster: Value,
    title: &str,
    now: Timestamp,
) -> anyhow::Result<Vec<(String, String)>> {
    let (secrets, note) = secrets(access, &cluster).await;
    let mut report = Report {
        title: title.to_owned(),
        redactor: Redactor::new(secrets.iter().map(String::as_str)),
        files: Vec::new(),
        left_out: note.into_iter().collect(),
        bytes: 0,
    };
    let of = query(&format!("{}={}", labels::INSTANCE, name(&cluster)));
    let port = cluster.pointer("/spec/observability/metrics/port");
    let port = port.and_then(Value::as_i64).unwrap_or(PORT);
    report.add_objects("imcluster.json", vec![cluster])?;
    let mut pods = Vec::new();
    for (file, group, plural, chosen) in KINDS {
        let mut path = access.path(group, plural);
        if *chosen {
            path.push_str(&format!("?labelSelector={of}"));
        }
        match list(access, &path).await {
            Ok(mut objects) => {
                objects.sort_by(|a, b| name(a).cmp(name(b)));
                if *plural == "pods" {
                    pods.clone_from(&objects);
                }
                report.add_objects(&format!("{file}.json"), objects)?;
            }
            Err(error) => report.left_out.push(format!("{file}: {}", said(&error))),
        }
    }
    for pod in &pods {
        of_server(access, &mut report, pod, port).await?;
    }
    logs(access, &mut report, &pods).await?;
    let mut text = format!(
        "Made {now:.0}, logs from {} minutes before.\n",
        LOG_SECONDS / 60
    );
    text.push_str("Never here: Secrets, what is in the store, files and pictures.\n");
    report.left_out.sort();
    for line in &report.left_out {
        text.push_str(&report.redactor.text(line));
        text.push('\n');
    }
    report.files.sort();
    report.files.push((format!("{title}/LEFT-OUT.txt"), text));
    Ok(report.files)
}

/// The values of all Secrets that may be read, encoded: they are looked for and not written. And what to say
/// if there are none to look for.
async fn secrets(access: &Access, cluster: &Value) -> (Vec<String>, Option<String>) {
    // Releases of Helm are large, and made of what stands in charts.
    let path = format!(
        "{}?fieldSelector={}",
        access.path(CORE, "secrets"),
        query("type!=helm.sh/release.v1")
    );
    match list(access, &path).await {
        Ok(secrets) => {
            let data = { secrets.iter() }.filter_map(|it| it.get("data")?.as_object());
            let values = data.flat_map(serde_json::Map::values);
            let values = values.filter_map(Value::as_str).map(str::to_owned);
            (values.collect(), None)
        }
        Err(error) => {
            let note = format!(
                "values of Secrets of {} could not be looked for, only what looks like some: {}",
                name(cluster),
                said(&error)
            );
            (Vec::new(), Some(note))
        }
    }
}

async fn list(access: &Access, path: &str) -> anyhow::Result<Vec<Value>> {
    let (text, whole) = access.text(path, LIST).await?;
    anyhow::ensure!(whole, "the list has more than {} MiB", LIST >> 20);
    Ok(items(serde_json::from_str(&text)?))
}

/// What a server says of itself.
async fn of_server(
    access: &Access,
    report: &mut Report,
    pod: &Value,
    port: i64,
) -> anyhow::Result<()> {
    let pod = name(pod);
    for (page, ending) in [("debug/dump", "dump.json"), ("metrics", "metrics.txt")] {
        let path = access.object(CORE, "pods", pod)?;
        let path = format!("{path}:{port}/proxy/{page}");
        let file = format!("pods/{pod}.{ending}");
        match access.text(&path, DUMP).await {
            Ok((text, whole)) => {
                let clean = match serde_json::from_str::<Value>(&text) {
                    Ok(dump) => serde_json::to_string_pretty(&report.redactor.object(dump))?,
                    Err(_) => report.redactor.text(&text),
                };
                report.add(&file, clean);
                if !whole {
                    let line = format!("{file}: what is beyond {} KiB", DUMP >> 10);
                    report.left_out.push(line);
                }
            }
            Err(error) => report.left_out.push(format!("{file}: {}", said(&error))),
        }
    }
    Ok(())
}

/// The last lines of each container, all with the same share.
async fn logs(access: &Access, report: &mut Report, pods: &[Value]) -> anyhow::Result<()> {
    let mut sources = Vec::new();
    for pod in pods {
        let statuses = |pointer| pod.pointer(pointer).and_then(Value::as_array);
        for container in statuses("/status/containerStatuses").into_iter().flatten() {
            sources.push((pod, at(container, "/name"), false));
            let restarts = container.get("restartCount").and_then(Value::as_i64);
            if restarts.is_some_and(|it| it > 0) {
                sources.push((pod, at(container, "/name"), true));
            }
        }
    }
    let share = LOG.min(LOGS / sources.len().max(1));
    for (pod, container, previous) in sources {
        let role = label(pod, labels::COMPONENT).unwrap_or_default();
        let before = if previous { ".previous" } else { "" };
        let file = format!("logs/{role}/{}.{container}{before}.log", name(pod));
        let path = access.object(CORE, "pods", name(pod))?;
        let path = format!(
            "{path}/log?container={}&previous={previous}&sinceSeconds={LOG_SECONDS}&limitBytes={share}",
            query(container)
        );
        match access.text(&path, share).await {
            Ok((text, _)) => {
                if text.len() == share {
                    let line = format!("{file}: what is beyond {} KiB", share >> 10);
                    report.left_out.push(line);
                }
                let clean = report.redactor.text(&text);
                report.add(&file, clean);
            }
            Err(error) => report.left_out.push(format!("{file}: {}", said(&error))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
