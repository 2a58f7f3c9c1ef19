//! One look at one ImCluster: dereference → validate → build → apply → prune → status.
//!
//! Every step but the first and the last may fail without stopping what does not depend on it, and
//! whatever happened, the status tells. A look writes nothing when nothing is to be done.

use std::sync::Arc;
use std::time::Duration;

use im_core::Chain;
use im_operator_api::ImCluster;
use im_operator_plan::{Owner, Resolved, Role, SpecError, Templates, build, names, validate};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use tokio::time::Instant;
use tracing::{Instrument as _, info_span, warn};

use crate::apply::{Applier, ApplyError};
use crate::cache::{Children, ClusterKey};
use crate::claims::Claim;
use crate::clusters::{self, Guarded};
use crate::context::{self, Context, Memory};
use crate::load::{Load, Reading};
use crate::metrics::{CONTROLLER_LABELS, Outcome};
use crate::msg::address::Node;
use crate::recorder::Reason;
use crate::secret;
use crate::status::{Facts, Invalid, compose};

use report::{finish, previous_status, rest};

mod dereference;
mod facts;
mod history;
mod mirror;
mod msg;
mod proof;
mod references;
mod report;
mod stages;
mod tell;
mod volume;

/// A write that met a change is tried again after this time, if nothing is seen before.
const STALE: Duration = Duration::from_secs(1);
/// The Secret cannot be watched, so it is looked at this often.
const SECRET: Duration = Duration::from_secs(60);

/// A failure of the API server, or of a webhook that it asks, is told after this time: shorter ones
/// are ordinary.
const UNWRITTEN: Duration = Duration::from_secs(20);

/// Why a look did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReconcileError {
    /// The first of the things that failed.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// One look, with what it found.
pub(crate) struct Reconciliation<'a> {
    pub(crate) ctx: &'a Context,
    pub(crate) key: &'a ClusterKey,
    pub(crate) cluster: &'a Resolved,
    pub(crate) object: &'a ImCluster,
    pub(crate) about: &'a ObjectReference,
    pub(crate) owner: &'a Owner,
    pub(crate) children: &'a Children,
    pub(crate) load: &'a Load,
    pub(crate) reading: Reading,
    pub(crate) nodes: &'a [Node],
    pub(crate) applier: Applier<'a>,
    pub(crate) now: Timestamp,
}

/// What went wrong during a look, and when to look again.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    pub(crate) errors: Vec<ApplyError>,
    pub(crate) conflicts: Vec<String>,
    /// Something had changed under a write.
    pub(crate) stale: bool,
    pub(crate) wake_at: Option<Timestamp>,
}

impl Trouble {
    /// Asks for another look at this time at the latest.
    pub(crate) fn wake(&mut self, at: Option<Timestamp>) {
        self.wake_at = self.wake_at.into_iter().chain(at).min();
    }
}

/// One look at one object, counted.
pub(crate) async fn reconcile(
    object: Arc<Guarded>,
    ctx: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let key = clusters::key(object.as_ref());
    ctx.work_queue.begin(&key);
    let workers = ctx
        .metrics
        .active_workers
        .get_or_create_owned(&CONTROLLER_LABELS);
    workers.inc();
    let started = Instant::now();
    let span = info_span!("reconcile", namespace = key.namespace, name = key.name);
    let result = look(&object, &ctx, &key).instrument(span).await;
    workers.dec();
    let outcome = match &result {
        Ok(action) if *action == Action::await_change() => Outcome::success,
        Ok(_) => Outcome::requeue_after,
        Err(_) => Outcome::error,
    };
    ctx.metrics
        .reconciled(outcome, started.elapsed().as_secs_f64());
    if result.is_ok() {
        ctx.backoff.reset(&key);
    }
    result
}

