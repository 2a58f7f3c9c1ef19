//! Where a store is: chosen by URL, and what can be done with one that is not open.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use crate::sqlite::SqlitePlace;
use crate::{BackupCopy, BackupError, DataDirError, OpenStore, SqliteOptions, StoreError};

/// A place for a store: there is one, or will be. Its calls belong to the task that starts or ends a
/// process; they cannot be sent to another.
#[async_trait(?Send)]
pub trait StorePlace: fmt::Debug + Send + Sync + 'static {
    /// Opens the store, makes it when missing, and brings it up to date.
    ///
    /// # Errors
    /// Somebody else holds it, a later version wrote it, or it cannot be reached.
    async fn open(&self) -> Result<Arc<dyn OpenStore>, OpenError>;

    /// Copies the store into a new file; a server may be using it.
    ///
    /// # Errors
    /// There is no store, the file exists, or one of them cannot be used. Nothing is left under the file's
    /// name.
    async fn back_up(&self, to: &Path) -> Result<(), BackupError>;

    /// Copies the store to a place beside it, which goes away with the value; a server may be using the
    /// store. At least `keep_free` bytes stay free.
    ///
    /// # Errors
    /// There is no store, no room, or another copy is being made.
    async fn spool(&self, keep_free: u64) -> Result<BackupCopy, BackupError>;

    /// Puts a backup here, where there must be no store yet. Every conversation goes on `skip_ids` above its
    /// newest id.
    ///
    /// # Errors
    /// There is a store, or the backup cannot be used.
    async fn restore(&self, from: &Path, skip_ids: u32) -> Result<(), BackupError>;

    /// The same from a stream; `name` is what errors call it.
    ///
    /// # Errors
    /// There is a store, or the backup cannot be used.
    async fn restore_stream(
        &self,
        from: File,
        name: &Path,
        skip_ids: u32,
    ) -> Result<(), BackupError>;
}

/// Why a store is not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Its directory.
    #[error(transparent)]
    Dir(#[from] DataDirError),
    /// The store itself.
    #[error("open the store")]
    Store(#[from] StoreError),
}

/// Options of all kinds of stores.
#[derive(Clone, Debug, Default)]
pub struct StoreOptions {
    /// Of the embedded store.
    pub sqlite: SqliteOptions,
}

/// Why a URL names no store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreUrlError {
    /// It does not begin with a kind of store.
    #[error("begin the store's URL with its kind, one of: {}", known())]
    NoScheme,
    /// There is no such kind of store.
    #[error(
        "take a kind of store that there is instead of {found:?}, one of: {}",
        known()
    )]
    Unknown {
        /// What the URL begins with.
        found: String,
    },
    /// What follows the kind does not fit it.
    #[error("write the store's URL as {wanted}, {found:?} is none")]
    BadPlace {
        /// What follows the kind.
        found: String,
        /// How that kind is written.
        wanted: &'static str,
    },
}

/// Makes a place of what follows the scheme.
type Make = fn(&str, &StoreOptions) -> Option<Box<dyn StorePlace>>;

/// A kind of store.
struct Kind {
    scheme: &'static str,
    /// How it is written.
    form: &'static str,
    make: Make,
}

/// Every kind of store that there is.
const KINDS: &[Kind] = &[Kind {
    scheme: "sqlite",
    form: "sqlite:///DIRECTORY",
    make: |rest, options| {
        let dir = directory(rest)?;
        Some(Box::new(SqlitePlace::new(dir, options.sqlite.clone())))
    },
}];

fn known() -> String {
    let forms: Vec<&str> = KINDS.iter().map(|kind| kind.form).collect();
    forms.join(", ")
}

/// The place that a URL such as `sqlite:///var/lib/im` names. Nothing is opened.
///
/// # Errors
/// It names no kind of store that there is, or no place for one. What follows the kind is told only of
/// kinds that there are, since a URL may hold a password.
pub fn store_at(url: &str, options: &StoreOptions) -> Result<Box<dyn StorePlace>, StoreUrlError> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(StoreUrlError::NoScheme);
    };
    let Some(kind) = KINDS.iter().find(|kind| kind.scheme == scheme) else {
        return Err(StoreUrlError::Unknown {
            found: scheme.to_owned(),
        });
    };
    (kind.make)(rest, options).ok_or_else(|| StoreUrlError::BadPlace {
        found: rest.to_owned(),
        wanted: kind.form,
    })
}

/// The embedded store of a data directory.
pub fn store_in(data_dir: &Path, options: &StoreOptions) -> Box<dyn StorePlace> {
    Box::new(SqlitePlace::new(
        data_dir.to_owned(),
        options.sqlite.clone(),
    ))
}

/// A path behind `scheme:` or `scheme://`, taken as it is. There is no host, so with `//` it is absolute.
fn directory(rest: &str) -> Option<PathBuf> {
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => return None,
        None => rest,
    };
    (!path.is_empty()).then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        let found = store_at(url, &StoreOptions::default());
        found.unwrap_err().to_string()
    }

    #[test]
    fn a_url_names_a_directory() {
        for (url, path) in [
            ("sqlite:///var/lib/im", "/var/lib/im"),
            ("sqlite:/var/lib/im", "/var/lib/im"),
            ("sqlite:data", "data"),
            ("sqlite:///with%20sign and space", "/with%20sign and space"),
        ] {
            let place = store_at(url, &StoreOptions::default()).unwrap();
            let expected = store_in(Path::new(path), &StoreOptions::default());
            assert_eq!(format!("{place:?}"), format!("{expected:?}"), "{url}");
        }
    }

    #[test]
    fn a_kind_that_there_is_not_is_refused_with_those_that_there_are() {
        assert_eq!(
            refused("mysql://im:password@db/im"),
            "take a kind of store that there is instead of \"mysql\", one of: sqlite:///DIRECTORY"
        );
        assert_eq!(
            refused("/var/lib/im"),
            "begin the store's URL with its kind, one of: sqlite:///DIRECTORY"
        );
        assert_eq!(refused(""), refused("/var/lib/im"));
    }

    #[test]
    fn a_place_that_a_kind_cannot_have_is_refused_with_its_form() {
        assert_eq!(
            refused("sqlite://host/im"),
            "write the store's URL as sqlite:///DIRECTORY, \"//host/im\" is none"
        );
        for url in ["sqlite:", "sqlite://"] {
            assert!(
                refused(url).starts_with("write the store's URL as"),
                "{url}"
            );
        }
    }
}
