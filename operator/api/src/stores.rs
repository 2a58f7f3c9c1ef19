//! Database, blobs and cache.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CaBundle, MySql, schema};

/// Where everything durable is. `type` says which member counts, and cannot be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.type != 'MySQL' || (has(self.mysql) && size(self.mysql.host) > 0)",
        "message": "database.type MySQL needs mysql.host",
    },
    {
        "rule": "self.type == 'MySQL' || !has(self.mysql)",
        "message": "mysql needs database.type MySQL",
    },
    {
        "rule": "self.type == 'Embedded' || !has(self.embedded)",
        "message": "embedded needs database.type Embedded: a database on a server has no volume here",
    },
    {
        "rule": "self.type == oldSelf.type",
        "message": "database.type cannot be changed, since nothing moves what is stored: make another ImCluster",
    },
]))]
pub struct Database {
    /// Which database.
    #[serde(rename = "type")]
    pub kind: DatabaseType,
    /// Details of type Embedded; absent: the defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedded: Option<EmbeddedDatabase>,
    /// Details of type MySQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mysql: Option<MySql>,
}

impl Database {
    /// Storage of the embedded database, with the default where nothing is said; `None` where the type says that
    /// the database is elsewhere.
    pub fn storage(&self) -> Option<DatabaseStorage> {
        match self.kind {
            DatabaseType::Embedded => {
                let embedded = self.embedded.as_ref();
                let said = embedded.map(|embedded| embedded.storage.clone());
                Some(said.unwrap_or_default())
            }
            DatabaseType::MySQL => None,
        }
    }

    /// The database on a server, where the type says that it is there.
    pub fn mysql(&self) -> Option<&MySql> {
        match self.kind {
            DatabaseType::Embedded => None,
            DatabaseType::MySQL => self.mysql.as_ref(),
        }
    }
}

/// Kinds of databases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DatabaseType {
    /// A file of the one dbProxy pod.
    #[default]
    Embedded,
    /// One on a MariaDB or MySQL server, which dbProxy pods share: one of them has the log, the others stand by.
    MySQL,
}

/// The embedded database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EmbeddedDatabase {
    /// Where the file is.
    pub storage: DatabaseStorage,
}

/// Where the file of the embedded database is. Only the size of a volume can be changed later: it may
/// grow, where its StorageClass allows that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.persistentVolume) || self.type == 'PersistentVolume'",
        "message": "persistentVolume needs storage type PersistentVolume",
    },
    {
        "rule": "self.type == oldSelf.type",
        "message": "the storage type of the database cannot be changed",
    },
    {
        "rule": "quantity(has(self.persistentVolume) ? self.persistentVolume.size : '10Gi').compareTo(quantity(has(oldSelf.persistentVolume) ? oldSelf.persistentVolume.size : '10Gi')) >= 0",
        "message": "the database's volume can grow, but not shrink",
    },
    {
        "rule": "(has(self.persistentVolume) ? self.persistentVolume.storageClassName : '') == (has(oldSelf.persistentVolume) ? oldSelf.persistentVolume.storageClassName : '')",
        "message": "the storage class of the database's volume cannot be changed",
    },
]))]
pub struct DatabaseStorage {
    /// Kind of storage.
    #[serde(rename = "type")]
    pub kind: StorageType,
    /// Details of type PersistentVolume; absent: the defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume: Option<PersistentVolume>,
}

/// Kinds of storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StorageType {
    /// A claim that outlives pods.
    #[default]
    PersistentVolume,
    /// The pod's own directory: everything is lost with the pod. For trials; the condition
    /// DataNotDurable says so.
    Ephemeral,
}

/// A claimed volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PersistentVolume {
    /// Size, such as `10Gi`. A larger one makes the volume grow while it is used.
    #[schemars(
        length(max = 20),
        regex(pattern = r"^[1-9][0-9]{0,15}([kMGTP]|[KMGTP]i)?$")
    )]
    pub size: String,
    /// StorageClass; empty: the cluster's default one.
    #[schemars(length(max = 253))]
    pub storage_class_name: String,
}

