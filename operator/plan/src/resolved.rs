//! An ImCluster with nothing left open.

use std::collections::BTreeMap;

use im_operator_api::{
    BlobsType, ImClusterSpec, KnownRoles, Pdb, PersistentVolume, Section, StorageType, labels,
};
use im_role::{Listener, Service, Told};
use k8s_openapi::api::core::v1::PodTemplateSpec;

use crate::{Role, Settings, names};

/// An ImCluster that was found good, with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// Name of the ImCluster.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its specification; `dbProxy.replicas` is filled in too.
    pub spec: ImClusterSpec,
    /// Paused by the specification or by annotation.
    pub paused: bool,
    /// Image of every role, with tag or digest.
    pub image: String,
    /// The operator's settings.
    pub settings: Settings,
    /// Old keys in `roles.*.config` that a later version reads no more: a line each, with what to write.
    pub warnings: Vec<String>,
    /// What is valid and seldom meant: a line each, with the field that it is about.
    pub hints: Vec<String>,
    /// The roles that there are.
    pub known: KnownRoles,
    /// What this operator would run.
    pub(crate) rendered: BTreeMap<Role, Rendered>,
}

/// Pod template and configuration file of a role, as this operator makes them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rendered {
    /// Without the label of its revision.
    pub(crate) template: PodTemplateSpec,
    /// TOML.
    pub(crate) config: String,
}

impl Resolved {
    /// The roles that this installation has, in the order in which they are rolled out.
    pub fn roles(&self) -> Vec<Role> {
        let order = self.known.table.in_order_of_rollout().into_iter();
        order.filter(|role| self.section(*role).is_some()).collect()
    }

    /// What the specification says of a role; `None` when the installation does not have it.
    pub fn section(&self, role: Role) -> Option<Section<'_>> {
        (self.known.section)(&self.spec, role)
    }

    /// Pods that a role is to have.
    pub fn replicas(&self, role: Role) -> i32 {
        self.section(role).map_or(0, |section| section.replicas)
    }

    /// How many pods of a role may be evicted; `None` when it has one pod or less.
    pub fn pdb(&self, role: Role) -> Option<&Pdb> {
        let section = self.section(role)?;
        (section.pdb.enabled && section.replicas > 1).then_some(section.pdb)
    }

    /// The port of a role's listener.
    pub(crate) fn port(&self, role: Role, listener: &Listener) -> i32 {
        let section = self.section(role);
        // Policies name the usual port of a role that may come.
        section.map_or_else(|| listener.port.into(), |section| section.port(listener))
    }

    /// Labels of all children.
    pub fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (labels::NAME.to_owned(), labels::APP.to_owned()),
            (labels::INSTANCE.to_owned(), self.name.clone()),
            (labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned()),
        ])
    }

    /// Labels of the children of a role.
    pub fn role_labels(&self, role: Role) -> BTreeMap<String, String> {
        let mut labels = self.labels();
        labels.insert(labels::COMPONENT.to_owned(), role.name().to_owned());
        labels
    }

    /// Labels by which the pods of a role are selected; they never change.
    pub fn selector(&self, role: Role) -> BTreeMap<String, String> {
        let mut labels = self.role_labels(role);
        labels.remove(labels::MANAGED_BY);
        labels
    }

    /// The selector of a role's pods as `status.selector` and list calls write it.
    pub fn selector_text(&self, role: Role) -> String {
        let pairs = self.selector(role).into_iter();
        let terms: Vec<_> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
        terms.join(",")
    }

    /// Whether messages outlive the dbProxy pod.
    pub fn data_is_durable(&self) -> bool {
        let storage = self.spec.database.storage();
        storage.is_none_or(|it| it.kind == StorageType::PersistentVolume)
    }

    /// The volume that each pod of a role is to have, if it has one.
    pub fn volume(&self, role: Role) -> Option<PersistentVolume> {
        if role == Role::DB_PROXY {
            let storage = self.spec.database.storage()?;
            let is_volume = storage.kind == StorageType::PersistentVolume;
            return is_volume.then(|| storage.persistent_volume.unwrap_or_default());
        }
        let blobs = &self.spec.storage.blobs;
        match blobs.kind {
            BlobsType::Volume => {
                let volume = || blobs.volume.clone().unwrap_or_default();
                role.kubernetes.blobs.then(volume)
            }
            BlobsType::S3 => None,
        }
    }

    /// Host and port that clients are told of a role, of which they are told an address; as said, or those of
    /// its Service.
    pub fn told_address(&self, role: Role) -> Option<(String, i32)> {
        let section = self.section(role)?;
        let said = section.optional?;
        if role.kubernetes.told != Told::Address {
            return None;
        }
        let host = match said.external.host.as_str() {
            "" => self.service_host(&names::component(&self.name, role)),
            host => host.to_owned(),
        };
        let listener = front(role)?;
        let of_nodes = said.service.node_ports.get(listener.name).copied();
        let port = match said.external.advertised_port {
            0 => of_nodes.unwrap_or_else(|| section.port(listener)),
            port => port,
        };
        Some((host, port))
    }

    /// Base URL that clients are told of a role, of which they are told one; as said, or that of its Service.
    pub fn told_url(&self, role: Role) -> Option<String> {
        let section = self.section(role)?;
        let said = section.optional?;
        if role.kubernetes.told != Told::Url {
            return None;
        }
        if !said.public_url.is_empty() {
            return Some(said.public_url.clone());
        }
        let host = self.service_host(&names::component(&self.name, role));
        let port = section.port(front(role)?);
        Some(format!("http://{host}:{port}/"))
    }

    /// Slots that exist at least: one for each pod, those beyond `replicas` while pods are replaced
    /// included.
    pub fn slots(&self) -> u32 {
        let msg = &self.spec.roles.msg;
        u32::try_from(msg.replicas.saturating_add(msg.update.max_surge)).unwrap_or(0)
    }

    /// DNS name of a Service of this ImCluster, such as that of [`names`](crate::names).
    pub fn service_host(&self, service: &str) -> String {
        let domain = &self.spec.networking.cluster_domain;
        format!("{service}.{}.svc.{domain}", self.namespace)
    }
}

/// The listener of a role to which its Service for clients leads.
fn front(role: Role) -> Option<&'static Listener> {
    role.ports()
        .find(|listener| listener.service == Service::Front)
}
