//! The database on a server that speaks the protocol of MySQL, in the terms of the servers' table `mysql`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CaBundle, schema};

/// A database on a MariaDB or MySQL server, which must exist. What its connections may take is said in
/// `roles.dbProxy.config`, in the keys `mysql.*`. Nothing moves what is stored when `host` or `database` changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.passwordSecret) || size(self.tls.clientSecretName) > 0",
        "message": "database.mysql needs passwordSecret, or tls.clientSecretName for a user without a password",
    },
]))]
pub struct MySql {
    /// Name or address of the server, or of what leads to the one that takes writes.
    #[schemars(length(max = 253), regex(pattern = r"^[A-Za-z0-9._:-]*$"))]
    pub host: String,
    /// Its port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Name of the database, which has no tables of anything else. Installations that share a server need
    /// different ones.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[^/?#%:\s]+$"))]
    pub database: String,
    /// Whom dbProxy logs in as.
    #[schemars(length(min = 1, max = 80), regex(pattern = r"^[^/?#%:\s]+$"))]
    pub user: String,
    /// Where the user's password is: the first line of what stands under the key. Pods follow a change of it
    /// within two minutes, without a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<SecretKey>,
    /// How connections are encrypted.
    pub tls: MySqlTls,
    /// Address ranges of the server, to which policies let dbProxy out at `port`; empty: anywhere.
    #[schemars(schema_with = "schema::cidrs")]
    pub cidrs: Vec<String>,
}

impl Default for MySql {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 3306,
            database: "im".to_owned(),
            user: "im".to_owned(),
            password_secret: None,
            tls: MySqlTls::default(),
            cidrs: Vec::new(),
        }
    }
}

impl MySql {
    /// The store's URL, as servers are told it.
    pub fn url(&self) -> String {
        let user = &self.user;
        format!("mysql://{user}@{}/{}", self.server(), self.database)
    }

    /// Host and port.
    pub fn server(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }
}

/// A key of a Secret of the ImCluster's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key.
    #[serde(default = "password")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub key: String,
}

fn password() -> String {
    "password".to_owned()
}

/// How connections to the database are encrypted. Certificates are read for each new connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.ca) || self.mode == 'VerifyCA' || self.mode == 'VerifyIdentity'",
        "message": "database.mysql.tls.ca needs mode VerifyCA or VerifyIdentity: otherwise nobody looks at it",
    },
    {
        "rule": "size(self.clientSecretName) == 0 || self.mode != 'Disabled'",
        "message": "database.mysql.tls.clientSecretName needs another mode than Disabled",
    },
]))]
pub struct MySqlTls {
    /// Whether they are, and what the server has to show.
    pub mode: MySqlTlsMode,
    /// Certificates that may have signed the server's, beside those of the web.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaBundle>,
    /// Secret of type `kubernetes.io/tls` with the certificate that is shown to the server under `tls.crt`, and its
    /// key under `tls.key`; empty: none.
    #[schemars(length(max = 253))]
    pub client_secret_name: String,
}

/// Whether connections are encrypted, in the words of the database's own clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MySqlTlsMode {
    /// Never.
    Disabled,
    /// If the server offers it, whoever it is.
    #[default]
    Preferred,
    /// Always, whoever the server is.
    Required,
    /// Always, and somebody who is trusted has signed the server's certificate.
    VerifyCA,
    /// The same, and the certificate is for `host`.
    VerifyIdentity,
}

impl MySqlTlsMode {
    /// The word of the servers' configuration for it.
    pub const fn as_config(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Preferred => "preferred",
            Self::Required => "required",
            Self::VerifyCA => "verify-ca",
            Self::VerifyIdentity => "verify-identity",
        }
    }
}
