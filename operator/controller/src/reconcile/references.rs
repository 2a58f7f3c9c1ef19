//! Secrets and ConfigMaps of other people that pods mount: whether they are there, with the keys that pods
//! need. Each is read by its name, and nothing that stands in it is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use im_operator_plan::{Reference, ReferenceKind};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use tokio::time::Instant;

use super::{Reconciliation, SECRET, Trouble};
use crate::apply::ApplyError;
use crate::context::Memory;
use crate::kinds::Kind;
use crate::status::Missing;

/// What is missing is looked for this often: it cannot be watched.
const AGAIN: Duration = Duration::from_secs(10);

impl Reconciliation<'_> {
    /// Looks whether all that pods mount is there. What was found out last holds where it cannot be read.
    pub(crate) async fn find_references(&self, memory: &mut Memory, trouble: &mut Trouble) {
        let references = self.cluster.references();
        let known = &mut memory.references;
        let rest = if known.missing.is_empty() {
            SECRET
        } else {
            AGAIN
        };
        let due = known.looked.is_none_or(|at| at.elapsed() >= rest);
        if due || known.of != references {
            let mut missing = Vec::new();
            for reference in &references {
                match self.lack(reference).await {
                    Ok(lack) => missing.extend(lack),
                    Err(error) => return trouble.errors.push(error),
                }
            }
            known.missing = missing;
            known.of = references;
            known.looked = Some(Instant::now());
        }
        if !known.missing.is_empty() {
            trouble.wake(self.now.checked_add(AGAIN).ok());
        }
    }

    /// What is missing of this one, if anything.
    async fn lack(&self, reference: &Reference) -> Result<Option<Missing>, ApplyError> {
        let name = &reference.name;
        let (reason, kind) = match reference.kind {
            ReferenceKind::Secret => ("SecretMissing", Kind::Secret),
            ReferenceKind::ConfigMap => ("ConfigMapMissing", Kind::ConfigMap),
        };
        let present = match reference.kind {
            ReferenceKind::Secret => {
                let found = self.others::<Secret>().get_opt(name).await;
                found.map(|found| found.map(|it| keys(it.data)))
            }
            ReferenceKind::ConfigMap => {
                let found = self.others::<ConfigMap>().get_opt(name).await;
                found.map(|found| found.map(|it| keys(it.data)))
            }
        };
        let present = present.map_err(|error| ApplyError::api("read", kind, name, error))?;
        let which = format!(
            "{} {name}, which {} names,",
            reference.kind, reference.field
        );
        let message = match present {
            None => format!("{which} does not exist"),
            Some(present) => {
                let absent = reference.keys().filter(|key| !present.contains(*key));
                let absent: Vec<&str> = absent.collect();
                if absent.is_empty() {
                    return Ok(None);
                }
                format!("{which} has no key {}", absent.join(" and no key "))
            }
        };
        Ok(Some(Missing { reason, message }))
    }

    fn others<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.ctx.client.clone(), &self.key.namespace)
    }
}

/// The keys of an object, without what stands under them.
fn keys<T>(data: Option<BTreeMap<String, T>>) -> BTreeSet<String> {
    data.unwrap_or_default().into_keys().collect()
}
