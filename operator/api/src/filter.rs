//! The before-send filter, as far as pods need to know it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CaBundle, schema};

/// A server of your own that is asked before messages are stored. What it is asked about, and what becomes of
/// messages without a verdict, is said in `config`, in the keys `db_proxy.filter.*`. The secret is read at the
/// start of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "size(self.url) > 0 && size(self.secretName) > 0",
        "message": "filter needs url and secretName",
    },
]))]
pub struct Filter {
    /// Its URL.
    #[schemars(length(max = 1024), regex(pattern = r"^(https?://[^\s#/][^\s#]*)?$"))]
    pub url: String,
    /// Secret with what signs under `secret`, one or two lines: while it is replaced there are two, and both
    /// sign.
    #[schemars(length(max = 253))]
    pub secret_name: String,
    /// Address ranges of the filter, to which policies let the pod out at the port of its URL; empty: anywhere.
    #[schemars(schema_with = "schema::cidrs")]
    pub cidrs: Vec<String>,
    /// Certificates that may have signed the filter's; absent: those of the web.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust: Option<CaBundle>,
}