/// What follows an error: another look after a while that grows.
pub(crate) fn retry(object: &Guarded, error: &ReconcileError, ctx: &Context) -> Action {
    let key = clusters::key(object);
    let ReconcileError::Apply(cause) = error;
    let pause = ctx.backoff.failed(&key, cause.passes());
    let (namespace, name) = (&key.namespace, &key.name);
    warn!(
        namespace,
        name,
        error = %Chain(error),
        ?pause,
        "reconcile failed"
    );
    Action::requeue(pause)
}

async fn look(object: &Guarded, ctx: &Context, key: &ClusterKey) -> Result<Action, ReconcileError> {
    if object.meta().deletion_timestamp.is_some() {
        // The garbage collector does the rest; there is no finalizer.
        ctx.forget(key);
        return Ok(Action::await_change());
    }
    let memory = ctx.memories.of(key);
    let mut memory = memory.lock().await;
    let uid = object.uid().unwrap_or_default();
    if memory.uid != uid {
        *memory = Memory {
            uid: uid.clone(),
            ..Memory::default()
        };
    }
    let about = object.object_ref(&());
    if idle(&about, ctx, key, &mut memory).await {
        return Ok(Action::await_change());
    }
    let checked = match &object.0 {
        Ok(cluster) => {
            validate::validate(cluster, &ctx.settings).map(|resolved| (cluster, resolved))
        }
        Err(unreadable) => Err(vec![SpecError {
            field: "spec".to_owned(),
            message: unreadable.error.clone(),
        }]),
    };
    match checked {
        Ok((cluster, resolved)) => valid(cluster, &resolved, &about, ctx, key, &mut memory).await,
        Err(errors) => invalid(object, errors, &about, ctx, key, &mut memory).await,
    }
}

/// Whether another operator looks after the namespace, or may do so: then nothing is touched, status
/// neither. A look is asked for when that changes.
async fn idle(
    about: &ObjectReference,
    ctx: &Context,
    key: &ClusterKey,
    memory: &mut Memory,
) -> bool {
    let claim = ctx.claims.of(key);
    if claim == Claim::Ours {
        if memory.idle.is_some() {
            // Another process may have written meanwhile.
            *memory = Memory {
                uid: std::mem::take(&mut memory.uid),
                ..Memory::default()
            };
        }
        return false;
    }
    if let Claim::Others(operator) = &claim
        && memory.idle.as_ref() != Some(&claim)
    {
        let note = format!(
            "operator {operator} looks after namespace {}: operator {} stays idle here",
            key.namespace,
            ctx.claims.installation()
        );
        let reason = Reason::LookedAfterByAnother;
        ctx.recorder.record(about, reason, &note).await;
    }
    memory.idle = Some(claim);
    true
}

/// Reports what is wrong with a specification, and touches nothing else.
async fn invalid(
    object: &Guarded,
    errors: Vec<SpecError>,
    about: &ObjectReference,
    ctx: &Context,
    key: &ClusterKey,
    memory: &mut Memory,
) -> Result<Action, ReconcileError> {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let text = lines.join("; ");
    let facts = Invalid {
        now: Timestamp::now(),
        generation: object.meta().generation,
        operator_version: ctx.settings.operator_version.clone(),
        errors,
    };
    let live = object
        .0
        .as_ref()
        .ok()
        .and_then(|cluster| cluster.status.clone());
    let previous = previous_status(live, memory);
    let status = compose::invalid(&facts, &previous);
    finish(status, &previous, ctx, key, memory).await?;
    if memory.told.invalid != text {
        ctx.recorder.record(about, Reason::SpecInvalid, &text).await;
        memory.told.invalid = text;
    }
    // Only a change can help.
    Ok(Action::await_change())
}