impl Default for PersistentVolume {
    fn default() -> Self {
        Self {
            size: "10Gi".to_owned(),
            storage_class_name: String::new(),
        }
    }
}

/// Where is what no database holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Storage {
    /// Files for people who are not there, and pictures.
    pub blobs: Blobs,
}

/// Where files and pictures are. `type` says which member counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.type != 'S3' || (has(self.s3) && size(self.s3.bucket) > 0)",
        "message": "storage.blobs.type S3 needs s3.bucket",
    },
    {
        "rule": "self.type == 'S3' || !has(self.s3)",
        "message": "s3 needs storage.blobs.type S3",
    },
    {
        "rule": "self.type == 'Volume' || !has(self.volume)",
        "message": "volume needs storage.blobs.type Volume",
    },
]))]
pub struct Blobs {
    /// Which kind of store.
    #[serde(rename = "type")]
    pub kind: BlobsType,
    /// Details of type Volume; absent: the defaults. Each role that keeps blobs has a volume of its own like
    /// this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<PersistentVolume>,
    /// Details of type S3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3>,
}

impl Blobs {
    /// The bucket, where the type says that there is one.
    pub fn bucket(&self) -> Option<&S3> {
        match self.kind {
            BlobsType::Volume => None,
            BlobsType::S3 => self.s3.as_ref(),
        }
    }
}

/// A bucket of a service that speaks the S3 protocol, which must exist. Files are below `PREFIX/files`,
/// pictures below `PREFIX/pictures`; nothing moves them when the bucket or the prefix changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct S3 {
    /// Name of the bucket.
    #[schemars(
        length(max = 63),
        regex(pattern = r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$")
    )]
    pub bucket: String,
    /// What all keys begin with, without slashes at its ends; empty: nothing. Installations that share a bucket
    /// need different ones.
    #[schemars(
        length(max = 256),
        regex(pattern = r"^([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*)?$")
    )]
    pub prefix: String,
    /// Base URL of the service, such as `https://s3.example.com:9000`; empty: that of AWS for the region.
    #[schemars(
        length(max = 256),
        regex(pattern = r"^(https?://[A-Za-z0-9._:\[\]-]+)?$")
    )]
    pub endpoint: String,
    /// Region that requests are signed for.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9-]+$"))]
    pub region: String,
    /// Whether the bucket stands in the path of URLs; otherwise it is part of the host's name, as in
    /// `https://BUCKET.s3.example.com`.
    pub path_style: bool,
    /// Secret with the access key under `accessKey` and its secret under `secretKey`. Pods follow a change of it
    /// within two minutes, without a restart. Empty: what AWS's tools look for, such as the pod's web identity.
    #[schemars(length(max = 253))]
    pub credentials_secret_name: String,
    /// Certificates that may have signed the service's; absent: those of the web. A change counts for new pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaBundle>,
    /// Address ranges of the service, to which policies let pods out at the port of `endpoint`; empty: anywhere.
    #[schemars(schema_with = "schema::cidrs")]
    pub cidrs: Vec<String>,
}

impl Default for S3 {
    fn default() -> Self {
        Self {
            bucket: String::new(),
            prefix: String::new(),
            endpoint: String::new(),
            region: "us-east-1".to_owned(),
            path_style: true,
            credentials_secret_name: String::new(),
            ca: None,
            cidrs: Vec::new(),
        }
    }
}

/// Kinds of stores for blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BlobsType {
    /// A volume of the role's one pod.
    #[default]
    Volume,
    /// A bucket, which pods share.
    S3,
}

/// Where answers are remembered. `type` says which kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Cache {
    /// Which cache.
    #[serde(rename = "type")]
    pub kind: CacheType,
}

/// Kinds of caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CacheType {
    /// In the memory of dbProxy.
    #[default]
    InProcess,
}
