//! `drain` and `undrain`: of a msg pod by an annotation that the operator reads, of a node by what `kubectl
//! cordon` does.

use anyhow::Context as _;
use im_operator_api::DRAIN_ANNOTATION;
use im_operator_api::{Role, labels};
use serde_json::{Value, json};

use crate::access::{Access, CORE, annotated, annotation, at, code, items, label, name};
use crate::cli::{DrainArgs, UndrainArgs};
use crate::output::{Outcome, print, refused};

/// Longest reason, bytes: it stands in lists.
const REASON: usize = 200;

/// What is drained.
enum Target {
    Pod(Value),
    Node(Value),
}

/// Asks for a drain.
pub(crate) async fn run(access: &Access, args: &DrainArgs) -> anyhow::Result<Outcome> {
    let reason = reason(&args.reason)?;
    match find(access, &args.target).await? {
        Target::Pod(pod) => {
            let path = access.object(CORE, "pods", name(&pod))?;
            access
                .merge(&path, &annotated(DRAIN_ANNOTATION, Some(reason)))
                .await?;
            print(&format!(
                "pod {} is to let its clients go: {reason}\n`kubectl im status` shows how far it is, \
                 `kubectl im undrain {}` takes it back\n",
                name(&pod),
                name(&pod)
            ))?;
        }
        Target::Node(node) => {
            let node = name(&node);
            cordon(access, node, true).await?;
            let lines = consequences(node, &on_node(access, node).await?);
            print(&(lines.join("\n") + "\n"))?;
        }
    }
    Ok(Outcome::Done)
}

/// Takes a drain back.
pub(crate) async fn undo(access: &Access, args: &UndrainArgs) -> anyhow::Result<Outcome> {
    match find(access, &args.target).await? {
        Target::Pod(pod) => {
            let path = access.object(CORE, "pods", name(&pod))?;
            access
                .merge(&path, &annotated(DRAIN_ANNOTATION, None))
                .await?;
            let begun = annotation(&pod, labels::DRAINING).is_some();
            let then = if begun {
                ": the operator has decided already that it goes, and keeps it if it still can"
            } else {
                ""
            };
            print(&format!(
                "pod {} is asked to go no more{then}\n",
                name(&pod)
            ))?;
        }
        Target::Node(node) => {
            let node = name(&node);
            cordon(access, node, false).await?;
            print(&format!("node {node} takes pods again\n"))?;
        }
    }
    Ok(Outcome::Done)
}

/// A reason that fits into a line.
fn reason(text: &str) -> anyhow::Result<&str> {
    let text = text.trim();
    if text.is_empty() || text.len() > REASON || text.contains(char::is_control) {
        return Err(refused(format!(
            "a reason is one line of 1 to {REASON} bytes"
        )));
    }
    Ok(text)
}

async fn find(access: &Access, target: &str) -> anyhow::Result<Target> {
    let (kind, wanted) = target.split_once('/').unwrap_or(("", target));
    let kind = match kind {
        "" | "pod" | "node" => kind,
        "pods" | "po" => "pod",
        "nodes" | "no" => "node",
        _ => return Err(refused(format!("{target} is neither a pod nor a node"))),
    };
    if kind != "node"
        && let Some(pod) = access.find(&access.object(CORE, "pods", wanted)?).await?
    {
        check(&pod)?;
        return Ok(Target::Pod(pod));
    }
    anyhow::ensure!(
        kind != "pod",
        "there is no pod {wanted} in {}",
        access.namespace
    );
    // The name is one that a path may have: it was one of a pod, or is checked as such.
    access.object(CORE, "pods", wanted)?;
    match access.find(&format!("{CORE}/nodes/{wanted}")).await {
        Ok(node) => node.map(Target::Node).with_context(|| {
            format!(
                "there is no pod {wanted} in {}, and no such node",
                access.namespace
            )
        }),
        Err(error) if code(&error) == Some(403) => Err(refused(format!(
            "{wanted} is no pod in {} that can be meant, and you may not read nodes: name a pod, or ask \
             somebody who may change nodes",
            access.namespace
        ))),
        Err(error) => Err(error),
    }
}

/// Only msg pods have clients that can be moved.
fn check(pod: &Value) -> anyhow::Result<()> {
    let of_ours = label(pod, labels::MANAGED_BY) == Some(labels::MANAGER);
    if of_ours && label(pod, labels::COMPONENT) == Some(Role::MSG.name) {
        return Ok(());
    }
    Err(refused(format!(
        "{} is no msg pod of an ImCluster: others have no clients to move, and are replaced when they are \
         deleted or evicted",
        name(pod)
    )))
}

async fn cordon(access: &Access, node: &str, cordoned: bool) -> anyhow::Result<()> {
    let change = json!({"spec": {"unschedulable": cordoned.then_some(true)}});
    let path = format!("{CORE}/nodes/{node}");
    match access.merge(&path, &change).await {
        Ok(_) => Ok(()),
        Err(error) if code(&error) == Some(403) => Err(refused(format!(
            "you may not change nodes: ask somebody who may, or drain the msg pods on {node} one by one"
        ))),
        Err(error) => Err(error),
    }
}

