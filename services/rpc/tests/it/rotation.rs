//! A secret is replaced while links stand.

use std::path::{Path, PathBuf};
use std::time::Duration;

use im_rpc::{DbProxyAttach, Dial, DialError, Secret};
use tokio_util::sync::CancellationToken;

use crate::serve::{Server, dialer, server};
use crate::world::{Far, Near, calls, config, results, soon};

const OLD: &str = "the secret of last year";
const NEW: &str = "the secret of this year";

/// A process with the secret in a file of its own.
struct Process {
    file: PathBuf,
    secret: Secret,
}

impl Process {
    fn new(dir: &Path, name: &str) -> Self {
        let file = dir.join(name);
        std::fs::write(&file, OLD).unwrap();
        let secret = Secret::load(&file).unwrap();
        Self { file, secret }
    }

    /// Replaces the file and takes it over.
    fn set(&self, lines: &[&str]) {
        let beside = self.file.with_extension("new");
        std::fs::write(&beside, lines.join("\n")).unwrap();
        std::fs::rename(&beside, &self.file).unwrap();
        assert!(self.secret.reload(&self.file).unwrap());
        assert_eq!(
            (self.secret.expose().as_str(), self.secret.values()),
            (lines[0], lines.len())
        );
    }
}

async fn works(near: &mut Near, far: &mut Far, tag: u64) {
    near.tx.send(calls(tag)).await.unwrap();
    assert_eq!(soon(far.rx.recv()).await, Some(calls(tag)));
    far.tx.send(results(tag)).await.unwrap();
    assert_eq!(soon(near.rx.recv()).await, Some(results(tag)));
}

/// The documented order: accept both everywhere, present the new one everywhere, drop the old one. At no
/// step is a dial refused or a link lost, whichever process comes first.
#[tokio::test]
async fn a_secret_is_rotated_without_a_refused_dial_or_a_lost_link() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (
        Process::new(dir.path(), "client"),
        Process::new(dir.path(), "server"),
    );
    let Server {
        address,
        metrics,
        mut accepted,
        bound,
    } = server(&theirs.secret, &config()).await;
    tokio::spawn(bound.run(CancellationToken::new(), Duration::ZERO));
    let dialer = dialer::<DbProxyAttach>(&address, &ours.secret);
    let mut near = soon(dialer.dial()).await.unwrap();
    let mut far = soon(accepted.recv()).await.unwrap();

    let steps: [&[&str]; 3] = [&[OLD, NEW], &[NEW, OLD], &[NEW]];
    for (round, lines) in (1..).zip(steps) {
        let order = if round % 2 == 0 {
            [&ours, &theirs]
        } else {
            [&theirs, &ours]
        };
        for process in order {
            process.set(lines);
            drop(soon(dialer.dial()).await.expect("nobody is refused"));
            soon(accepted.recv()).await.unwrap();
            works(&mut near, &mut far, round).await;
        }
    }
    assert_eq!(metrics.refused_secrets().get(), 0);
    let former = crate::serve::dialer::<DbProxyAttach>(&address, &Secret::new(OLD).unwrap());
    let refused = soon(former.dial()).await;
    assert!(matches!(refused, Err(DialError::Refused { .. })));
    works(&mut near, &mut far, 9).await;
}
