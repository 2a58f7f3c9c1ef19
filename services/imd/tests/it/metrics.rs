//! The metrics of the servers: their names and labels, and the page that lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::platform::{get, start};
use crate::world::Server;

const COMMAND: &str = "IM_UPDATE=1 cargo test -p imd --test it metrics";

/// How often the servers are asked, at most, until all that they show is there: for seconds.
const ASKED: usize = 5_000;

/// Units that a name may end with.
const UNITS: [&str; 3] = ["bytes", "seconds", "ratio"];
/// Spellings of units that no name has.
const NOT_UNITS: [&str; 6] = ["ms", "millis", "milliseconds", "micros", "kib", "mib"];

/// Labels whose values are texts and not values of an enum: names of servers and of objects of a
/// cluster, of which there are few, and what the API server answers.
const TEXTS: [(&str, &str); 11] = [
    ("services/login", "server"),
    ("services/db-proxy", "follower"),
    ("operator/controller", "namespace"),
    ("operator/controller", "name"),
    ("operator/controller", "type"),
    ("operator/controller", "status"),
    ("operator/controller", "state"),
    ("operator/controller", "role"),
    ("operator/controller", "reason"),
    ("operator/controller", "code"),
    ("operator/controller", "method"),
];

/// What the names of metrics begin with, and the parts of the page.
const PARTS: [&str; 11] = [
    "im_login",
    "im_msfs",
    "im_msg",
    "im_route",
    "im_db_proxy",
    "im_file",
    "im_http_api",
    "im_push",
    "im_store",
    "im_link",
    "im_probe",
];

/// What one process with every role does not show: its roles are each other's peers without a connection.
const BETWEEN_PROCESSES: [&str; 1] = ["im_link_accepted"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What the exposition says of a metric.
#[derive(Clone, Debug, Default)]
struct Metric {
    kind: String,
    help: String,
}

/// The metrics of an exposition, and its samples.
fn parse(text: &str) -> (BTreeMap<String, Metric>, Vec<&str>) {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    let mut samples = Vec::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        let words = |rest: &str| {
            let (name, rest) = rest.split_once(' ').unwrap();
            (name.to_owned(), rest.trim_end_matches('.').to_owned())
        };
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = words(rest);
            metrics.entry(name).or_default().help = help;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = words(rest);
            metrics.entry(name).or_default().kind = kind;
        } else if !line.starts_with('#') {
            samples.push(line);
        }
    }
    (metrics, samples)
}

