//! The sound of audio messages, from a copy of the folder of the original msfs.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use crate::MigrateError;
use crate::oddities::OddityKind;

/// Where a URL such as `http://host:8700/g0/000/001/NAME` leads in that folder. The original takes what is behind the first
/// part of its path.
fn place(url: &str) -> Option<PathBuf> {
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => url.trim_start_matches('/'),
    };
    let (_, file) = path.split_once('/')?;
    let place = PathBuf::from(file);
    let is_inside = place
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    (is_inside && !file.is_empty()).then_some(place)
}

/// The sound behind a URL, of at most so many bytes; else why there is none.
///
/// # Errors
/// A file that is there cannot be read.
pub(crate) async fn read(
    folder: Option<&Path>,
    url: &str,
    most: usize,
) -> Result<Result<Bytes, OddityKind>, MigrateError> {
    let Some(folder) = folder else {
        return Ok(Err(OddityKind::NoAudioFolder));
    };
    let Some(place) = place(url) else {
        return Ok(Err(OddityKind::NoAudioFile));
    };
    let file = folder.join(place);
    let read = async {
        let length = tokio::fs::metadata(&file).await?.len();
        if usize::try_from(length).is_ok_and(|length| length <= most) {
            tokio::fs::read(&file).await.map(Some)
        } else {
            Ok(None)
        }
    };
    match read.await {
        Ok(Some(sound)) => Ok(Ok(Bytes::from(sound))),
        Ok(None) => Ok(Err(OddityKind::LongAudio)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Err(OddityKind::NoAudioFile))
        }
        Err(source) => Err(MigrateError::File { file, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_into_the_folder_and_nowhere_else() {
        for (url, file) in [
            (
                "http://10.0.0.1:8700/g0/000/001/a.amr",
                Some("000/001/a.amr"),
            ),
            ("g0/000/001/a", Some("000/001/a")),
            ("/g0/a", Some("a")),
            ("http://host/g0/../../etc/passwd", None),
            ("http://host/g0//etc/passwd", None),
            ("http://host/g0/", None),
            ("http://host", None),
            ("", None),
        ] {
            assert_eq!(place(url), file.map(PathBuf::from), "{url}");
        }
    }
}
