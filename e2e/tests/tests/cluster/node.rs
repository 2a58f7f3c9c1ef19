//! The cluster itself: what the other tests take for granted.

use im_e2e_kube::layout::{GUEST_IMAGE, REGISTRY};
use im_e2e_kube::parts::Part;
use im_e2e_kube::testing::{Cluster, TestNamespace, address, guest_pod, kubectl};
use im_e2e_kube::wait::{LATER, SOON, until};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};

/// Makes a pod of the helper program and waits until it is ready.
async fn guest(namespace: &TestNamespace, name: &str, args: &[&str]) -> Pod {
    let manifest = guest_pod(name, &json!({"app": name}), args);
    namespace.apply(&manifest.to_string()).unwrap();
    namespace.ready(name).await.unwrap()
}

fn service(name: &str, headless: bool) -> Value {
    let mut service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    if headless {
        service["metadata"]["name"] = format!("{name}-headless").into();
        service["spec"]["clusterIP"] = "None".into();
    }
    service
}

#[tokio::test]
async fn restricted_namespaces_take_safe_pods_and_refuse_others() {
    let cluster = Cluster::connect().await.unwrap();
    let namespace = cluster.namespace("restricted").await.unwrap();
    guest(&namespace, "safe", &["pause"]).await;
    let status = namespace
        .exec("safe", &["/guest", "read", "/proc/1/status"])
        .unwrap();
    for line in ["Seccomp:\t2", "CapEff:\t0000000000000000", "Uid:\t65532"] {
        assert!(status.contains(line), "{line} in {status}");
    }
    let refused = namespace.exec("safe", &["/guest", "write", "/tmp/x", "x"]);
    let reason = format!("{:#}", refused.unwrap_err());
    assert!(reason.contains("Read-only file system"), "{reason}");

    let mut unsafe_pod = guest_pod("unsafe", &json!({}), &["pause"]);
    unsafe_pod["spec"]["containers"][0]["securityContext"] = json!({});
    let reason = namespace
        .apply(&unsafe_pod.to_string())
        .unwrap_err()
        .to_string();
    assert!(reason.contains("violates PodSecurity"), "{reason}");
}

