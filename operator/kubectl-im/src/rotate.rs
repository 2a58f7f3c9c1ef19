//! `rotate`: another value of a secret of the installation.
//!
//! A Secret holds one value a line: its readers present the first and accept all. For `internal` and `admin`
//! one write puts the new value behind the old one and notes the step, from which the operator goes on, also
//! when this process ends. `remember` is read by dbProxy alone: the new key goes before the old one, which is
//! taken away when logins under it have ended by themselves.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use im_operator_api::labels;
use im_operator_plan::names;
use jiff::{SignedDuration, Timestamp};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::access::{Access, CORE, annotation, at, code, holds, is_paused, is_seen, label, name};
use crate::cli::RotateArgs;
use crate::output::{Outcome, complain, print, refused, span};

/// Annotation of the Secret: since when the key of remembered logins has another one before it.
const ROTATED_AT: &str = "imcluster.io/remember-rotated-at";

/// How long a verified login is remembered unless the ImCluster says otherwise: `db_proxy.accounts.remember_for`.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Random bytes of a value.
const BYTES: usize = 32;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(5);

/// The secrets of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Which {
    /// What the servers show each other.
    Internal,
    /// What administrators show dbProxy.
    Admin,
    /// The key of remembered logins.
    Remember,
}

impl Which {
    fn secret(self, cluster: &str) -> String {
        match self {
            Self::Internal => names::internal_secret(cluster),
            Self::Admin => names::admin_secret(cluster),
            Self::Remember => names::remember_secret(cluster),
        }
    }
}

/// Begins a rotation or ends one, and waits if that is wanted.
pub(crate) async fn run(access: &Access, args: &RotateArgs) -> anyhow::Result<Outcome> {
    if args.finish && args.secret != Which::Remember {
        return Err(refused(
            "--finish is for remember alone: the operator ends the others by itself",
        ));
    }
    let cluster = access.cluster(args.name.as_deref()).await?;
    can_rotate(&cluster)?;
    let secret_name = args.secret.secret(name(&cluster));
    let path = access.object(CORE, "secrets", &secret_name)?;
    let secret = access.find(&path).await?;
    let secret = secret.with_context(|| format!("there is no Secret {secret_name}"))?;
    let now = Timestamp::now();
    let patch = if args.finish {
        finished(&secret, remembered_for(&cluster)?, args.early, now)?
    } else {
        begun(args.secret, &secret, &value()?, now)?
    };
    match access.merge(&path, &patch).await {
        Ok(_) => {}
        Err(error) if code(&error) == Some(409) => {
            return Err(refused(format!(
                "{secret_name} was changed by somebody else meanwhile: nothing was done"
            )));
        }
        Err(error) => return Err(error),
    }
    print(&(said(args, &secret_name) + "\n"))?;
    if args.wait && args.secret != Which::Remember {
        return wait(access, &path, args.timeout).await;
    }
    Ok(Outcome::Done)
}

fn said(args: &RotateArgs, secret: &str) -> String {
    match (args.secret, args.finish) {
        (Which::Remember, false) => format!(
            "{secret} has a new key, and logins under the old one are still good; when they have ended by \
             themselves, `kubectl im rotate remember --finish` takes it away"
        ),
        (Which::Remember, true) => format!("{secret} has the new key alone"),
        _ => format!(
            "{secret} has a second value, which everybody accepts in two minutes, presents in four, and \
             which is alone then; the operator does it"
        ),
    }
}

/// Nothing is begun that nobody would go on with, nor where it could hide another fault.
fn can_rotate(cluster: &Value) -> anyhow::Result<()> {
    let name = name(cluster);
    let why = if is_paused(cluster) {
        "is paused: the operator would not go on"
    } else if !is_seen(cluster) {
        "has a specification that the operator has not seen: it may not be running"
    } else if !holds(cluster, "Ready") {
        "is not Ready: put that right first, or servers that start meanwhile may be cut off"
    } else {
        return Ok(());
    };
    Err(refused(format!("{name} {why}")))
}

/// The values of a Secret that is ours, in their order.
fn values(secret: &Value) -> anyhow::Result<Vec<String>> {
    let name = name(secret);
    if label(secret, labels::MANAGED_BY) != Some(labels::MANAGER) {
        return Err(refused(format!(
            "the Secret {name} is not the operator's: whoever made it rotates it"
        )));
    }
    let text = decoded(at(secret, "/data/secret"));
    let text = text.with_context(|| format!("the Secret {name} has no text under its key"))?;
    let lines = text.lines().map(str::trim).filter(|it| !it.is_empty());
    let values: Vec<String> = lines.map(str::to_owned).collect();
    anyhow::ensure!(!values.is_empty(), "the Secret {name} is empty");
    Ok(values)
}

