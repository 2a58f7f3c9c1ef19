//! What the documents show can be pasted.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use im_e2e::documents::{self, Block, Use};
use im_e2e::platform::own_address;
use im_e2e::process::{imd_binary, run_imd};
use tokio::process::Command;

/// A document's blocks together may take this long.
const LIMIT: Duration = Duration::from_secs(120);

/// What stands before the blocks of a document. The program is that under test instead of an installed
/// one, and a platform has a loopback address of its own, since other tests use the ports of the
/// documents as well. Background processes end with the shell.
const BEFORE: &str = r#"
set -euo pipefail
trap 'jobs=$(jobs -p); [ -z "$jobs" ] || kill $jobs; wait' EXIT
cargo() { [ "$1" = install ] || command cargo "$@"; }
curl() { command curl "${@//127.0.0.1/$ADDRESS}"; }
imd() {
    local command=$1; shift
    case $command in
        all-in-one) exec "$IMD_BIN" all-in-one --bind "$ADDRESS" "$@" ;;
        chat|script) IMD_SERVER="http://$ADDRESS:8080" "$IMD_BIN" "$command" "$@" ;;
        *) "$IMD_BIN" "$command" "$@" ;;
    esac
}
"#;

/// The blocks of a language that are run, of every document that has some.
fn run_blocks(language: &str) -> Vec<(String, Vec<Block>)> {
    let mut documents = documents::all().expect("every block is marked");
    for (_, blocks) in &mut documents {
        blocks.retain(|block| block.is_for == Use::Run && block.language == language);
    }
    documents.retain(|(_, blocks)| !blocks.is_empty());
    documents
}

async fn paste(document: &str, blocks: &[Block], folder: &Path) {
    let text: String = blocks.iter().map(|block| block.text.as_str()).collect();
    let child = Command::new("bash")
        .args(["-c", &format!("{BEFORE}{text}")])
        .current_dir(folder)
        .env("IMD_BIN", imd_binary().unwrap())
        .env("ADDRESS", own_address().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await;
    let output = output
        .unwrap_or_else(|_| panic!("{document}: not done after {LIMIT:?}"))
        .unwrap();
    assert!(
        output.status.success(),
        "{document}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Each document's commands, pasted at once into one shell in an empty folder, all succeed.
#[tokio::test]
async fn commands_of_the_documents_can_be_pasted() {
    let documents = run_blocks("sh");
    assert!(
        documents
            .iter()
            .any(|(document, _)| document == "README.md")
    );
    for (document, blocks) in documents {
        let folder = tempfile::tempdir().unwrap();
        paste(&document, &blocks, folder.path()).await;
    }
}

/// `make demo` shows what README says: a picture, a group made over HTTP, a file for somebody who is away, and
/// nothing lost over a kill. It fails when bytes have changed or something does not come.
#[tokio::test]
async fn the_demo_shows_what_it_promises() {
    let shown = tokio::time::timeout(LIMIT, Box::pin(im_e2e::demo::run()));
    shown.await.expect("it ends in time").unwrap();
}

/// Each configuration file that a document shows is accepted as it stands.
#[test]
fn configuration_of_the_documents_is_accepted() {
    let documents = run_blocks("toml");
    assert!(
        documents
            .iter()
            .any(|(document, _)| document == "README.md")
    );
    for (document, blocks) in documents {
        for block in blocks {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("imd.toml"), &block.text).unwrap();
            run_imd(folder.path(), &["config", "check", "--config", "imd.toml"])
                .unwrap_or_else(|error| panic!("{document}:{}: {error:#}", block.line));
        }
    }
}