#[tokio::test]
async fn services_lead_to_pods_by_name_and_address() {
    let cluster = Cluster::connect().await.unwrap();
    let namespace = cluster.namespace("services").await.unwrap();
    let pod = guest(&namespace, "web", &["serve", "8080"]).await;
    guest(&namespace, "client", &["pause"]).await;
    for headless in [false, true] {
        namespace
            .apply(&service("web", headless).to_string())
            .unwrap();
    }
    for target in [
        "web:80".to_owned(),
        format!("web.{}.svc.cluster.local:80", namespace.name()),
        format!("{}:8080", address(&pod).unwrap()),
    ] {
        until(&format!("{target} answers"), SOON, async || {
            let answer = namespace.exec("client", &["/guest", "get", &target]);
            answer.ok().filter(|body| body.trim() == "web")
        })
        .await
        .unwrap();
    }
    until(
        "the headless name has the pod's address",
        SOON,
        async || {
            let found = namespace
                .exec("client", &["/guest", "resolve", "web-headless"])
                .ok()?;
            (found.trim() == address(&pod).unwrap()).then_some(())
        },
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn claims_get_a_volume_that_lasts_longer_than_pods_and_goes_with_the_claim() {
    let cluster = Cluster::connect().await.unwrap();
    let namespace = cluster.namespace("volumes").await.unwrap();
    let claim = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    namespace.apply(&claim.to_string()).unwrap();
    for (name, command) in [
        ("first", &["/guest", "write", "/data/note", "kept"][..]),
        ("second", &["/guest", "read", "/data/note"]),
    ] {
        let mut pod = guest_pod(name, &json!({}), &["pause"]);
        pod["spec"]["volumes"] =
            json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
        pod["spec"]["containers"][0]["volumeMounts"] =
            json!([{"name": "data", "mountPath": "/data"}]);
        namespace.apply(&pod.to_string()).unwrap();
        namespace.ready(name).await.unwrap();
        let said = namespace.exec(name, command).unwrap();
        assert_eq!(said, if name == "second" { "kept" } else { "" });
        namespace
            .kubectl(&["delete", "pod", name, "--timeout=60s"])
            .unwrap();
    }
    let claims = namespace.api::<PersistentVolumeClaim>();
    let volume = claims
        .get("data")
        .await
        .unwrap()
        .spec
        .unwrap()
        .volume_name
        .unwrap();
    claims
        .delete("data", &DeleteParams::default())
        .await
        .unwrap();
    let volumes = Api::<PersistentVolume>::all(cluster.client());
    until("the volume goes with its claim", LATER, async || {
        volumes.get_opt(&volume).await.ok()?.is_none().then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn pods_pull_from_a_registry() {
    let cluster = Cluster::connect().await.unwrap();
    let Some(node) = cluster.node("pulling from the node's registry") else {
        return;
    };
    node.start(Part::Registry).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("guest.tar");
    let layout = folder.path().join("layout");
    let run = |program: &str, args: &[&str]| {
        im_e2e_kube::run::check_output(std::process::Command::new(program).args(args))
    };
    let (archive, layout) = (archive.to_str().unwrap(), layout.to_str().unwrap());
    run("ctr", &["images", "export", archive, GUEST_IMAGE]).unwrap();
    run("mkdir", &[layout]).unwrap();
    run("tar", &["-xf", archive, "-C", layout]).unwrap();
    let image = format!("{REGISTRY}/guest:pulled");
    until("the registry takes the image", SOON, async || {
        run("crane", &["push", "--insecure", layout, &image]).ok()
    })
    .await
    .unwrap();
    let namespace = cluster.namespace("registry").await.unwrap();
    let mut pod = guest_pod("pulled", &json!({}), &["pause"]);
    pod["spec"]["containers"][0]["image"] = image.clone().into();
    pod["spec"]["containers"][0]["imagePullPolicy"] = "Always".into();
    namespace.apply(&pod.to_string()).unwrap();
    namespace.ready("pulled").await.unwrap();
    let events = namespace.kubectl(&["get", "events"]).unwrap();
    assert!(
        events.contains(&format!("Successfully pulled image \"{image}\"")),
        "{events}"
    );
    node.stop(Part::Registry).await.unwrap();
}

#[tokio::test]
async fn the_audit_log_holds_what_service_accounts_ask_for() {
    let cluster = Cluster::connect().await.unwrap();
    let Some(node) = cluster.node("the audit log") else {
        return;
    };
    let namespace = cluster.namespace("audit").await.unwrap();
    let user = format!("system:serviceaccount:{}:default", namespace.name());
    let token = namespace.kubectl(&["create", "token", "default"]).unwrap();
    let as_account = format!("--token={}", token.trim());
    // Without the client certificate of the kubeconfig, which would come first.
    let ca = node.layout().pki().join("ca.crt");
    let ca = format!("--certificate-authority={}", ca.display());
    let denied = kubectl(&[
        "--kubeconfig=/dev/null",
        "--server=https://198.18.0.1:6443",
        &ca,
        &as_account,
        "get",
        "secrets",
        "-n",
        namespace.name(),
    ]);
    let reason = format!("{:#}", denied.unwrap_err());
    assert!(reason.contains("forbidden"), "{reason}");
    let log = node.layout().audit_log();
    until("the refusal is in the log", SOON, async || {
        let text = std::fs::read_to_string(&log).ok()?;
        let mut events = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.find(|event| {
            event["user"]["username"] == user.as_str()
                && event["verb"] == "list"
                && event["objectRef"]["resource"] == "secrets"
                && event["responseStatus"]["code"] == 403
        })
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn parts_stop_and_start_by_name_while_pods_live_on() {
    let cluster = Cluster::alone().await.unwrap();
    let Some(node) = cluster.node("stopping parts of the node") else {
        return;
    };
    let namespace = cluster.namespace("parts").await.unwrap();
    let pod = guest(&namespace, "web", &["serve", "8080"]).await;
    let web = format!("{}:8080", address(&pod).unwrap());
    let ready = || kubectl(&["get", "--raw=/readyz", "--request-timeout=5s"]);
    let parts = [
        (Part::KubeApiserver, "refused"),
        (Part::Etcd, "etcd"),
        (Part::Kubelet, ""),
        (Part::Containerd, ""),
    ];
    for (part, symptom) in parts {
        node.kill(part).await.unwrap();
        if !symptom.is_empty() {
            until(&format!("{} is missed", part.name()), SOON, async || {
                let reason = format!("{:#}", ready().err()?);
                reason.contains(symptom).then_some(())
            })
            .await
            .unwrap();
        }
        // The pod answers, whatever is missing.
        tokio::net::TcpStream::connect(&web).await.unwrap();
        node.start(part).await.unwrap();
        until(
            &format!("ready again after {}", part.name()),
            LATER,
            async || ready().ok(),
        )
        .await
        .unwrap();
    }
    until("commands run in the pod again", LATER, async || {
        namespace.exec("web", &["/guest", "get", &web]).ok()
    })
    .await
    .unwrap();
    assert_eq!(
        namespace.ready("web").await.unwrap().metadata.uid,
        pod.metadata.uid
    );
}