/// Pods of ImClusters in this namespace on a node.
async fn on_node(access: &Access, node: &str) -> anyhow::Result<Vec<Value>> {
    let path = access.path(CORE, "pods");
    let of = crate::access::query(&format!("{}={}", labels::MANAGED_BY, labels::MANAGER));
    let list = format!("{path}?labelSelector={of}&fieldSelector=spec.nodeName%3D{node}");
    Ok(items(access.get(&list).await?))
}

/// What becomes of the pods on a node that takes no new ones.
fn consequences(node: &str, pods: &[Value]) -> Vec<String> {
    let mut lines = vec![format!("node {node} takes no new pods")];
    let is_msg = |pod: &&Value| label(pod, labels::COMPONENT) == Some(Role::MSG.name);
    let msg: Vec<&str> = pods.iter().filter(is_msg).map(name).collect();
    if !msg.is_empty() {
        lines.push(format!(
            "msg: an operator that may read nodes moves the clients of {}, each once it has a replacement; \
             where it may not, name these pods to `kubectl im drain`",
            msg.join(", ")
        ));
    }
    for pod in pods.iter().filter(|pod| !is_msg(pod)) {
        let role = label(pod, labels::COMPONENT).unwrap_or_default();
        let then = if role == Role::DB_PROXY.name {
            "nobody is served while its one pod moves, unless the database is on a server and others stand by"
        } else {
            "it is replaced elsewhere when it is evicted"
        };
        lines.push(format!(
            "{}: stays until `kubectl drain`; {then}",
            name(pod)
        ));
    }
    if pods.is_empty() {
        lines.push("no pod of an ImCluster of this namespace is on it".to_owned());
    } else if pods.iter().any(|pod| at(pod, "/status/phase") == "Pending") {
        lines.push("some of its pods have not started yet".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Refusal;
    use crate::testing::{self, refusal};

    fn pod(name: &str, role: &str) -> Value {
        json!({"metadata": {"name": name, "labels": {"app.kubernetes.io/component": role,
            "app.kubernetes.io/managed-by": "imcluster-operator"}}})
    }

    fn args(target: &str) -> DrainArgs {
        DrainArgs {
            target: target.to_owned(),
            reason: " its node makes noises ".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_pod_gets_the_annotation_and_loses_it_again() {
        let (access, log) = testing::server(|_| (200, pod("demo-msg-a", "msg")));
        run(&access, &args("demo-msg-a")).await.unwrap();
        let undo_args = UndrainArgs {
            target: "pod/demo-msg-a".to_owned(),
        };
        undo(&access, &undo_args).await.unwrap();
        let asked = log.take();
        let path = "/api/v1/namespaces/chat/pods/demo-msg-a";
        assert!(asked.iter().all(|it| it.path == path), "{asked:?}");
        let drain = |it: usize| &asked[it].body["metadata"]["annotations"]["imcluster.io/drain"];
        assert_eq!(drain(1), "its node makes noises");
        assert!(asked[3].body.to_string().contains("null") && drain(3).is_null());
    }

    #[tokio::test]
    async fn only_msg_pods_are_drained_and_no_name_leads_elsewhere() {
        for (target, there) in [
            ("demo-db-proxy-0", pod("demo-db-proxy-0", "db-proxy")),
            ("pod/x", json!({"metadata": {"name": "x"}})),
            ("service/x", Value::Null),
            ("node/../pods", Value::Null),
        ] {
            let (access, log) = testing::server(move |_| (200, there.clone()));
            let error = run(&access, &args(target)).await.unwrap_err();
            assert!(error.downcast_ref::<Refusal>().is_some(), "{error:#}");
            assert!(log.take().iter().all(|it| it.method == "GET"), "{target}");
        }
    }

    #[tokio::test]
    async fn a_node_is_cordoned_by_those_who_may_and_what_follows_is_said() {
        let (access, log) = testing::server(|asked| match asked.path.as_str() {
            "/api/v1/nodes/worker-1" => (200, json!({"metadata": {"name": "worker-1"}})),
            "/api/v1/namespaces/chat/pods" => (200, json!({"items": []})),
            _ => refusal(404, "NotFound"),
        });
        run(&access, &args("worker-1")).await.unwrap();
        let asked = log.take();
        let bodies: Vec<_> = asked.iter().filter(|it| it.method == "PATCH").collect();
        assert_eq!(bodies[0].body, json!({"spec": {"unschedulable": true}}));
        let lines = consequences("worker-1", &[pod("a", "msg"), pod("b", "db-proxy")]);
        assert_eq!(lines.len(), 3);
        assert!(lines[1].contains("clients of a"), "{lines:?}");
        assert!(lines[2].starts_with("b: stays"), "{lines:?}");

        let (access, _) = testing::server(|asked| match asked.path.as_str() {
            "/api/v1/nodes/worker-1" => refusal(403, "Forbidden"),
            _ => refusal(404, "NotFound"),
        });
        let error = run(&access, &args("worker-1")).await.unwrap_err();
        assert!(error.downcast_ref::<Refusal>().is_some(), "{error:#}");
    }
}
