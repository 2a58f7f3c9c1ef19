//! `restart`: a rolling restart through the specification, so that the operator does it as it does any roll.

use std::time::Duration;

use anyhow::Context as _;
use im_operator_api::Role;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::access::{Access, annotation, is_paused, name};
use crate::cli::RestartArgs;
use crate::output::{Outcome, complain, print, refused};
use crate::status::Pod;

/// Annotation of the pods: when their restart was asked for. That of `kubectl rollout restart`.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// Asks for it, and waits if that is wanted.
pub(crate) async fn run(access: &Access, args: &RestartArgs) -> anyhow::Result<Outcome> {
    let cluster = access.cluster(args.name.as_deref()).await?;
    let role = role(&args.role)?;
    let cluster_name = name(&cluster);
    if is_paused(&cluster) {
        return Err(refused(format!(
            "{cluster_name} is paused: no pod would be replaced"
        )));
    }
    let named = cluster.pointer(&format!("/spec/roles/{}", role.field));
    if role.optional && named.is_none() {
        return Err(refused(format!("{cluster_name} has no {}", role.field)));
    }
    let now = format!("{:.0}", Timestamp::now());
    let path = access.cluster_path(cluster_name)?;
    let changed = access.merge(&path, &patch(role, &now)).await?;
    let field = role.field;
    print(&format!(
        "{field} of {cluster_name} restarts, asked for at {now}\n"
    ))?;
    if !args.wait {
        return Ok(Outcome::Done);
    }
    let begun = Instant::now();
    let mut last = None;
    loop {
        let pods = access.pods(cluster_name, Some(role.name)).await?;
        // Another restart, asked for meanwhile, is one as well.
        let progress = Progress::of(&pods, wanted(&changed, role), &now);
        if last != Some(progress) {
            complain(&progress.line(field));
            last = Some(progress);
        }
        if progress.is_done() {
            return Ok(Outcome::Done);
        }
        if begun.elapsed() >= Duration::from_secs(args.timeout) {
            complain("not done in time; it goes on: `kubectl im status` shows what is in the way");
            return Ok(Outcome::NotSo);
        }
        sleep(LOOK).await;
    }
}

/// A role by its field or its component.
fn role(text: &str) -> anyhow::Result<Role> {
    let all = im_role::TABLE.in_order_of_rollout();
    let found = all.iter().find(|it| it.field == text || it.name == text);
    found.copied().with_context(|| {
        let fields: Vec<&str> = all.iter().map(|it| it.field).collect();
        format!("{text} is no role: {}", fields.join(", "))
    })
}

fn patch(role: Role, now: &str) -> Value {
    let annotations = json!({"annotations": {RESTARTED: now}});
    json!({"spec": {"roles": {role.field: {"podOverrides": {"metadata": annotations}}}}})
}

/// How many pods there are to be; a HorizontalPodAutoscaler may want others, which the status shows.
fn wanted(cluster: &Value, role: Role) -> usize {
    let field = role.field;
    let number = |pointer: String| cluster.pointer(&pointer).and_then(Value::as_u64);
    let wanted = number(format!("/status/roles/{field}/desiredReplicas"))
        .or_else(|| number(format!("/status/roles/{field}/replicas")))
        .or_else(|| number(format!("/spec/roles/{field}/replicas")));
    wanted.and_then(|it| usize::try_from(it).ok()).unwrap_or(1)
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    /// New pods that are ready.
    done: usize,
    /// New pods.
    new: usize,
    /// Pods from before.
    old: usize,
    wanted: usize,
}

impl Progress {
    fn of(pods: &[Value], wanted: usize, since: &str) -> Self {
        let is_new = |pod: &&Value| annotation(pod, RESTARTED).is_some_and(|at| at >= since);
        let new: Vec<&Value> = pods.iter().filter(is_new).collect();
        Self {
            done: new.iter().filter(|pod| Pod::of(pod).ready).count(),
            new: new.len(),
            old: pods.len() - new.len(),
            wanted,
        }
    }

