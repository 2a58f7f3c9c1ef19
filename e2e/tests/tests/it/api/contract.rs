//! The API held against its own document by schemathesis, which `SCHEMATHESIS` names: it makes requests
//! from the document, right and wrong ones, and judges every answer by it. `make test` installs it and
//! runs this.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use super::calls::{get, post};
use super::whole;

/// What the requests of `make test` are made from: the same number makes the same ones.
const SEED: u32 = 1;
/// Requests for each operation and phase of the run, which take about a minute.
const EXAMPLES: u32 = 40;
/// The longest that they may take, seconds.
const SECONDS: u64 = 190;
/// Runs of `make torture`: what they are made from, and for how many seconds they go on.
const LONG: [(u32, u64); 3] = [(2, 250), (3, 250), (4, 250)];
/// What a run may take besides: to read the document, and to say what it found.
const BESIDES: Duration = Duration::from_secs(30);

/// Every answer is one that the document names, of its form; what the document forbids is refused, and what
/// it allows is not; nothing is a server's fault. All checks of schemathesis but those named here.
#[tokio::test]
#[ignore = "needs schemathesis: make test"]
async fn every_answer_is_one_that_the_document_names() {
    let rates = [
        "http_api.token_rate={burst=10000, per_minute=60000}",
        "http_api.address_rate={burst=10000, per_minute=60000}",
        "http_api.read_messages=true",
    ];
    let (_platform, api, token) = whole(3, &rates).await;
    let group = json!({"name": "The team", "owner": "u1", "members": ["u2"]});
    post("/api/v1/groups", &group)
        .token(&token)
        .expect(api, 201)
        .await;
    let text = json!({"from": "u1", "to": "u2", "text": "hello"});
    post("/api/v1/messages", &text)
        .token(&token)
        .expect(api, 201)
        .await;

    let schemathesis = std::env::var_os("SCHEMATHESIS").expect("SCHEMATHESIS names the program");
    let document = format!("http://{api}/api/v1/openapi.json");
    let header = format!("Authorization: Bearer {token}");
    let run = async |seed: u32, bound: [&str; 2], limit: u64| {
        let mut run = Command::new(&schemathesis);
        run.env_clear();
        run.env("SCHEMATHESIS_HOOKS", CHECKS);
        run.args(["--no-color", "--config-file", CONFIG, "run", &document]);
        run.args(["--header", &header, "--seed", &seed.to_string()]);
        run.args(bound).args(ALWAYS);
        judged(run, Duration::from_secs(limit) + BESIDES).await;
    };
    if std::env::var_os("IM_TORTURE").is_some() {
        for (seed, seconds) in LONG {
            run(seed, ["--max-time", &seconds.to_string()], seconds).await;
        }
    } else {
        run(SEED, ["--max-examples", &EXAMPLES.to_string()], SECONDS).await;
    }
    get("/api/v1/version").expect(api, 200).await;
}

/// What is expected beyond what schemathesis does by itself, and why.
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contract/schemathesis.toml");

/// Checks of our own.
const CHECKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contract/checks.py");

const ALWAYS: [&str; 7] = [
    "--checks=all",
    // Why somebody could not log in, and what locks a name, is kept by name, also for names that nobody has:
    // both are there after their person is gone. The second one stands in `CHECKS` in another form.
    "--exclude-checks=use_after_free,ensure_resource_availability",
    "--generation-database=none",
    "--continue-on-failure",
    // The run would revoke its own token, and be refused everything from then on.
    "--exclude-operation-id=revokeToken",
    // Its answer goes on until somebody ends it: `servers` reads it.
    "--exclude-operation-id=followEvents",
    "--request-timeout=10",
];

/// Runs it in a folder of its own, and shows what it printed unless it was content.
async fn judged(mut run: Command, limit: Duration) {
    let folder = tempfile::tempdir().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    run.env("PATH", path).env("HOME", folder.path());
    run.current_dir(folder.path()).kill_on_drop(true);
    run.stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let end = timeout(limit, run.output()).await;
    let end = end.expect("it did not end in time").unwrap();
    let said = String::from_utf8_lossy(&end.stdout);
    let errors = String::from_utf8_lossy(&end.stderr);
    assert!(end.status.success(), "{}\n{said}\n{errors}", end.status);
    assert!(said.contains("passed"), "{said}");
}