/// A text from its base64.
pub(crate) fn decoded(base64: &str) -> Option<String> {
    let wrapped = Value::String(base64.to_owned());
    let bytes: k8s_openapi::ByteString = serde_json::from_value(wrapped).ok()?;
    String::from_utf8(bytes.0).ok()
}

/// The write that begins a rotation. It holds only for the Secret as it was read.
fn begun(which: Which, secret: &Value, new: &str, now: Timestamp) -> anyhow::Result<Value> {
    let values = values(secret)?;
    let [old] = values.as_slice() else {
        let step = annotation(secret, labels::ROTATION_STEP);
        let since = annotation(secret, labels::ROTATION_SINCE).unwrap_or("an unknown time");
        let why = match step {
            Some(step) => format!("a rotation is under way, at the step {step} since {since}"),
            None if which == Which::Remember => {
                "it has a new key already: `--finish` takes the old one away".to_owned()
            }
            None => "it has several values: somebody rotates it by hand".to_owned(),
        };
        return Err(refused(format!("{}: {why}", name(secret))));
    };
    let (text, annotations) = if which == Which::Remember {
        (format!("{new}\n{old}"), json!({ROTATED_AT: written(now)}))
    } else {
        let step = json!({labels::ROTATION_STEP: "Accept", labels::ROTATION_SINCE: written(now)});
        (format!("{old}\n{new}"), step)
    };
    Ok(patch(secret, &text, annotations))
}

/// The write that leaves the new key of remembered logins alone.
fn finished(
    secret: &Value,
    remembered: Duration,
    early: bool,
    now: Timestamp,
) -> anyhow::Result<Value> {
    let values = values(secret)?;
    let (Some(new), true) = (values.first(), values.len() > 1) else {
        return Err(refused(format!(
            "{} has one key: no rotation is under way",
            name(secret)
        )));
    };
    let since: Option<Timestamp> = annotation(secret, ROTATED_AT).and_then(|it| it.parse().ok());
    let remembered = SignedDuration::try_from(remembered)?;
    let left = since.map(|since| remembered - now.duration_since(since));
    if !early && left.is_none_or(|left| left.is_positive()) {
        let left = left.map_or_else(|| "an unknown time".to_owned(), span);
        return Err(refused(format!(
            "logins under the old key are good for {left} more: with --early each of their people is \
             verified once more"
        )));
    }
    Ok(patch(secret, new, json!({ROTATED_AT: null})))
}

/// How long logins are remembered.
fn remembered_for(cluster: &Value) -> anyhow::Result<Duration> {
    let config = cluster.pointer("/spec/roles/dbProxy/config");
    let text = config.and_then(|it| it.get("db_proxy.accounts.remember_for"));
    let Some(text) = text.and_then(Value::as_str) else {
        return Ok(REMEMBERED);
    };
    let parsed = humantime::parse_duration(text);
    parsed.with_context(|| format!("read db_proxy.accounts.remember_for = {text}"))
}

fn patch(secret: &Value, text: &str, annotations: Value) -> Value {
    json!({
        "metadata": {
            "resourceVersion": at(secret, "/metadata/resourceVersion"),
            "annotations": annotations,
        },
        "stringData": {"secret": text},
    })
}

fn written(time: Timestamp) -> String {
    format!("{time:.0}")
}

/// A value that nobody can guess.
fn value() -> anyhow::Result<String> {
    let mut bytes = [0_u8; BYTES];
    OsRng
        .try_fill_bytes(&mut bytes)
        .context("ask the system for random bytes")?;
    let mut text = String::with_capacity(2 * BYTES);
    for byte in bytes {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

/// Waits until one value is left.
async fn wait(access: &Access, path: &str, timeout: u64) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let mut last = String::new();
    loop {
        let secret = access.get(path).await?;
        let step = annotation(&secret, labels::ROTATION_STEP);
        if values(&secret)?.len() == 1 && step.is_none() {
            complain("the new value is the only one");
            return Ok(Outcome::Done);
        }
        let line = match step {
            Some("Accept") => "everybody learns to accept the new value",
            Some("Present") => "everybody learns to present it",
            _ => "the operator has not gone on yet",
        };
        if last != line {
            complain(line);
            line.clone_into(&mut last);
        }
        if begun.elapsed() >= Duration::from_secs(timeout) {
            complain("not done in time; the operator goes on, if it runs");
            return Ok(Outcome::NotSo);
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests;
