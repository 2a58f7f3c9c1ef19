//! `kubectl im`, as kubectl finds it, run by somebody with the rights that the documents give.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, ensure};
use im_e2e_kube::testing::{self, TestNamespace};
use serde_json::{Value, json};

use crate::installation::{INSTALL, Installation, NAME, manifest, small, with};

/// The rights beside `edit`.
const ROLE: &str = include_str!("../../../../docs/kubectl-im/role.yaml");

/// A person with a kubeconfig and a folder.
struct Administrator {
    folder: tempfile::TempDir,
    namespace: String,
}

impl Administrator {
    /// Gives a ServiceAccount the rights, and makes its kubeconfig of the tests' own.
    fn of(namespace: &TestNamespace) -> anyhow::Result<Self> {
        namespace.apply(ROLE)?;
        let account = format!("{}:administrator", namespace.name());
        namespace.kubectl(&["create", "serviceaccount", "administrator"])?;
        for (name, role) in [
            ("im", "--role=im-administrator"),
            ("edit", "--clusterrole=edit"),
        ] {
            let to = format!("--serviceaccount={account}");
            namespace.kubectl(&["create", "rolebinding", name, role, &to])?;
        }
        let token = namespace.kubectl(&["create", "token", "administrator"])?;
        let view = [
            "config",
            "view",
            "--raw",
            "--minify",
            "--flatten",
            "-o",
            "json",
        ];
        let mut config: Value = serde_json::from_str(&testing::kubectl(&view)?)?;
        config["users"][0]["user"] = json!({"token": token.trim()});
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("config"), config.to_string())?;
        Ok(Self {
            folder,
            namespace: namespace.name().to_owned(),
        })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// `kubectl im …` in the namespace.
    fn run(&self, args: &[&str]) -> anyhow::Result<Output> {
        let test = std::env::current_exe()?;
        let programs = test.ancestors().nth(2).context("the folder of programs")?;
        let plugin = programs.join("kubectl-im");
        ensure!(plugin.is_file(), "build kubectl-im: {}", plugin.display());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(programs.to_path_buf()).chain(std::env::split_paths(&path));
        let mut command = Command::new("kubectl");
        command.arg("im").args(args).args(["-n", &self.namespace]);
        command.env("PATH", std::env::join_paths(path)?);
        command.env("KUBECONFIG", self.path("config"));
        Ok(command.current_dir(self.folder.path()).output()?)
    }

    /// The same with the code that it has to end with; returns what it printed and said.
    #[track_caller]
    fn ends(&self, code: i32, args: &[&str]) -> (String, String) {
        let output = self.run(args).unwrap();
        let [printed, said] =
            [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}: {printed}\n{said}"
        );
        (printed.into_owned(), said.into_owned())
    }
}

/// A pod's annotation by which its drain is asked for.
fn drain_of(namespace: &TestNamespace, pod: &str) -> String {
    let path = r"jsonpath={.metadata.annotations.imcluster\.io/drain}";
    namespace.kubectl(&["get", "pod", pod, "-o", path]).unwrap()
}

/// All values of the namespace's Secrets, in clear and encoded.
fn secret_values(namespace: &TestNamespace) -> BTreeSet<String> {
    let text = namespace
        .kubectl(&["get", "secrets", "-o", "json"])
        .unwrap();
    let list: Value = serde_json::from_str(&text).unwrap();
    let mut values = BTreeSet::new();
    for secret in list["items"].as_array().unwrap() {
        for encoded in secret["data"]
            .as_object()
            .into_iter()
            .flat_map(serde_json::Map::values)
        {
            let wrapped: k8s_openapi::ByteString = serde_json::from_value(encoded.clone()).unwrap();
            values.insert(encoded.as_str().unwrap().to_owned());
            let text = String::from_utf8_lossy(&wrapped.0).into_owned();
            values.extend(text.lines().map(str::to_owned));
        }
    }
    values.retain(|value| value.len() >= 6);
    values
}

/// Every file below a folder.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_does_all_of_it_with_edit_and_imclusters() {
    let installation = Installation::new("plugin", small(), 1).await.unwrap();
    let namespace = &installation.namespace;
    let ann = Administrator::of(namespace).unwrap();
    looks_and_judges(&installation, &ann);
    drains(&installation, &ann).await;
    restarts(&installation, &ann).await;
    backs_up(&ann);
    rotates(&installation, &ann);
    reports(&installation, &ann);
}

fn looks_and_judges(installation: &Installation, ann: &Administrator) {
    let (text, _) = ann.ends(0, &["status"]);
    let head = format!("{NAME} in {}: ready", installation.namespace.name());
    assert!(text.starts_with(&head), "{text}");
    let (json, _) = ann.ends(0, &["status", NAME, "-o", "json"]);
    let status: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(status["msgPods"].as_array().unwrap().len(), 2, "{status}");
    for role in status["roles"].as_array().unwrap() {
        assert_eq!(role["ready"], role["wanted"], "{role}");
        assert_eq!(role["versions"], json!(["0.1.0"]), "{role}");
    }
    ann.ends(1, &["status", "nobody"]);

    let good = ann.path("good.json");
    fs::write(&good, manifest(NAME, &small()).to_string()).unwrap();
    ann.ends(0, &["validate", "--server", "-f", good.to_str().unwrap()]);
    let bad = ann.path("bad.json");
    let two = with(small(), &json!({"roles": {"dbProxy": {"replicas": 2}}}));
    fs::write(&bad, manifest(NAME, &two).to_string()).unwrap();
    let (_, said) = ann.ends(3, &["validate", "--server", "-f", bad.to_str().unwrap()]);
    let rule = "roles.dbProxy.replicas must be 1 with the embedded database";
    assert!(said.contains(rule), "{said}");
}