async fn valid(
    object: &ImCluster,
    cluster: &Resolved,
    about: &ObjectReference,
    ctx: &Context,
    key: &ClusterKey,
    memory: &mut Memory,
) -> Result<Action, ReconcileError> {
    let mut previous = previous_status(object.status.clone(), memory);
    memory.told.invalid.clear();
    let now = Timestamp::now();
    if previous.conditions.is_empty() {
        // Nobody takes a new object for a finished one while its children are made.
        let first = compose::first(
            object.metadata.generation,
            &ctx.settings.operator_version,
            cluster.selector_text(Role::MSG),
            now,
        );
        finish(first.clone(), &previous, ctx, key, memory).await?;
        previous = first;
    }
    let children = ctx.cache.children(key);
    let reading = dereference::reading(cluster);
    let load = ctx.loads.follow(key, reading);
    let nodes = dereference::nodes(cluster, key, ctx).await;
    let uid = memory.uid.clone();
    let owner = Owner {
        name: key.name.clone(),
        uid: uid.clone(),
    };
    let look = Reconciliation {
        ctx,
        key,
        cluster,
        object,
        about,
        owner: &owner,
        children: &children,
        load: &load,
        reading,
        nodes: &nodes,
        applier: Applier {
            client: &ctx.client,
            cluster: key,
            uid: &uid,
        },
        now,
    };
    let revisions = dereference::revisions(&look, memory).await?;
    let templates = Templates::from_revisions(&revisions);
    let desired = build::build(cluster, &owner, &templates);
    let mut trouble = Trouble::default();
    if !cluster.paused {
        look.secrets(memory, &mut trouble).await;
    }
    let stages = look.stages(&desired, memory, &mut trouble).await;
    let msg = look
        .msg(&desired, &templates, &stages, memory, &mut trouble)
        .await;
    if !cluster.paused {
        look.mirror(memory, &mut trouble).await;
        look.keep_claims(memory, &mut trouble).await;
        if trouble.errors.is_empty() {
            look.prune(&desired, memory, &mut trouble).await;
            look.forget_revisions(&desired, &revisions, &mut trouble)
                .await;
        }
    }
    look.find_references(memory, &mut trouble).await;
    let unwritten = unwritten(memory, &trouble);
    let facts = look.facts(&desired, &stages, &msg, &trouble, memory, &previous);
    let facts = Facts { unwritten, ..facts };
    let status = compose::status(&facts, &previous);
    look.tell(&facts, &status, memory).await;
    let rest = rest(&status, &previous, ctx, memory);
    if rest.is_zero() {
        finish(status, &previous, ctx, key, memory).await?;
    } else {
        // What changes again until then costs no write of its own.
        trouble.wake(now.checked_add(rest).ok());
    }
    look.next(trouble)
}

/// What has failed for a while although nobody refused it, as with a webhook that is away.
fn unwritten(memory: &mut Memory, trouble: &Trouble) -> Option<String> {
    let failed = |error: &&ApplyError| error.status().is_some_and(|it| it.code >= 500);
    let mut failed = trouble.errors.iter().filter(failed);
    let Some(first) = failed.next() else {
        memory.unwritten_since = None;
        return None;
    };
    let since = memory.unwritten_since.get_or_insert_with(Instant::now);
    (since.elapsed() >= UNWRITTEN).then(|| first.line())
}

