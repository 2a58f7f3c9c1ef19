//! Follows a small text file.

use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

/// The file is read this often. Its directory is not watched: a mounted volume changes by links, and a file
/// this small costs less to read than to watch.
pub const PERIOD: Duration = Duration::from_secs(1);

/// Reads a file once a second until `stop`, and tells each text that is not that of the last look, without
/// blanks around it. It is empty where there is no file, and where one cannot be read to its end or has
/// more than `max_bytes`.
pub async fn text(
    path: &Path,
    max_bytes: u64,
    stop: &CancellationToken,
    mut tell: impl FnMut(&str),
) {
    let mut known: Option<String> = None;
    loop {
        let text = read(path, max_bytes).await.unwrap_or_default();
        if known.as_ref() != Some(&text) {
            tell(&text);
            known = Some(text);
        }
        let pause = tokio::time::sleep(PERIOD);
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

async fn read(path: &Path, max_bytes: u64) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    let mut file = file.take(max_bytes.saturating_add(1));
    file.read_to_end(&mut bytes).await?;
    if file.limit() == 0 {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_text_is_told_once_and_what_cannot_be_read_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let (told, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
        let following = tokio::spawn({
            let (file, told, stop) = (file.clone(), Arc::clone(&told), stop.clone());
            async move {
                let tell = |text: &str| told.lock().unwrap().push(text.to_owned());
                self::text(&file, 6, &stop, tell).await;
            }
        });
        let seen = async |texts: &[&str]| {
            let seen = async {
                while *told.lock().unwrap() != texts {
                    tokio::time::sleep(PERIOD).await;
                }
            };
            let seen = tokio::time::timeout(100 * PERIOD, seen).await;
            assert!(seen.is_ok(), "{:?}", told.lock().unwrap());
        };
        seen(&[""]).await;
        std::fs::write(&file, " one \n").unwrap();
        seen(&["", "one"]).await;
        std::fs::write(&file, "seventeen").unwrap();
        seen(&["", "one", ""]).await;
        std::fs::write(&file, "four").unwrap();
        seen(&["", "one", "", "four"]).await;
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        seen(&["", "one", "", "four", ""]).await;
        stop.cancel();
        following.await.unwrap();
    }
}