fn exposition(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn page(metrics: &BTreeMap<String, Metric>) -> String {
    let mut page = "# Metrics\n\nGenerated from a running platform; do not edit. Each role shows its own at \
                    `/metrics` of its admin port, all of them together in one process, and so does `imd probe`. A counter's name has \
                    `_total` behind it in the exposition.\n"
        .to_owned();
    let of = |name: &str| PARTS.into_iter().find(|part| name.starts_with(part));
    for part in PARTS.map(Some).into_iter().chain([None]) {
        let title = part.map_or_else(|| "Every process".to_owned(), |part| format!("`{part}`"));
        page.push_str(&format!(
            "\n## {title}\n\n| Metric | Kind | What |\n|---|---|---|\n"
        ));
        for (name, Metric { kind, help }) in metrics.iter().filter(|(name, _)| of(name) == part) {
            page.push_str(&format!("| `{name}` | {kind} | {help} |\n"));
        }
    }
    page
}

/// What a prober shows that has tried to log in people whom nobody knows.
fn probed(server: &Server, dir: &Path) -> String {
    let password = dir.join("password");
    std::fs::write(&password, "nobody\n").unwrap();
    let url = format!("http://{}", server.address("login", "http"));
    let args = [
        "probe",
        "nobody",
        "anybody",
        "--password-file",
        password.to_str().unwrap(),
        "--server",
        &url,
        "--set",
        "admin.listen=127.0.0.1:0",
    ];
    let probe = Server::start(&args, &dir.join("probe.ready"));
    let shown = get(&probe.address("admin", "http"), "/metrics");
    assert_eq!(probe.terminate(), 0);
    assert!(
        shown.contains("im_probe_failures_total{step=\"login\"} 1"),
        "{shown}"
    );
    shown
}

#[test]
fn every_metric_is_spelled_alike_says_what_it_is_and_is_on_the_page() {
    let path = root().join("docs/reference/metrics.md");
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir.path().join("data"));
    let admin = server.address("admin", "http");
    // A metric with labels is shown from its first label on: servers connect and push follows the
    // log a moment after the start.
    let probed = probed(&server, dir.path());
    let (of_probe, samples_of_probe) = parse(exposition(&probed));
    let all = |metrics: BTreeMap<String, Metric>| {
        let own = of_probe
            .iter()
            .filter(|(name, _)| name.starts_with("im_probe"));
        let own = own.map(|(name, metric)| (name.clone(), metric.clone()));
        metrics.into_iter().chain(own).collect::<BTreeMap<_, _>>()
    };
    let mut answer = String::new();
    for _ in 0..ASKED {
        answer = get(&admin, "/metrics");
        if page(&all(parse(exposition(&answer)).0)) == present {
            break;
        }
    }
    assert_eq!(server.terminate(), 0);
    let (metrics, mut samples) = parse(exposition(&answer));
    let metrics = all(metrics);
    samples.extend(samples_of_probe);
    assert!(metrics.len() > 80, "they were read: {}", metrics.len());

    let is_word = |word: &str| {
        let mut letters = word.bytes();
        letters
            .next()
            .is_some_and(|first| first.is_ascii_lowercase())
            && letters.all(|c| c == b'_' || c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    for (name, metric) in &metrics {
        assert!(
            is_word(name) && (name.starts_with("im_") || name.starts_with("process_")),
            "{name}"
        );
        assert!(!metric.help.is_empty() && !metric.kind.is_empty(), "{name}");
        assert!(!name.ends_with("_total"), "{name}: the exposition adds it");
        let last = name.rsplit('_').next().unwrap();
        assert!(!NOT_UNITS.contains(&last), "{name}: not a base unit");
        if metric.kind == "histogram" {
            let has_unit = UNITS.contains(&last) || last.ends_with('s');
            assert!(has_unit, "{name}: of what?");
        }
    }
    for sample in samples {
        let labels = sample.split_once('{').map_or("", |(_, rest)| rest);
        let labels = labels.split_once('}').map_or("", |(labels, _)| labels);
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (name, value) = label.split_once('=').unwrap();
            let value = value.trim_matches('"');
            assert!(is_word(name), "{sample}");
            let is_bucket = name == "le";
            let is_server = name == "server";
            let is_version = name == "version";
            let is_named = is_bucket || is_server || is_version;
            assert!(is_named || is_word(value), "{sample}");
        }
    }

    let expected = page(&metrics);
    if std::env::var_os("IM_UPDATE").is_some() {
        std::fs::write(&path, &expected).unwrap();
        return;
    }
    let lines = |page: &str| page.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (shown, listed) = (lines(&expected), lines(&present));
    let missing: Vec<_> = listed.difference(&shown).collect();
    let unlisted: Vec<_> = shown.difference(&listed).collect();
    assert!(
        present == expected,
        "{}: the servers do not show {missing:#?}, the page does not have {unlisted:#?}; {COMMAND} \
         writes it",
        path.display()
    );
}

/// Names that a source file registers as they stand, with or without the prefix of a role.
fn registered(source: &str) -> Vec<&str> {
    let calls = source.split(".register(").skip(1);
    let literals = calls.filter_map(|call| call.trim_start().strip_prefix('"'));
    literals
        .filter_map(|literal| Some(literal.split_once('"')?.0))
        .collect()
}

/// A metric with labels is not shown before its first count, unless its series are made at the start: then
/// the page, which is made from a platform on which little happens, would not have it. Of names with the prefix of
/// a role only their ends are known here.
#[test]
fn every_metric_that_a_server_registers_is_on_the_page() {
    let root = root().canonicalize().unwrap();
    let page = std::fs::read_to_string(root.join("docs/reference/metrics.md")).unwrap();
    let listed: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| Some(line.split_once('`')?.0))
        .collect();
    let mut files = Vec::new();
    sources(&root.join("services"), &mut files);
    let (mut seen, mut unlisted) = (0, Vec::new());
    for file in files {
        let is_test = file.components().any(|part| {
            let part = part.as_os_str();
            part == "tests" || part == "tests.rs"
        });
        let source = std::fs::read_to_string(&file).unwrap();
        if is_test || !source.contains("prometheus_client::registry") {
            continue;
        }
        let own = source.split("#[cfg(test)]").next().unwrap();
        for name in registered(own) {
            seen += 1;
            let is_listed = listed.iter().any(|metric| {
                let before = metric.strip_suffix(name);
                before.is_some_and(|before| before.is_empty() || before.ends_with('_'))
            });
            if !is_listed && !BETWEEN_PROCESSES.contains(&name) {
                unlisted.push((file.clone(), name.to_owned()));
            }
        }
    }
    assert!(seen > 80, "they were read: {seen}");
    assert!(unlisted.is_empty(), "{unlisted:#?}");
}

/// Fields of the sets of labels in a source file, with their types.
fn labels(source: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for after in source.split("EncodeLabelSet)]").skip(1) {
        let body = after.split_once('{').map_or("", |(_, body)| body);
        let body = body.split_once('}').map_or("", |(body, _)| body);
        for field in body.split(',') {
            if let Some((name, kind)) = field.rsplit_once(": ") {
                let name = name.rsplit([' ', '\n', '#']).next().unwrap();
                found.push((name.to_owned(), kind.trim().to_owned()));
            }
        }
    }
    found
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// A label has the values of an enum or words of the program, so that no time series is made for a
/// person, a conversation or an address.
#[test]
fn no_label_grows_with_people() {
    let root = root().canonicalize().unwrap();
    let mut files = Vec::new();
    for folder in ["services", "operator"] {
        sources(&root.join(folder), &mut files);
    }
    let (mut seen, mut texts) = (0, BTreeSet::new());
    for file in files {
        let name = file.strip_prefix(&root).unwrap().to_str().unwrap();
        for (label, kind) in labels(&std::fs::read_to_string(&file).unwrap()) {
            seen += 1;
            let is_text = kind == "String" || kind.starts_with(['u', 'i']) || kind.contains("Ip");
            if is_text {
                let known = TEXTS
                    .iter()
                    .find(|(of, text)| name.starts_with(of) && *text == label);
                texts.insert(known.unwrap_or_else(|| panic!("{name}: {label}: {kind}")));
            }
        }
    }
    assert!(seen > 20, "they were read: {seen}");
    assert_eq!(texts.len(), TEXTS.len(), "each exception is needed");
}
