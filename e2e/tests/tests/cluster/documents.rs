//! What the documents show can be pasted on a cluster.

use std::process::Command;

use im_e2e::documents::{self, Use};
use im_e2e_kube::testing;

use crate::installation::{cluster, repository};

/// The documents in the order in which a newcomer meets them: later ones find what earlier ones made.
const DOCUMENTS: [&str; 5] = [
    "charts/im-crds/README.md",
    "charts/im-operator/README.md",
    "charts/im-cluster/README.md",
    "README.md",
    "docs/kubernetes.md",
];

/// What stands before the blocks. The definition belongs to the whole cluster, and tests beside this one
/// upgrade it, so its chart is only rendered. Images are those under test. What an earlier document has
/// installed is upgraded.
const BEFORE: &str = r#"
set -euo pipefail
helm() {
    if [ "$1" != install ]; then command helm "$@"; return; fi
    shift
    case $1 in
        im-crds) command helm template "$@" > rendered; [ -s rendered ] ;;
        im-operator) command helm upgrade --install "$@" --set "image.repository=$OPERATOR" --set "servers.image.repository=$SERVERS" ;;
        *) command helm upgrade --install "$@" --set "test.repository=$SERVERS" ;;
    esac
}
cat > people.csv <<'END'
name,password,nick,department
ann,secret,Ann,Company/Research
ben,secret,Ben,Company/Sales
END
"#;

/// Every command that a document marks with "cluster", in a namespace of the test's own instead of
/// "chat".
#[tokio::test(flavor = "multi_thread")]
async fn commands_of_the_documents_can_be_pasted_on_a_cluster() {
    let namespace = cluster()
        .await
        .unwrap()
        .namespace("documents")
        .await
        .unwrap();
    let all = documents::all().unwrap();
    let mut script = BEFORE.to_owned();
    let is_cluster = |is_for: &Use| *is_for == Use::Cluster;
    for document in DOCUMENTS {
        let (_, blocks) = all.iter().find(|(name, _)| name == document).unwrap();
        for block in blocks.iter().filter(|block| is_cluster(&block.is_for)) {
            script.push_str(&format!("echo '== {document}:{}'\n", block.line));
            script.push_str(&block.text);
        }
    }
    for (name, blocks) in &all {
        let has_some = blocks.iter().any(|block| is_cluster(&block.is_for));
        assert!(!has_some || DOCUMENTS.contains(&name.as_str()), "{name}");
    }
    let script = script.replace(
        "--namespace chat",
        &format!("--namespace {}", namespace.name()),
    );

    let folder = tempfile::tempdir().unwrap();
    let charts = documents::root().join("charts").canonicalize().unwrap();
    std::os::unix::fs::symlink(charts, folder.path().join("charts")).unwrap();
    let operator = testing::operator_image();
    let servers = testing::image();
    let run = Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("OPERATOR", repository(&operator))
        .env("SERVERS", repository(&servers))
        .output();
    let output = run.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}{errors}", output.status);
    for person in ["ann", "ben"] {
        let mut words = said.split_whitespace();
        assert!(
            words.any(|word| word == person),
            "{person} is listed: {said}"
        );
    }
}
