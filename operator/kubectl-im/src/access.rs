//! The API server, as the caller may use it: paths in, JSON out.
//!
//! Objects are read as JSON: what a later definition adds is passed over, and no object is unreadable.

use std::time::Duration;

use anyhow::Context as _;
use futures::AsyncReadExt as _;
use http::Request;
use im_operator_api::labels;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::output::refused;

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Time between two pieces of an answer.
const READ: Duration = Duration::from_secs(60);

/// As whom changes are made.
pub(crate) const MANAGER: &str = "kubectl-im";

/// A namespace of a cluster.
#[derive(Clone)]
pub(crate) struct Access {
    client: Client,
    pub(crate) namespace: String,
}

impl Access {
    /// Reads the kubeconfig; nobody is asked yet.
    ///
    /// # Errors
    /// There is none, or it has no such context.
    pub(crate) async fn connect(global: &Global) -> anyhow::Result<Self> {
        let options = KubeConfigOptions {
            context: global.context.clone(),
            ..KubeConfigOptions::default()
        };
        let mut config = match &global.kubeconfig {
            Some(file) => {
                let read = Kubeconfig::read_from(file)?;
                Config::from_custom_kubeconfig(read, &options).await?
            }
            None if global.context.is_some() => Config::from_kubeconfig(&options).await?,
            None => Config::infer().await.context("find the API server")?,
        };
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(READ);
        let namespace = global
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("use the kubeconfig")?;
        Self::new(client, &namespace)
    }

    /// What a client reaches in a namespace.
    pub(crate) fn new(client: Client, namespace: &str) -> anyhow::Result<Self> {
        Ok(Self {
            client,
            namespace: checked(namespace)?.to_owned(),
        })
    }

    /// The same in another namespace.
    ///
    /// # Errors
    /// The name can be none.
    pub(crate) fn in_namespace(&self, namespace: &str) -> anyhow::Result<Self> {
        Self::new(self.client.clone(), namespace)
    }

    /// Path of a collection of the namespace, such as `/api/v1` and `pods`.
    pub(crate) fn path(&self, group: &str, plural: &str) -> String {
        format!("{group}/namespaces/{}/{plural}", self.namespace)
    }

    /// Path of an object of the namespace.
    ///
    /// # Errors
    /// The name can be none.
    pub(crate) fn object(&self, group: &str, plural: &str, name: &str) -> anyhow::Result<String> {
        Ok(format!("{}/{}", self.path(group, plural), checked(name)?))
    }

    /// Path of an ImCluster.
    ///
    /// # Errors
    /// The name can be none.
    pub(crate) fn cluster_path(&self, name: &str) -> anyhow::Result<String> {
        self.object(IM, "imclusters", name)
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// As the API server says.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = Request::get(path).body(Vec::new())?;
        let answer = self.client.request(request).await;
        answer.with_context(|| format!("read {path}"))
    }

