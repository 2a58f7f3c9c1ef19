//! `restore --plan`: reads a backup and prints what restores it. Changes nothing.

use anyhow::Context as _;
use im_operator_api::{Role, labels};
use im_operator_plan::names;
use serde_json::{Value, json};

use crate::access::{Access, CORE, at, checked, items, query};
use crate::backup;
use crate::cli::{Global, RestoreArgs};
use crate::head::Verdict;
use crate::output::{Outcome, complain, print, refused};

/// Prints the steps.
pub(crate) async fn run(global: &Global, args: &RestoreArgs) -> anyhow::Result<Outcome> {
    checked(&args.name)?;
    let file = args.plan.display().to_string();
    let (verdict, bytes) = backup::judge(&args.plan)?;
    match verdict {
        Verdict::Whole => complain(&format!(
            "{file} has {bytes} bytes, as its head says; the restore checks what is in it"
        )),
        Verdict::CutOff { expected } => {
            return Err(refused(format!(
                "{file} has {bytes} of {expected} bytes: it was cut off, or something was added"
            )));
        }
        Verdict::Foreign => return Err(refused(format!("{file} is no backup of a store"))),
    }
    let (namespace, image, exists) = match (&args.image, &global.namespace) {
        // Nobody has to be asked.
        (Some(image), Some(namespace)) => (namespace.clone(), image.clone(), None),
        (image, _) => {
            let access = Access::connect(global).await?;
            let image = match image {
                Some(image) => image.clone(),
                None => image_of(&access).await?,
            };
            let claim = names::claim(&args.name, Role::DB_PROXY);
            let claim = access.object(CORE, "persistentvolumeclaims", &claim)?;
            let exists = access.find(&claim).await?.is_some();
            (access.namespace, image, Some(exists))
        }
    };
    let plan = Plan {
        namespace: &namespace,
        name: &args.name,
        size: &args.size,
        image: &image,
        file: &file,
        exists,
    };
    print(&plan.text()?)?;
    Ok(Outcome::Done)
}

/// The image of a dbProxy of the namespace.
async fn image_of(access: &Access) -> anyhow::Result<String> {
    let of = query(&format!("{}={}", labels::COMPONENT, Role::DB_PROXY.name));
    let path = format!("{}?labelSelector={of}", access.path(CORE, "pods"));
    let pods = items(access.get(&path).await?);
    let image = pods.first().map(|pod| at(pod, "/spec/containers/0/image"));
    let image = image.filter(|image| !image.is_empty()).map(str::to_owned);
    image.context("no dbProxy pod tells the image of the servers: say --image")
}

/// A restore.
struct Plan<'a> {
    namespace: &'a str,
    name: &'a str,
    size: &'a str,
    image: &'a str,
    file: &'a str,
    /// Whether the claim is there; `None` where nobody was asked.
    exists: Option<bool>,
}

impl Plan<'_> {
    /// The steps, as a script that stops at the first that fails.
    fn text(&self) -> anyhow::Result<String> {
        let Self {
            namespace,
            name,
            file,
            ..
        } = self;
        let kubectl = format!("kubectl --namespace {}", quoted(namespace));
        let claim = names::claim(name, Role::DB_PROXY);
        let mut text = "set -eu\n".to_owned();
        if self.exists != Some(false) {
            text.push_str(&format!(
                "# The volume {claim} must be new. What is in it is lost with these two lines: look twice,\n\
                 # and leave them out where there is neither.\n\
                 {kubectl} delete imcluster {name} --ignore-not-found --wait\n\
                 {kubectl} delete pvc {claim} --ignore-not-found --wait\n"
            ));
        }
        text.push_str(&format!(
            "# The volume, and a pod that fills it.\n{kubectl} apply -f - <<'END'\n"
        ));
        text.push_str(&serde_saphyr::to_string(&self.claim(&claim))?);
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&self.pod(&claim))?);
        text.push_str(&format!(
            "END\n\
             {kubectl} wait pod/{name}-restore --for=condition=Ready --timeout=2m\n\
             {kubectl} attach --stdin {name}-restore < {}\n\
             # A backup that is damaged or of a later release ends here; its log says so.\n\
             {kubectl} wait pod/{name}-restore --for=jsonpath='{{.status.phase}}'=Succeeded --timeout=10m\n\
             {kubectl} logs {name}-restore\n\
             {kubectl} delete pod {name}-restore\n\
             # The ImCluster takes the volume up; its specification says size {}.\n\
             {kubectl} apply -f {name}.yaml\n",
            quoted(file),
            self.size,
        ));
        Ok(text)
    }

    fn claim(&self, claim: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": self.size}},
            },
        })
    }

    fn pod(&self, claim: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": format!("{}-restore", self.name)},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "securityContext": {
                    "runAsNonRoot": true,
                    "runAsUser": 65_532,
                    "runAsGroup": 65_532,
                    "fsGroup": 65_532,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [{
                    "name": "imd",
                    "image": self.image,
                    "args": ["restore", "--data-dir", "/data", "--from", "-"],
                    "stdin": true,
                    "stdinOnce": true,
                    "securityContext": {
                        "allowPrivilegeEscalation": false,
                        "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
            },
        })
    }
}

/// A word of a shell, whatever is in it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(exists: Option<bool>) -> Plan<'static> {
        Plan {
            namespace: "chat",
            name: "restored",
            size: "20Gi",
            image: "r.example/imd:0.1.0",
            file: "it's.backup",
            exists,
        }
    }

    #[test]
    fn the_manifests_of_a_plan_are_those_that_it_means_and_a_file_is_one_word() {
        let text = plan(Some(false)).text().unwrap();
        let (_, after) = text.split_once("<<'END'\n").unwrap();
        let (yaml, after) = after.split_once("END\n").unwrap();
        let objects: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
        assert_eq!(objects[0], plan(None).claim("data-restored-db-proxy-0"));
        assert_eq!(objects[1], plan(None).pod("data-restored-db-proxy-0"));
        assert!(
            after.contains("restored-restore < 'it'\\''s.backup'\n"),
            "{after}"
        );
    }

    #[test]
    fn nothing_is_deleted_where_nothing_is() {
        for (exists, deletes) in [(None, true), (Some(true), true), (Some(false), false)] {
            let text = plan(exists).text().unwrap();
            assert_eq!(text.contains("delete pvc"), deletes, "{exists:?}");
        }
    }
}
