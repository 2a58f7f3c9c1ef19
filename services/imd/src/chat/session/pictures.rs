//! Pictures: stored at the platform's picture server, shown by their URLs, and fetched from there and from
//! nowhere else, whatever URL somebody writes.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use im_client::pictures::{self, Piece};
use im_client::{Server, dispatch};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Session;
use super::files::{MAX_MOVING, begin, kept};
use crate::chat::show;

/// Largest picture, bytes: what a picture server takes unless it is configured otherwise.
const MAX_PICTURE: usize = 10 << 20;
/// Time to store or fetch one.
const WAIT: Duration = Duration::from_secs(60);
/// Time to ask where pictures are.
const DISPATCH: Duration = Duration::from_secs(3);

impl<W: Write> Session<W> {
    /// Sends a picture: a text in this conversation that shows it.
    pub(super) async fn send_picture(&mut self, path: &str) -> anyhow::Result<()> {
        self.conversation()?;
        let picture = read(Path::new(path)).await?;
        let base = self.base().await.context(
            "the picture server is not known: it is told by the login server, so --server must be its URL",
        )?;
        let stored = pictures::store(&base, path, picture.into(), WAIT).await;
        let url = stored.with_context(|| format!("store {path}"))?;
        self.say(&pictures::mark(&url)).await
    }

    /// Where the platform's pictures are.
    async fn base(&mut self) -> Option<String> {
        if self.pictures.is_none() {
            let Server::Dispatcher(url) = &self.client.config().server else {
                return None;
            };
            let told = dispatch::lookup(url, None, DISPATCH).await.ok()?;
            // Another host may begin with the same letters.
            let base = told.files?;
            let slash = if base.ends_with('/') { "" } else { "/" };
            self.pictures = Some(base + slash);
        }
        self.pictures.clone()
    }

    /// Fetches the pictures that a text shows, as long as they are the platform's.
    pub(super) async fn fetch_pictures(&mut self, text: &str, from: &str) -> anyhow::Result<()> {
        let most = usize::try_from(self.receiving.max_file).unwrap_or(usize::MAX);
        let most = most.min(MAX_PICTURE);
        let mut is_said = false;
        for piece in pictures::pieces(text) {
            let Piece::Picture(url) = piece else { continue };
            let base = self.base().await;
            if !base.is_some_and(|base| url.starts_with(&base)) {
                // Once, whatever somebody has put into one text.
                if !std::mem::replace(&mut is_said, true) {
                    writeln!(self.out, "-- that picture is elsewhere and was not fetched")?;
                }
                continue;
            }
            if most == 0 || self.moving.len() >= MAX_MOVING || self.tasks.contains(url) {
                continue;
            }
            let (url, from) = (url.to_owned(), from.to_owned());
            let folder = self.receiving.folder.clone();
            self.carry(url.clone(), None, true, async move {
                let picture = pictures::fetch(&url, most, WAIT)
                    .await
                    .with_context(|| format!("fetch {}", show::printable(&url)))?;
                let draft = begin(folder, url).await?;
                let mut writer = draft.writer()?;
                writer.write_all(&picture).await.context("write")?;
                let path = kept(draft, writer).await?;
                anyhow::Ok(format!("{} is a picture from {from}", path.display()))
            });
        }
        Ok(())
    }
}

/// Reads a picture that can be sent.
async fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let file = tokio::fs::File::open(path).await;
    let file = file.with_context(|| format!("read {shown}"))?;
    let mut picture = Vec::new();
    let most = u64::try_from(MAX_PICTURE)?;
    let read = file.take(most + 1).read_to_end(&mut picture).await;
    read.with_context(|| format!("read {shown}"))?;
    ensure!(!picture.is_empty(), "{shown} is empty");
    ensure!(
        picture.len() <= MAX_PICTURE,
        "{shown} has more than {MAX_PICTURE} bytes, which is the most that a picture takes"
    );
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_picture_is_read_up_to_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        for (length, good) in [
            (0, false),
            (1, true),
            (MAX_PICTURE, true),
            (MAX_PICTURE + 1, false),
        ] {
            std::fs::write(&path, vec![7; length]).unwrap();
            let read = read(&path).await;
            assert_eq!(read.is_ok(), good, "{length}");
        }
        assert!(read(&dir.path().join("missing")).await.is_err());
    }

    #[test]
    fn the_bound_is_the_servers_default() {
        let server = im_config::MsfsConfig::default().max_upload;
        assert_eq!(server.as_usize(), MAX_PICTURE);
    }
}