    const fn is_done(&self) -> bool {
        self.old == 0 && self.done == self.new && self.done >= self.wanted
    }

    fn line(&self, field: &str) -> String {
        let Self {
            done, wanted, old, ..
        } = self;
        format!("{field}: {done} of {wanted} new pods are ready, {old} old ones are left")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    const NOW: &str = "2026-03-14T15:00:00Z";

    fn pod(restarted: &str, ready: bool) -> Value {
        let ready = if ready { "True" } else { "False" };
        json!({"metadata": {"name": "a", "annotations": {RESTARTED: restarted},
            "labels": {"app.kubernetes.io/component": "msg"}},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}})
    }

    #[test]
    fn it_is_done_when_every_pod_is_new_and_ready() {
        let (old, new) = ("2026-03-14T14:00:00Z", "2026-03-14T15:00:00Z");
        for (pods, done) in [
            (vec![], false),
            (vec![pod(old, true)], false),
            (vec![pod(new, true)], false),
            (vec![pod(new, true), pod(new, false)], false),
            (vec![pod(new, true), pod(new, true), pod(old, true)], false),
            (vec![pod(new, true), pod(new, true)], true),
            // Somebody asked again.
            (
                vec![pod("2026-03-14T15:01:00Z", true), pod(new, true)],
                true,
            ),
        ] {
            let progress = Progress::of(&pods, 2, NOW);
            assert_eq!(progress.is_done(), done, "{progress:?}");
        }
    }

    #[test]
    fn a_specification_with_it_is_one_that_the_operator_takes() {
        for role in im_role::TABLE.in_order_of_rollout() {
            let mut manifest = json!({"apiVersion": "imcluster.io/v1alpha1", "kind": "ImCluster",
                "metadata": {"name": "demo", "namespace": "chat"}, "spec": {"version": "0.1.0"}});
            manifest["spec"]["roles"] = patch(role, NOW)["spec"]["roles"].clone();
            if role.kubernetes.tls {
                manifest["spec"]["roles"][role.field]["tls"] = json!({"secretName": "tls"});
            }
            let settings = im_operator_plan::Settings::default();
            let wrong = im_operator_plan::documents::wrong(vec![manifest], &settings);
            let wrong = wrong.unwrap();
            // What an optional role needs beside is not said here.
            let about = format!("spec.roles.{}.podOverrides", role.field);
            assert!(!wrong.iter().any(|line| line.contains(&about)), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn it_stands_in_the_specification_and_not_while_that_is_paused() {
        let args = |role: &str| RestartArgs {
            role: role.to_owned(),
            name: None,
            wait: true,
            timeout: 1,
        };
        let (access, log) = testing::server(|asked| {
            let cluster = json!({"metadata": {"name": "demo"},
                "spec": {"roles": {"msg": {"replicas": 1}}}});
            match asked.path.rsplit('/').next() {
                Some("imclusters") => (200, json!({"items": [cluster]})),
                Some("pods") => (200, json!({"items": [pod("9999", true)]})),
                _ => (200, cluster),
            }
        });
        let done = run(&access, &args("msg")).await.unwrap();
        assert_eq!(done, Outcome::Done);
        let asked = log.take();
        let changed = asked.iter().find(|it| it.method == "PATCH").unwrap();
        let pointer = "/spec/roles/msg/podOverrides/metadata/annotations";
        let annotations = changed.body.pointer(pointer).unwrap();
        assert!(annotations[RESTARTED].is_string(), "{annotations}");
        assert!(run(&access, &args("nobody")).await.is_err());
        let error = run(&access, &args("push")).await.unwrap_err();
        assert!(error.to_string().contains("has no push"), "{error}");

        let (access, log) = testing::server(|_| {
            let metadata = json!({"name": "demo", "annotations": {"imcluster.io/paused": "true"}});
            (200, json!({"items": [{"metadata": metadata, "spec": {}}]}))
        });
        let error = run(&access, &args("msg")).await.unwrap_err();
        assert!(error.to_string().contains("is paused"), "{error}");
        assert_eq!(log.take().len(), 1);
    }
}