/// While it is paused, so that the pod is there when its drain is taken back: how the operator drains it, the
/// tests of the operator show.
async fn drains(installation: &Installation, ann: &Administrator) {
    let namespace = &installation.namespace;
    let paused = |paused: bool| json!({"operation": {"paused": paused}});
    installation.patch(&paused(true)).unwrap();
    installation.wait("Paused", "True", INSTALL).await.unwrap();
    let pods = installation.pods("msg").await.unwrap();
    let pod = pods[0].metadata.name.clone().unwrap();
    ann.ends(0, &["drain", &pod, "--reason", "a test"]);
    assert_eq!(drain_of(namespace, &pod), "a test");
    assert!(ann.ends(0, &["status"]).0.contains("drains: a test"));
    ann.ends(0, &["undrain", &pod]);
    assert_eq!(drain_of(namespace, &pod), "");
    let (_, said) = ann.ends(3, &["drain", &format!("{NAME}-db-proxy-0")]);
    assert!(said.contains("is no msg pod"), "{said}");
    let (_, said) = ann.ends(3, &["drain", "node/anywhere"]);
    assert!(said.contains("may not read nodes"), "{said}");
    for refused in [
        &["rebalance"][..],
        &["restart", "msg"],
        &["rotate", "admin"],
    ] {
        let (_, said) = ann.ends(3, refused);
        assert!(said.contains("is paused"), "{said}");
    }
    installation.patch(&paused(false)).unwrap();
    installation.ready().await.unwrap();
    ann.ends(0, &["rebalance"]);
    let at =
        &installation.object().await.unwrap()["metadata"]["annotations"]["imcluster.io/rebalance"];
    assert!(at.is_string(), "{at}");
}

async fn restarts(installation: &Installation, ann: &Administrator) {
    installation.ready().await.unwrap();
    let is_login = |pod: &String| pod.starts_with(&format!("{NAME}-login-"));
    let before = installation.pod_ids().await.unwrap();
    ann.ends(0, &["restart", "login", "--wait", "--timeout", "240"]);
    let after = installation.pod_ids().await.unwrap();
    let (old, others): (Vec<_>, Vec<_>) = before.iter().partition(|(pod, _)| is_login(pod));
    assert!(old.iter().all(|(pod, _)| !after.contains_key(*pod)));
    assert!(
        others
            .iter()
            .all(|(pod, uid)| after.get(*pod) == Some(*uid))
    );
    installation.ready().await.unwrap();
}

fn backs_up(ann: &Administrator) {
    let (_, said) = ann.ends(0, &["backup", "--to", "store.backup"]);
    assert!(said.contains("and is whole"), "{said}");
    let again = ["backup", "--to", "store.backup"];
    assert!(ann.ends(3, &again).1.contains("exists"));
    let (plan, _) = ann.ends(0, &["restore", "--plan", "store.backup", "--name", NAME]);
    assert!(plan.contains("delete pvc data-demo-db-proxy-0"), "{plan}");
    assert!(plan.contains(&testing::image()), "{plan}");
}

/// Begins only: two minutes pass before the operator goes on, of which its own tests tell.
fn rotates(installation: &Installation, ann: &Administrator) {
    let path = "go-template={{.data.secret | base64decode}}";
    let secret = format!("{NAME}-internal");
    let held = || {
        let args = ["get", "secret", &secret, "-o", path];
        installation.namespace.kubectl(&args).unwrap()
    };
    let old = held();
    ann.ends(0, &["rotate", "internal"]);
    let both = held();
    assert!(
        both.starts_with(&format!("{}\n", old.trim())),
        "the old one is presented"
    );
    let (_, said) = ann.ends(3, &["rotate", "internal"]);
    assert!(said.contains("under way, at the step Accept"), "{said}");
    assert_eq!(held(), both);
}

fn reports(installation: &Installation, ann: &Administrator) {
    ann.ends(0, &["report", "--to", "report.tar.gz"]);
    let archive = ann.path("report.tar.gz");
    let bytes = fs::metadata(&archive).unwrap().len();
    assert!(bytes < 20 << 20, "{bytes}");
    let unpack = ["--extract", "--gzip", "--file", "report.tar.gz"];
    let mut tar = Command::new("tar");
    let tar = tar.args(unpack).current_dir(ann.folder.path()).status();
    assert!(tar.unwrap().success());
    let folder = format!("im-report-{}-{NAME}", installation.namespace.name());
    let folder = ann.path(&folder);
    let text = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
    assert!(text("imcluster.json").contains("\"kind\": \"ImCluster\""));
    let dump = text(&format!("pods/{NAME}-db-proxy-0.dump.json"));
    assert!(serde_json::from_str::<Value>(&dump).unwrap().is_object());
    let log = text(&format!("logs/db-proxy/{NAME}-db-proxy-0.db-proxy.log"));
    assert!(!log.is_empty());
    let left_out = text("LEFT-OUT.txt");
    assert!(!left_out.contains("forbidden"), "{left_out}");
    let values = secret_values(&installation.namespace);
    assert!(values.len() >= 6, "three Secrets, in clear and encoded");
    for file in files(&folder).unwrap() {
        let text = fs::read_to_string(&file).unwrap();
        for value in &values {
            assert!(
                !text.contains(value.as_str()),
                "{} tells a secret",
                file.display()
            );
        }
    }
}
