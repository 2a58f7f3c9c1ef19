//! Follows the file that says where pictures are.
//!
//! In a cluster the server of pictures comes and goes without a restart of the login servers.

use std::path::{Path, PathBuf};

use im_config::LoginConfig;
use im_runtime::follow;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::answer::Answers;

/// Longest file, bytes: the URL and blanks around it.
const MAX_BYTES: u64 = 1_024;

/// Follows the file until `stop` fires. What is no base URL changes nothing; a file that is empty or not there
/// leaves the word to the configuration.
pub(crate) async fn follow(file: PathBuf, answers: Answers, stop: CancellationToken) {
    follow::text(&file, MAX_BYTES, &stop, |text| take(&file, text, &answers)).await;
}

fn take(file: &Path, text: &str, answers: &Answers) {
    let file = file.display();
    let good = text.len() <= LoginConfig::MAX_URL && text.ends_with('/');
    if good || text.is_empty() {
        info!(%file, url = text, "clients are told where pictures are");
        answers.set_msfs(text);
    } else {
        warn!(%file, text, "read the base URL of pictures failed: it must end with a slash");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::tests::told_msfs;

    #[test]
    fn a_base_url_in_the_file_wins_as_long_as_it_is_there() {
        let answers = Answers::new("http://configured/", "", 1);
        let others = answers.clone();
        assert_eq!(told_msfs(&others), "http://configured/");
        let longest = format!("http://{}/", "x".repeat(LoginConfig::MAX_URL - 8));
        let too_long = format!("http://{}/", "x".repeat(LoginConfig::MAX_URL - 7));
        for (text, expected) in [
            ("http://followed/", "http://followed/"),
            ("http://no-slash", "http://followed/"),
            (longest.as_str(), longest.as_str()),
            (too_long.as_str(), longest.as_str()),
            ("", "http://configured/"),
        ] {
            take(Path::new("f"), text, &answers);
            assert_eq!(told_msfs(&others), expected, "{text:?}");
        }
    }
}
