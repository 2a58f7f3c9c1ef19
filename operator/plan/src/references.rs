//! Secrets and ConfigMaps of other people, which pods mount as folders of files.
//!
//! The operator names them and says when one is missing; what stands in them it does not use.

use std::fmt;

use im_operator_api::CaBundle;
use serde_json::{Value, json};

use crate::pod::MODE;
use crate::{Resolved, Role, database, filter, push};

/// Kind of an object that is referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReferenceKind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

impl fmt::Display for ReferenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        })
    }
}

/// An object that pods of a role mount and do not start without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its kind.
    pub kind: ReferenceKind,
    /// Its name, in the ImCluster's namespace.
    pub name: String,
    /// The field that names it, such as `spec.roles.httpApi.tls.secretName`.
    pub field: String,
    /// Name of the volume, and of its folder in the container.
    volume: &'static str,
    files: Vec<File>,
}

/// A key of the object, and the configuration key that names its file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    key: String,
    named_by: String,
}

impl Reference {
    /// A Secret, with keys and the configuration keys that name their files; `None` without a name.
    pub(crate) fn secret(
        name: &str,
        field: String,
        volume: &'static str,
        files: &[(&str, &str)],
    ) -> Option<Self> {
        let files = files.iter();
        let files = files.map(|(key, named_by)| File {
            key: (*key).to_owned(),
            named_by: (*named_by).to_owned(),
        });
        (!name.is_empty()).then(|| Self {
            kind: ReferenceKind::Secret,
            name: name.to_owned(),
            field,
            volume,
            files: files.collect(),
        })
    }

    /// A bundle of certificates, and the configuration key that names its file.
    pub(crate) fn bundle(
        bundle: Option<&CaBundle>,
        field: &str,
        volume: &'static str,
        named_by: &str,
    ) -> Option<Self> {
        let CaBundle {
            config_map_name,
            secret_name,
            key,
        } = bundle?;
        let (kind, name, word) = if secret_name.is_empty() {
            (ReferenceKind::ConfigMap, config_map_name, "configMapName")
        } else {
            (ReferenceKind::Secret, secret_name, "secretName")
        };
        Some(Self {
            kind,
            name: name.clone(),
            field: format!("{field}.{word}"),
            volume,
            files: vec![File {
                key: key.clone(),
                named_by: named_by.to_owned(),
            }],
        })
    }

    /// The keys that it must have.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.key.as_str())
    }

    /// Configuration keys, and the files that they name.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (String, String)> {
        let of_file = |file: &File| {
            let path = format!("{}/{}", self.folder(), file.key);
            (file.named_by.clone(), path)
        };
        self.files.iter().map(of_file)
    }

    fn folder(&self) -> String {
        format!("/run/imcluster/{}", self.volume)
    }

    /// The volume, with these keys alone.
    pub(crate) fn volume(&self) -> Value {
        let items: Vec<_> = self
            .keys()
            .map(|key| json!({"key": key, "path": key}))
            .collect();
        match self.kind {
            ReferenceKind::Secret => json!({
                "name": self.volume,
                "secret": {"secretName": self.name, "defaultMode": MODE, "items": items},
            }),
            ReferenceKind::ConfigMap => json!({
                "name": self.volume,
                "configMap": {"name": self.name, "items": items},
            }),
        }
    }

    /// The mount of the volume.
    pub(crate) fn mount(&self) -> Value {
        json!({"name": self.volume, "mountPath": self.folder(), "readOnly": true})
    }
}

/// Configuration keys that name a file of a reference, and those that go with them: they are the operator's
/// whether there is one or not.
pub(crate) const RESERVED: &[&str] = &[
    "blobs.url",
    "blobs.endpoint",
    "blobs.region",
    "blobs.virtual_hosted",
    "blobs.access_key_file",
    "blobs.secret_key_file",
    "blobs.ca_file",
    "http_api.certificate_file",
    "http_api.key_file",
    "msfs.certificate_file",
    "msfs.key_file",
];

/// What the pods of a role mount.
pub(crate) fn of(cluster: &Resolved, role: Role) -> Vec<Reference> {
    let mut found = Vec::new();
    if role.kubernetes.blobs
        && let Some(bucket) = cluster.spec.storage.blobs.bucket()
    {
        let field = |name: &str| format!("spec.storage.blobs.s3.{name}");
        let files = [
            ("accessKey", "blobs.access_key_file"),
            ("secretKey", "blobs.secret_key_file"),
        ];
        found.extend(Reference::secret(
            &bucket.credentials_secret_name,
            field("credentialsSecretName"),
            "blobs-key",
            &files,
        ));
        let ca = bucket.ca.as_ref();
        found.extend(Reference::bundle(
            ca,
            &field("ca"),
            "blobs-ca",
            "blobs.ca_file",
        ));
    }
    let section = cluster.section(role);
    if let Some(said) = section.and_then(|section| section.optional) {
        let key = |name: &str| format!("{}.{name}", role.section);
        let (certificate, private) = (key("certificate_file"), key("key_file"));
        let files = [
            ("tls.crt", certificate.as_str()),
            ("tls.key", private.as_str()),
        ];
        let field = format!("spec.roles.{}.tls.secretName", role.field);
        let name = &said.tls.secret_name;
        found.extend(Reference::secret(name, field, "tls", &files));
        found.extend(push::references(&said.push));
    }
    if let Some(filter) = filter::of(cluster, role) {
        found.extend(filter::references(filter));
    }
    if let Some(mysql) = database::of(cluster, role) {
        found.extend(database::references(mysql));
    }
    found
}

impl Resolved {
    /// Secrets and ConfigMaps of other people that pods mount, each once for each field that names it.
    pub fn references(&self) -> Vec<Reference> {
        let mut all: Vec<Reference> = Vec::new();
        for role in self.roles() {
            for reference in of(self, role) {
                if !all.contains(&reference) {
                    all.push(reference);
                }
            }
        }
        all
    }
}
