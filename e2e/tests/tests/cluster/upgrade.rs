//! Orders of versions, with the charts and images of an earlier revision and of this one: operator and
//! servers go from one to the other in either order, and back, while people chat.
//!
//! `make test-upgrade` builds the earlier revision and says in the environment where its charts are and
//! which tag its images have. The definition of the resource, which all tests share, is that of either
//! revision, so each has the cluster alone. The tests ask the earlier revision only for what every operator
//! did: it knows the fields used here.

use std::collections::BTreeMap;
use std::time::Duration;

use im_e2e::traffic::Traffic;
use im_e2e_kube::testing::{self, Cluster};
use im_e2e_kube::wait::{LATER, until};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::charts::install_cluster_from;
use crate::faults::restarts_of;
use crate::installation::{
    CHARTS, INSTALL, Installation, NAME, VERSION, install_definition, install_operator_from,
    repository, small, with,
};
use crate::scale::{RECOVERY, assert_good};

/// People who chat, and the time between two messages of one of them.
const PEOPLE: (u32, Duration) = (6, Duration::from_millis(100));

/// Every role: those of [`small`], and those that an installation can do without.
fn every_role() -> Value {
    let requests = json!({"requests": {"cpu": "10m", "memory": "32Mi"}});
    let role = json!({"resources": requests});
    let stored = json!({"resources": requests, "drain": {"maxSeconds": 5}});
    let webhook = json!({
        "url": "http://192.0.2.1/nobody",
        "secretName": WEBHOOK,
    });
    let optional = json!({
        "roles": {
            "file": stored,
            "msfs": stored,
            "httpApi": role,
            "push": {"resources": requests, "webhook": webhook},
        },
        "storage": {"blobs": {"volume": {"size": "1Gi"}}},
    });
    with(small(), &optional)
}

/// Secret of a webhook that nobody answers.
const WEBHOOK: &str = "webhook";

/// Components of [`every_role`].
const COMPONENTS: [&str; 8] = [
    "db-proxy", "login", "msg", "route", "file", "msfs", "http-api", "push",
];

/// Messages that are acknowledged before and after each step.
const BETWEEN: usize = 100;

/// Charts and images of a revision.
struct Revision {
    charts: String,
    tag: String,
}

impl Revision {
    fn earlier() -> Self {
        let read = |name| {
            std::env::var(name).unwrap_or_else(|_| panic!("set {name}, as make test-upgrade does"))
        };
        Self {
            charts: read("IM_EARLIER_CHARTS"),
            tag: read("IM_EARLIER_TAG"),
        }
    }

    fn this() -> Self {
        Self {
            charts: CHARTS.to_owned(),
            tag: VERSION.to_owned(),
        }
    }

    /// The name of its image in the place of another.
    fn image(&self, of: &str) -> String {
        format!("{}:{}", repository(of), self.tag)
    }
}

/// An ImCluster that has been of the earlier revision, with its operator, and people who chat on it.
struct Upgrade {
    installation: Installation,
    traffic: Traffic,
    /// What the release of the ImCluster holds now.
    spec: Value,
}

