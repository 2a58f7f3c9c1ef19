//! How long each step may take, and each test in it: one table.
//!
//! A limit is there to name what hangs, not to measure: it is several times what a cold run on two
//! busy cores takes.

use std::time::Duration;

/// A step of a run: its name, what it may take, and why so much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// What people see.
    pub(crate) name: &'static str,
    seconds: u64,
    /// What takes the time.
    pub(crate) why: &'static str,
    test_seconds: u64,
}

impl Step {
    /// Longest time from the start of the step to its end.
    pub(crate) fn limit(&self) -> Duration {
        Duration::from_secs(self.seconds.saturating_mul(factor()))
    }

    /// Longest time of one test in it.
    pub(crate) fn test_limit(&self) -> Duration {
        Duration::from_secs(self.test_seconds.saturating_mul(factor()))
    }

    /// The same step with more to do.
    pub(crate) const fn plus(mut self, seconds: u64) -> Self {
        self.seconds = self.seconds.saturating_add(seconds);
        self
    }
}

/// `make torture` kills five times as often, and takes parts of Kubernetes away for five times as long.
fn factor() -> u64 {
    if std::env::var_os("IM_TORTURE").is_some() {
        6
    } else {
        1
    }
}

const fn row(name: &'static str, seconds: u64, why: &'static str) -> Step {
    tests(name, seconds, seconds, why)
}

const fn tests(name: &'static str, seconds: u64, test_seconds: u64, why: &'static str) -> Step {
    Step {
        name,
        seconds,
        why,
        test_seconds,
    }
}

macro_rules! table {
    ($($constant:ident = $row:expr;)*) => {
        $(pub(crate) const $constant: Step = $row;)*

        /// Every row, for the test of the table.
        #[cfg(test)]
        const ALL: &[Step] = &[$($constant),*];
    };
}

table! {
    // Code.
    FORMAT = row("format", 120, "reads every source file");
    LINTS = row("lints", 3_600, "checks every crate and what it uses, from nothing");
    TOOL = row("build a tool", 1_800, "built once per version, from nothing");
    DENY = row("bans, licences, sources", 600, "reads the lock file, fetches what it names");
    UNIT = tests("unit and one-process tests", 5_400, 120, "builds every test, from nothing; a test computes");
    CRATE_LINTS = row("lints of the crate", 1_800, "checks what it uses, from nothing");
    CRATE_TESTS = tests("tests of the crate", 1_800, 120, "builds what it uses, from nothing; a test computes");
    BUILD = row("build all programs", 3_600, "builds every program and test, from nothing");
    E2E = tests("end-to-end tests", 3_600, 300, "real processes, two tests at a time; a test kills its servers 70 times");
    DOC = row("documentation", 1_800, "documents every crate, from nothing");
    FUZZ = row("fuzz targets", 1_200, "builds the targets with coverage, from nothing");
    // A Kubernetes node.
    CHARTS = tests("tests of the charts", 1_200, 120, "runs Helm once per case");
    NODE_PROGRAMS = row("programs of the node", 5_400, "Kubernetes is built once per version, from nothing");
    NODE_UP = row("start a Kubernetes node", 5_400, "Kubernetes is built once per version, from nothing");
    NODE_DOWN = row("end the node", 300, "ends every pod of it");
    NODE_EARLIER = row("end an earlier node", 300, "ends every pod of it");
    IMAGES = row("images", 900, "packs the programs, built before");
    RELEASE_IMAGES = row("images of a release", 7_200, "builds the programs for two processors, optimised");
    INDEX = row("one image over processors", 300, "reads and writes archives");
    COMMIT = row("time of the commit", 60, "asks git");
    PACKAGE = row("package a chart", 120, "runs Helm once");
    SUMS = row("checksums", 300, "reads every file of the release");
    ADVISORIES = row("advisories", 600, "fetches the database of advisories");
    IMPORT = row("import images", 600, "unpacks them on the node");
    CLUSTER = tests("tests on the node", 7_200, 900, "pods start, drain and are replaced; each wait in a test has a limit of its own");
    RULES = row("rules of the operator", 60, "prints them");
    AUDIT = row("compare the operator's rules with what it did", 300, "reads the API server's audit log of all tests");
    // A kind cluster.
    KIND_ASK = row("ask kind and Docker", 120, "one call of a program");
    KIND_UP = row("make a kind cluster", 1_200, "fetches the image of its node");
    KIND_LOAD = row("load images", 900, "copies and unpacks them on the node");
    KIND_DOWN = row("remove the kind cluster", 300, "ends every pod of it");
    MUTANTS = row("mutants of a core", 43_200, "builds and tests its crate once per change");
    // Figures.
    OPTIMISED = row("build optimised programs", 7_200, "optimises across crates, from nothing");
    FIGURES = row("figures", 21_600, "every scenario, several runs each");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_a_name_of_its_own_a_limit_and_a_reason() {
        for (place, step) in ALL.iter().enumerate() {
            assert!(!step.why.is_empty(), "{}", step.name);
            assert!((1..=43_200).contains(&step.seconds), "{}", step.name);
            assert!(step.test_seconds <= step.seconds, "{}", step.name);
            let earlier = ALL.iter().take(place);
            assert!(earlier.into_iter().all(|other| other.name != step.name));
        }
    }

    #[test]
    fn more_work_is_given_more_time() {
        let more = Duration::from_secs(90 * factor());
        assert_eq!(FUZZ.plus(90).limit(), FUZZ.limit() + more);
    }
}
