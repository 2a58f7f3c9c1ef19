//! How long each step may take, and each test in it: one table.
//!
//! A limit is there to name what hangs, not to measure. A step of `make test` has about what it takes on
//! two cores with empty caches. Machines differ and so do their days: a step may take twice its limit and
//! a little, and all of them together what the run may take, which is 88 minutes.

use std::time::Duration;

use anyhow::bail;

/// What the steps of `make test` may take together, seconds.
const WHOLE_RUN: u64 = 88 * 60;
/// What a step may take above twice its limit, seconds.
const LATE: u64 = 60;
/// The same in a run of some steps only, of which the first builds what those before it would have built.
const LATE_IN_A_PART: u64 = 2_400;

/// What the steps of a run may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// All together.
    pub(crate) run: Duration,
    /// One of them, above twice its limit.
    pub(crate) late: Duration,
}

/// What the steps of this run may take: of all that `make test` has, or of a part.
pub(crate) fn budget(whole_run: bool) -> Budget {
    let times = |seconds: u64| Duration::from_secs(seconds.saturating_mul(factor()));
    if whole_run {
        Budget {
            run: times(WHOLE_RUN),
            late: times(LATE),
        }
    } else {
        Budget {
            run: Duration::MAX,
            late: times(LATE_IN_A_PART),
        }
    }
}

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

/// Every limit is so many times as long: for machines that are slower than two cores of today.
pub(crate) const FACTOR: &str = "IM_LIMITS";

/// `make torture` kills five times as often, and takes parts of Kubernetes away for five times as long.
fn factor() -> u64 {
    let torture = std::env::var_os("IM_TORTURE").map_or(1, |_| 6);
    let asked = std::env::var(FACTOR).ok();
    torture * asked.and_then(|text| times(&text)).unwrap_or(1)
}

/// Whether [`FACTOR`] can be used.
pub(crate) fn check() -> anyhow::Result<()> {
    match std::env::var(FACTOR) {
        Ok(text) if times(&text).is_none() => {
            bail!("{FACTOR} is {text:?}, not a whole number from 1 to 100")
        }
        _ => Ok(()),
    }
}

