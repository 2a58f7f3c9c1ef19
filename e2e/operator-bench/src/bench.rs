//! Running the scenarios, and what they share.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use im_e2e_kube::testing::Cluster;

use crate::installation::Installation;
use crate::quiet::Quiet;
use crate::report::{Entry, Report};
use crate::scenario::Scenario;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) idle: Duration,
    pub(crate) clusters: usize,
    pub(crate) changes: usize,
    pub(crate) pause: Duration,
    pub(crate) thousand: usize,
    pub(crate) touches: usize,
    pub(crate) pods: u32,
}

/// What scenarios share. The cluster is connected to, and a platform installed, when the first of them
/// needs it.
pub(crate) struct Bench {
    pub(crate) sizes: Sizes,
    /// The operator's program, for when it runs as a process of the node.
    pub(crate) operator: PathBuf,
    cluster: Option<Cluster>,
    installation: Option<Installation>,
    quiet: Option<Quiet>,
}

impl Bench {
    pub(crate) fn new(sizes: Sizes, operator: PathBuf) -> Self {
        Self {
            sizes,
            operator,
            cluster: None,
            installation: None,
            quiet: None,
        }
    }

    /// Runs the scenarios. One that fails is part of the report.
    pub(crate) async fn run(&mut self, scenarios: &[Scenario]) -> Report {
        let mut report = Report::new(&self.sizes);
        for scenario in scenarios {
            eprintln!("{}: {} …", scenario.name(), scenario.describe());
            let outcome = scenario.run(self).await;
            let entry = Entry::new(*scenario, outcome);
            eprintln!("{entry}");
            report.entries.push(entry);
        }
        if let Err(error) = self.tidy().await {
            eprintln!("tidying up: {error:#}");
        }
        report
    }

    /// The cluster, which has the definition of the resource.
    pub(crate) async fn cluster(&mut self) -> anyhow::Result<Cluster> {
        if let Some(cluster) = &self.cluster {
            return Ok(cluster.clone());
        }
        let cluster = Cluster::connect().await?;
        self.cluster = Some(cluster.clone());
        Ok(cluster)
    }

    /// A platform that is ready and used by nobody.
    pub(crate) async fn installation(&mut self) -> anyhow::Result<&Installation> {
        if self.installation.is_none() {
            let (installation, _) = Installation::measured(&self.cluster().await?).await?;
            self.installation = Some(installation);
        }
        self.installation.as_ref().context("it was made above")
    }

    /// Keeps a platform for the scenarios that follow.
    pub(crate) fn keep(&mut self, installation: Installation) {
        self.installation = Some(installation);
    }

    /// A node on which no pod is scheduled or run, without the platform of earlier scenarios.
    pub(crate) async fn quiet_cluster(&mut self) -> anyhow::Result<Cluster> {
        let cluster = self.cluster().await?;
        if let Some(installation) = self.installation.take() {
            installation.remove().await?;
        }
        if self.quiet.is_none() {
            self.quiet = Some(Quiet::new(&cluster).await?);
        }
        Ok(cluster)
    }

    async fn tidy(&mut self) -> anyhow::Result<()> {
        if let Some(installation) = self.installation.take() {
            installation.remove().await?;
        }
        match self.quiet.take() {
            Some(quiet) => quiet.end().await,
            None => Ok(()),
        }
    }
}