    /// The same; nothing where there is no such object.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) async fn find(&self, path: &str) -> anyhow::Result<Option<Value>> {
        match self.get(path).await {
            Err(error) if code(&error) == Some(404) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Reads any text of at most so many bytes, and whether that was all.
    ///
    /// # Errors
    /// As the API server says, or the answer breaks off.
    pub(crate) async fn text(&self, path: &str, limit: usize) -> anyhow::Result<(String, bool)> {
        let request = Request::get(path).body(Vec::new())?;
        let answer = self.client.request_stream(request).await;
        let answer = answer.with_context(|| format!("read {path}"))?;
        let mut bytes = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let mut bounded = std::pin::pin!(answer.take(most));
        bounded.read_to_end(&mut bytes).await?;
        let whole = bytes.len() <= limit;
        bytes.truncate(limit);
        Ok((String::from_utf8_lossy(&bytes).into_owned(), whole))
    }

    /// Changes an object by a JSON merge patch, and returns what it is then.
    ///
    /// # Errors
    /// As the API server says.
    pub(crate) async fn merge(&self, path: &str, patch: &Value) -> anyhow::Result<Value> {
        let kind = "application/merge-patch+json";
        self.patch(&format!("{path}?fieldManager={MANAGER}"), kind, patch)
            .await
    }

    /// What the API server would make of an object. Nothing is changed.
    ///
    /// # Errors
    /// As the API server says.
    pub(crate) async fn dry_run(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        let query = "dryRun=All&force=true&fieldValidation=Strict";
        let path = format!("{path}?{query}&fieldManager={MANAGER}");
        self.patch(&path, "application/apply-patch+yaml", object)
            .await
    }

    async fn patch(&self, path: &str, kind: &str, patch: &Value) -> anyhow::Result<Value> {
        let request = Request::patch(path).header(http::header::CONTENT_TYPE, kind);
        let request = request.body(serde_json::to_vec(patch)?)?;
        let answer = self.client.request(request).await;
        answer.with_context(|| format!("change {path}"))
    }

    /// The ImClusters of the namespace: the named one, or all.
    ///
    /// # Errors
    /// There is none, or as the API server says.
    pub(crate) async fn clusters(&self, name: Option<&str>) -> anyhow::Result<Vec<Value>> {
        if let Some(name) = name {
            let found = self.find(&self.cluster_path(name)?).await?;
            let missing = || format!("there is no ImCluster {name} in {}", self.namespace);
            return Ok(vec![found.with_context(missing)?]);
        }
        let list = self.get(&self.path(IM, "imclusters")).await?;
        let all = items(list);
        anyhow::ensure!(
            !all.is_empty(),
            "there is no ImCluster in {}: name another namespace with -n",
            self.namespace
        );
        Ok(all)
    }

    /// The named ImCluster, or the only one.
    ///
    /// # Errors
    /// There is none, or there are several; or as the API server says.
    pub(crate) async fn cluster(&self, name: Option<&str>) -> anyhow::Result<Value> {
        let mut all = self.clusters(name).await?;
        if all.len() > 1 {
            let names: Vec<&str> = all.iter().map(self::name).collect();
            let names = names.join(", ");
            return Err(refused(format!(
                "{} has several ImClusters: say --name and one of {names}",
                self.namespace
            )));
        }
        all.pop().context("an ImCluster")
    }

    /// The pods of an ImCluster; with a component, of that alone.
    ///
    /// # Errors
    /// As the API server says.
    pub(crate) async fn pods(
        &self,
        cluster: &str,
        component: Option<&str>,
    ) -> anyhow::Result<Vec<Value>> {
        let pods = self.path(CORE, "pods");
        let of = component.map_or_else(String::new, |it| format!(",{}={it}", labels::COMPONENT));
        let selector = query(&format!("{}={cluster}{of}", labels::INSTANCE));
        Ok(items(
            self.get(&format!("{pods}?labelSelector={selector}"))
                .await?,
        ))
    }
}

/// The core group.
pub(crate) const CORE: &str = "/api/v1";
/// The group of workloads.
pub(crate) const APPS: &str = "/apis/apps/v1";
/// Our group.
pub(crate) const IM: &str = "/apis/imcluster.io/v1alpha1";

/// A name as it may stand in a path.
///
/// # Errors
/// It can be that of no object.
pub(crate) fn checked(name: &str) -> anyhow::Result<&str> {
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(fits) {
        return Err(refused(format!("{name:?} can be the name of no object")));
    }
    Ok(name)
}

/// A selector as it stands in a query.
pub(crate) fn query(text: &str) -> String {
    let mut written = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            written.push(char::from(byte));
        } else {
            written.push_str(&format!("%{byte:02X}"));
        }
    }
    written
}

/// The code of the API server's refusal.
pub(crate) fn code(error: &anyhow::Error) -> Option<u16> {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}

/// What the API server said.
pub(crate) fn said(error: &anyhow::Error) -> String {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => status.message.clone(),
        _ => format!("{error:#}"),
    }
}

/// The objects of a list.
pub(crate) fn items(mut list: Value) -> Vec<Value> {
    match list.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// A text of an object by its JSON pointer; empty where there is none.
pub(crate) fn at<'a>(object: &'a Value, pointer: &str) -> &'a str {
    let text = object.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default()
}

/// The name of an object.
pub(crate) fn name(object: &Value) -> &str {
    at(object, "/metadata/name")
}

/// A label of an object.
pub(crate) fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}

/// An annotation of an object.
pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object
        .get("metadata")?
        .get("annotations")?
        .get(key)?
        .as_str()
}

/// A patch of one annotation.
pub(crate) fn annotated(key: &str, value: Option<&str>) -> Value {
    json!({"metadata": {"annotations": {key: value}}})
}

/// Whether a condition of an object is true.
pub(crate) fn holds(object: &Value, condition: &str) -> bool {
    let conditions = object
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|it| at(it, "/type") == condition && at(it, "/status") == "True")
}

/// Whether the operator leaves an ImCluster alone.
pub(crate) fn is_paused(cluster: &Value) -> bool {
    cluster.pointer("/spec/operation/paused") == Some(&Value::Bool(true))
        || annotation(cluster, labels::PAUSED) == Some("true")
}

/// Whether the operator has seen the latest specification.
pub(crate) fn is_seen(cluster: &Value) -> bool {
    let generation = |pointer| cluster.pointer(pointer).and_then(Value::as_i64);
    let wanted = generation("/metadata/generation");
    wanted.is_some() && generation("/status/observedGeneration") >= wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_lead_elsewhere_are_refused() {
        for name in ["", "..", "a/b", "A", "a%2e", "a?b"] {
            assert!(checked(name).is_err(), "{name}");
        }
        assert_eq!(checked("demo-msg-0.x").unwrap(), "demo-msg-0.x");
        assert_eq!(query("a/b=c,d"), "a%2Fb%3Dc%2Cd");
    }

    #[tokio::test]
    async fn one_of_several_has_to_be_named() {
        let (access, _) = crate::testing::server(|_| {
            let two = ["one", "two"].map(|name| json!({"metadata": {"name": name}}));
            (200, json!({"items": two}))
        });
        let error = access.cluster(None).await.unwrap_err();
        assert!(error.to_string().contains("one of one, two"), "{error}");
    }
}