/// A factor as people write it, if it is one.
fn times(text: &str) -> Option<u64> {
    text.parse().ok().filter(|times| (1..=100).contains(times))
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
    FORMAT = row("format", 20, "reads every source file");
    TOOL = row("build a tool", 200, "built once per version, from nothing");
    DENY = row("bans, licences, sources", 20, "reads the lock file, fetches what it names");
    UNIT = tests("lints, unit and one-process tests", 900, 120, "builds, lints and documents every crate and test, from nothing; a test computes");
    CRATE_TESTS = tests("lints and tests of the crate", 1_800, 120, "builds what it uses, from nothing; a test computes");
    BUILD = row("build all programs", 150, "builds every program and the tests of processes");
    BUILT = row("see that all programs are built", 30, "builds what was changed since");
    ATTACKS = tests("end-to-end tests of attacks", 260, 150, "real processes, two tests at a time; thousands of clients");
    E2E = tests("end-to-end tests", 300, 300, "real processes, four tests at a time; a test kills its servers 70 times");
    PYTHON_ENVIRONMENT = row("make a Python environment", 20, "writes some hundred files, once per version");
    PYTHON = row("install Python packages", 40, "fetches them, once per version");
    PACKAGE_LISTS = row("lists of Debian packages", 60, "fetches them, where Python has no environments");
    PACKAGES = row("Debian packages", 120, "fetches and unpacks them, where Python has no environments");
    CONTRACT = tests("the API held against its document", 230, 230, "sends thousands of requests");
    FUZZ = row("fuzz targets", 90, "builds the targets with coverage, from nothing");
    // A database.
    PACKAGE_NAMES = row("look up Debian packages", 10, "reads the lists of packages");
    MARIADB_FETCH = row("fetch MariaDB", 20, "fetches 13 MB, once per version");
    MARIADB_UNPACK = row("unpack MariaDB", 10, "writes some hundred files, once per version");
    MARIADB = tests("tests of the store on MariaDB", 60, 60, "starts six servers, and empties a database per case");
    ON_MARIADB = tests("tests of servers on MariaDB", 130, 90, "real processes, two tests at a time; each starts a server of its own and kills it");
    // A Kubernetes node.
    CHARTS = tests("tests of the charts", 35, 35, "runs Helm once per case, and evaluates alerts over hours");
    S3 = tests("tests of blobs on an S3 server", 15, 15, "starts a server per case");
    BUCKETS = tests("files and pictures on an S3 server", 15, 15, "starts a server per case");
    NODE_PROGRAMS = row("programs of the node", 600, "Kubernetes is built once per version, from nothing");
    NODE_UP = row("start a Kubernetes node", 40, "Kubernetes is built once per version, from nothing");
    NODE_DOWN = row("end the node", 30, "ends every pod of it");
    NODE_EARLIER = row("end an earlier node", 10, "ends every pod of it");
    IMAGES = row("images", 30, "packs the programs, built before");
    RELEASE_IMAGES = row("images of a release", 7_200, "builds the programs for two processors, optimised");
    INDEX = row("one image over processors", 300, "reads and writes archives");
    COMMIT = row("time of the commit", 60, "asks git");
    PACKAGE = row("package a chart", 120, "runs Helm once");
    SUMS = row("checksums", 300, "reads every file of the release");
    ADVISORIES = row("advisories", 600, "fetches the database of advisories");
    IMPORT = row("import images", 40, "unpacks them on the node");
    CLUSTER = tests("tests on the node", 1_450, 900, "pods start, drain and are replaced; each wait in a test has a limit of its own");
    NODES_UP = row("start several Kubernetes nodes", 60, "starts four, and unpacks the images once");
    NODES = tests("tests on several nodes", 200, 200, "nodes lose their power and come back; each test waits for the one before");
    RULES = row("rules of the operator", 5, "prints them");
    REVISION = row("find the earlier revision", 20, "asks git");
    TREE = row("files of the earlier revision", 60, "writes every file of it");
    EARLIER = row("build the earlier programs", 190, "builds two programs, from nothing");
    TREE_GONE = row("remove those files", 60, "removes every file of it");
    UPGRADE = tests("tests between two revisions", 900, 420, "each installs one revision and moves to the other, under traffic");
    AUDIT = row("compare the operator's rules with what it did", 20, "reads the API server's audit log of all tests");
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

    /// `make test` from empty caches runs these.
    const STEPS: &[Step] = &[
        FORMAT,
        TOOL,
        DENY,
        UNIT,
        BUILD,
        ATTACKS,
        E2E,
        PACKAGE_NAMES,
        PACKAGE_NAMES,
        MARIADB_FETCH,
        MARIADB_UNPACK,
        MARIADB,
        ON_MARIADB,
        PYTHON_ENVIRONMENT,
        PYTHON,
        CONTRACT,
        FUZZ.plus(9),
        BUILT,
        CHARTS,
        S3,
        BUCKETS,
        NODE_EARLIER,
        NODE_PROGRAMS,
        NODE_UP,
        IMAGES,
        IMPORT,
        CLUSTER,
        RULES,
        AUDIT,
        NODE_DOWN,
        NODE_EARLIER,
        NODES_UP,
        NODES,
        NODE_DOWN,
    ];

    #[test]
    fn steps_that_keep_their_limits_leave_the_run_its_time() {
        let seconds: u64 = STEPS.iter().map(|step| step.seconds).sum();
        assert!(seconds <= WHOLE_RUN, "{seconds} s");
    }

    #[test]
    fn a_factor_is_a_whole_number_from_1_to_100() {
        assert_eq!(["1", "3", "100"].map(times), [Some(1), Some(3), Some(100)]);
        assert_eq!(["0", "101", "-1", "2.5", ""].map(times), [None; 5]);
    }

    #[test]
    fn more_work_is_given_more_time() {
        let more = Duration::from_secs(90 * factor());
        assert_eq!(FUZZ.plus(90).limit(), FUZZ.limit() + more);
    }
}