impl Upgrade {
    /// Everything is of the earlier revision, the definition too.
    async fn begin(purpose: &str) -> Self {
        let earlier = Revision::earlier();
        assert_ne!(earlier.tag, VERSION, "two revisions need two tags");
        let cluster = Cluster::alone().await.unwrap();
        install_definition(&earlier.charts).unwrap();
        let namespace = cluster.namespace(purpose).await.unwrap();
        let image = earlier.image(&testing::operator_image());
        install_operator_from(&earlier.charts, &image, &namespace, &[]).unwrap();
        let installation = Installation {
            namespace,
            name: NAME.to_owned(),
        };
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": WEBHOOK},
            "stringData": {"secret": "a secret of these tests"},
        });
        let namespace = &installation.namespace;
        namespace.apply(&secret.to_string()).unwrap();
        let spec = with(every_role(), &json!({"version": earlier.tag}));
        install_cluster_from(&earlier.charts, &installation, &spec);
        installation.ready().await.unwrap();
        let (people, pause) = PEOPLE;
        installation.import(people).unwrap();
        let traffic = installation.traffic(people, pause).await.unwrap();
        let upgrade = Self {
            installation,
            traffic,
            spec,
        };
        upgrade.runs(&earlier).await;
        upgrade
    }

    /// This revision's operator takes over, and its charts: definition, operator, ImCluster. No server
    /// notices, and nobody is told that something does not work.
    async fn operator(&mut self) {
        let this = Revision::this();
        let before = self.untouched().await;
        install_definition(&this.charts).unwrap();
        let image = this.image(&testing::operator_image());
        let namespace = &self.installation.namespace;
        install_operator_from(&this.charts, &image, namespace, &[]).unwrap();
        self.operated_by(&this).await;
        self.looked_at(&this).await;
        assert_eq!(self.untouched().await, before);
        self.progress().await;
    }

    /// The servers become those of another revision. The chart is that of `charts`.
    async fn images(&mut self, charts: &Revision, to: &Revision) {
        self.apply(charts, &json!({"version": to.tag})).await;
        self.runs(to).await;
    }

    /// The operator of the earlier revision again, as `helm rollback` brings it. The definition stays as it
    /// is: it may be newer than the operator.
    async fn operator_back(&mut self) {
        let before = self.untouched().await;
        let rollback = ["rollback", "im-operator", "1", "--wait", "--timeout", "3m"];
        self.installation.namespace.helm(&rollback).unwrap();
        let earlier = Revision::earlier();
        self.operated_by(&earlier).await;
        self.looked_at(&earlier).await;
        assert_eq!(self.untouched().await, before);
        self.progress().await;
    }

    /// The release of the ImCluster gets a chart, and a change that replaces no pod: once that is observed,
    /// the operator that works now has looked at everything.
    async fn looked_at(&mut self, charts: &Revision) {
        let mirror = if self.spec["load"]["mirror"] == "None" {
            "EndpointSlice"
        } else {
            "None"
        };
        self.apply(charts, &json!({"load": {"mirror": mirror}}))
            .await;
    }

    /// Upgrades the release of the ImCluster, and waits until all is as it says.
    async fn apply(&mut self, charts: &Revision, change: &Value) {
        self.spec = with(self.spec.take(), change);
        install_cluster_from(&charts.charts, &self.installation, &self.spec);
        self.installation.ready().await.unwrap();
    }

    /// What may not change where no server is to be touched: pods, how often their containers were
    /// restarted, and since when the ImCluster is ready, which each change of `Ready` would renew.
    async fn untouched(&self) -> (BTreeMap<String, i32>, Value) {
        let object = self.installation.object().await.unwrap();
        let conditions = object["status"]["conditions"].as_array().unwrap();
        let ready = conditions.iter().find(|it| it["type"] == "Ready").unwrap();
        assert_eq!(ready["status"], "True", "{ready:#}");
        let since = ready["lastTransitionTime"].clone();
        assert!(since.is_string(), "{ready:#}");
        let servers = restarts_of(&self.installation, &COMPONENTS).await;
        (servers, since)
    }

    /// Waits until no other operator works here.
    async fn operated_by(&self, revision: &Revision) {
        let image = revision.image(&testing::operator_image());
        let pods = self.installation.namespace.api::<Pod>();
        let of_operator = ListParams::default().labels("app.kubernetes.io/name=im-operator");
        until("only the other operator is left", LATER, async || {
            let pods = pods.list(&of_operator).await.ok()?.items;
            let [pod] = &pods[..] else { return None };
            (image_of(pod) == image && testing::is_ready(pod)).then_some(())
        })
        .await
        .unwrap();
    }

    /// Holds that every server is of a revision, and that people chat on.
    async fn runs(&self, revision: &Revision) {
        let tag = &revision.tag;
        until("status tells the version", INSTALL, async || {
            let object = self.installation.object().await.ok()?;
            (object["status"]["version"] == **tag).then_some(())
        })
        .await
        .unwrap();
        self.installation.ready().await.unwrap();
        let image = revision.image(&testing::image());
        for role in COMPONENTS {
            let pods = self.installation.pods(role).await.unwrap();
            let stay = pods
                .iter()
                .filter(|pod| pod.metadata.deletion_timestamp.is_none());
            let images: Vec<&str> = stay.map(image_of).collect();
            assert!(!images.is_empty(), "no pod of {role}");
            assert!(images.iter().all(|of| *of == image), "{role}: {images:?}");
        }
        self.progress().await;
    }

    async fn progress(&self) {
        self.traffic.progress(BETWEEN, RECOVERY).await.unwrap();
    }

    /// Holds that every message since the beginning is stored once and was seen.
    async fn end(self) {
        self.installation.ready().await.unwrap();
        let outcome = self.traffic.finish(RECOVERY).await.unwrap();
        println!(
            "{} messages, longest absence of a client: {:?}",
            outcome.stored, outcome.absence
        );
        assert_good(&outcome);
    }
}

/// The image that a pod was made with.
fn image_of(pod: &Pod) -> &str {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    container
        .and_then(|container| container.image.as_deref())
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "an earlier revision is built for it: make test-upgrade"]
async fn an_operator_takes_over_untouched_servers_and_then_replaces_them_while_people_chat() {
    let mut upgrade = Upgrade::begin("forward").await;
    upgrade.operator().await;
    let this = Revision::this();
    upgrade.images(&this, &this).await;
    upgrade.end().await;
}

/// Images first, then the operator: an operator would refuse a version that is a minor version behind the
/// one that runs, so the earlier images have a tag of the same minor version.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "an earlier revision is built for it: make test-upgrade"]
async fn the_way_back_loses_nothing_and_the_earlier_operator_works_on() {
    let mut upgrade = Upgrade::begin("back").await;
    let (this, earlier) = (Revision::this(), Revision::earlier());
    upgrade.operator().await;
    upgrade.images(&this, &this).await;
    upgrade.images(&this, &earlier).await;
    upgrade.operator_back().await;
    upgrade
        .apply(&earlier, &json!({"roles": {"route": {"replicas": 2}}}))
        .await;
    assert_eq!(upgrade.installation.pods("route").await.unwrap().len(), 2);
    upgrade.runs(&earlier).await;
    upgrade.end().await;
}

/// Not the order of the documents, but one that happens: the version is a line of an ImCluster, and the
/// operator may be somebody else's.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "an earlier revision is built for it: make test-upgrade"]
async fn servers_may_be_newer_than_their_operator_until_it_follows() {
    let mut upgrade = Upgrade::begin("servers-first").await;
    let (this, earlier) = (Revision::this(), Revision::earlier());
    upgrade.images(&earlier, &this).await;
    upgrade.operator().await;
    upgrade.runs(&this).await;
    upgrade.end().await;
}