impl Reconciliation<'_> {
    /// Makes sure that the installation's secret, the administrators' and the key of remembered logins exist.
    async fn secrets(&self, memory: &mut Memory, trouble: &mut Trouble) {
        let policy = self.cluster.spec.operation.deletion_policy;
        // Whoever changes the policy and then deletes the ImCluster means the new one.
        let due = memory
            .secrets_checked
            .is_none_or(|(at, under)| at.elapsed() >= SECRET || under != policy);
        if !due && memory.secrets.iter().all(Option::is_some) {
            return;
        }
        let reference = match serde_json::to_value(self.owner.reference()) {
            Ok(reference) => reference,
            Err(source) => {
                trouble.errors.push(ApplyError::Json {
                    what: "owner reference".to_owned(),
                    source,
                });
                return;
            }
        };
        let cluster = &self.key.name;
        let names = [
            names::internal_secret(cluster),
            names::admin_secret(cluster),
            names::remember_secret(cluster),
        ];
        let mut all_kept = true;
        for (name, known) in names.iter().zip(&mut memory.secrets) {
            let own = secret::Own {
                client: &self.ctx.client,
                name,
                cluster: self.key,
                owner: &reference,
                uid: &self.owner.uid,
                policy,
                running: self.children.of(crate::kinds::Kind::Pod).next().is_some(),
                fresh: self.children.iter().next().is_none(),
                // The key of remembered logins is chosen by its first value alone.
                overlaps: *name != names::remember_secret(cluster),
                now: self.now,
            };
            match own.ensure(known).await {
                Ok(kept) => self.tell_secret(name, kept, trouble).await,
                Err(error) => {
                    all_kept = false;
                    trouble.errors.push(error);
                }
            }
        }
        if all_kept {
            memory.secrets_checked = Some((Instant::now(), policy));
        }
    }

    async fn tell_secret(&self, name: &str, kept: secret::Kept, trouble: &mut Trouble) {
        match kept {
            secret::Kept::Present | secret::Kept::Made => {}
            secret::Kept::Changed => {
                let note = format!(
                    "Secret {name} has another text: pods take it over by themselves within two \
                     minutes, and those that do not share a value meanwhile cannot talk to each other"
                );
                self.record(Reason::SecretChanged, &note).await;
            }
            secret::Kept::Overlapping => {
                let note = format!(
                    "Secret {name} has another text: it holds the old and the new one from now on, the \
                     new one first in two minutes, and the new one alone in two more"
                );
                self.record(Reason::SecretChanged, &note).await;
            }
            secret::Kept::Advanced => {
                let note = format!("Secret {name} is one step further on the way to its new text");
                self.record(Reason::SecretRotated, &note).await;
            }
            secret::Kept::Restored => {
                let note = format!("Secret {name} was gone and has its old text again");
                self.record(Reason::SecretRestored, &note).await;
            }
            secret::Kept::Replaced => {
                let then = if name == names::remember_secret(&self.key.name) {
                    "whose login was remembered is verified once more"
                } else {
                    "change operation.restartTrigger, so that all pods use it"
                };
                let note = format!("Secret {name} was missing and has a new text: {then}");
                self.record(Reason::SecretReplaced, &note).await;
            }
            secret::Kept::Foreign => trouble.conflicts.push(format!("Secret {name}")),
        }
    }

    /// Says that something happened to this cluster.
    pub(crate) async fn record(&self, reason: Reason, note: &str) {
        self.ctx.recorder.record(self.about, reason, note).await;
    }

    /// When to look again.
    fn next(&self, mut trouble: Trouble) -> Result<Action, ReconcileError> {
        let conflict =
            |error: &ApplyError| error.status().is_some_and(kube::core::Status::is_conflict);
        trouble.stale |= trouble.errors.iter().any(conflict);
        trouble.errors.retain(|error| !conflict(error));
        if !trouble.errors.is_empty() {
            // What passes by itself says how soon to try again.
            let passes = trouble.errors.iter().position(ApplyError::passes);
            let first = trouble.errors.swap_remove(passes.unwrap_or(0));
            for error in &trouble.errors {
                let (namespace, name) = (&self.key.namespace, &self.key.name);
                warn!(namespace, name, error = %Chain(error), "also failed");
            }
            return Err(first.into());
        }
        let mut pause = self.ctx.resync.mul_f64(rand::random_range(1.0..1.1));
        if !self.cluster.paused {
            pause = pause.min(SECRET.mul_f64(rand::random_range(1.0..1.2)));
        }
        if let Some(at) = trouble.wake_at {
            let until = Duration::try_from(at.duration_since(self.now)).unwrap_or_default();
            pause = pause.min(until.max(Duration::from_millis(100)));
        }
        if trouble.stale {
            pause = pause.min(STALE);
        }
        Ok(Action::requeue(pause))
    }

    /// Labels of this cluster's series.
    pub(crate) fn labels(&self) -> crate::metrics::ClusterLabels {
        context::labels(self.key)
    }
}

#[cfg(test)]
mod tests;
