//! Where a store is: chosen by URL, and what can be done with one that is not open.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use crate::sqlite::SqlitePlace;
use crate::{
    BackupCopy, BackupError, DataDirError, OpenStore, SchemaState, SchemaStep, SqliteOptions,
    StoreError,
};

/// Why a store on a server is not open.
type Refused = Box<dyn std::error::Error + Send + Sync>;

/// A place for a store: there is one, or will be. Its calls belong to the task that starts or ends a
/// process; they cannot be sent to another.
#[async_trait(?Send)]
pub trait StorePlace: fmt::Debug + Send + Sync + 'static {
    /// Opens the store, makes it when missing, and brings it up to date.
    ///
    /// # Errors
    /// Somebody else holds it, a later version wrote it, or it cannot be reached.
    async fn open(&self) -> Result<Arc<dyn OpenStore>, OpenError>;

    /// Reads where its schema is; nothing is changed, and a server may be using it.
    ///
    /// # Errors
    /// It cannot be reached, or is something else.
    async fn schema(&self) -> Result<SchemaState, OpenError>;

    /// Brings the schema up to date, as [`Self::open`] does; `tell` hears of each step when it is done.
    ///
    /// # Errors
    /// A server uses the store ([`OpenError::Busy`], [`DataDirError::Held`]), a later version wrote it, or a step fails: the next
    /// call goes on there.
    async fn upgrade(&self, tell: &mut dyn FnMut(SchemaStep)) -> Result<(), OpenError>;

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
    /// A server uses it.
    #[error("have the store alone: {0} uses it, end its imd first")]
    Busy(String),
    /// A later version was here.
    #[error(
        "understand the schema: it is at step {found}, and this program knows {known}: use the version that wrote it, or a later one"
    )]
    TooNew {
        /// The store's newest step.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The server that keeps it is not reached, or not one that can.
    #[error("open the store on its server")]
    Server(#[source] Refused),
}

/// Why a URL names no store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreUrlError {
    /// It does not begin with a kind of store.
    #[error("begin the store's URL with its kind, one of: {known}")]
    NoScheme {
        /// The kinds that there are.
        known: String,
    },
    /// There is no such kind of store.
    #[error("take a kind of store that there is instead of {found:?}, one of: {known}")]
    Unknown {
        /// What the URL begins with.
        found: String,
        /// The kinds that there are.
        known: String,
    },
    /// What follows the kind does not fit it.
    #[error("write the store's URL as {wanted}: {why}")]
    BadPlace {
        /// How that kind is written.
        wanted: &'static str,
        /// What is wrong; never what may be a password.
        why: String,
    },
}

/// Makes a place of what follows the scheme and its colon, or says what is wrong with it.
type Make = Box<dyn Fn(&str) -> Result<Box<dyn StorePlace>, String>>;

/// A kind of store: how its URLs begin, and what they lead to.
pub struct StoreKind {
    scheme: &'static str,
    form: &'static str,
    make: Make,
}

impl StoreKind {
    /// A kind whose URLs begin with `scheme:` and are written as `form`. `make` takes what follows the colon; what it says
    /// of a wrong one is shown to people, so it must not hold a password.
    pub fn new(
        scheme: &'static str,
        form: &'static str,
        make: impl Fn(&str) -> Result<Box<dyn StorePlace>, String> + 'static,
    ) -> Self {
        Self {
            scheme,
            form,
            make: Box::new(make),
        }
    }

    /// The embedded store, in a directory.
    pub fn sqlite(options: SqliteOptions) -> Self {
        Self::new("sqlite", "sqlite:///DIRECTORY", move |rest| {
            let dir = directory(rest).ok_or_else(|| format!("{rest:?} is no directory"))?;
            Ok(store_in(&dir, &options))
        })
    }
}

impl fmt::Debug for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.form)
    }
}

fn known(kinds: &[StoreKind]) -> String {
    let forms: Vec<&str> = kinds.iter().map(|kind| kind.form).collect();
    forms.join(", ")
}

/// The place that a URL such as `sqlite:///var/lib/im` names, among these kinds. Nothing is opened.
///
/// # Errors
/// It names no kind of store that there is, or no place for one.
pub fn store_at(url: &str, kinds: &[StoreKind]) -> Result<Box<dyn StorePlace>, StoreUrlError> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(StoreUrlError::NoScheme {
            known: known(kinds),
        });
    };
    let Some(kind) = kinds.iter().find(|kind| kind.scheme == scheme) else {
        return Err(StoreUrlError::Unknown {
            found: scheme.to_owned(),
            known: known(kinds),
        });
    };
    (kind.make)(rest).map_err(|why| StoreUrlError::BadPlace {
        wanted: kind.form,
        why,
    })
}

/// The embedded store of a data directory.
pub fn store_in(data_dir: &Path, options: &SqliteOptions) -> Box<dyn StorePlace> {
    Box::new(SqlitePlace::new(data_dir.to_owned(), options.clone()))
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

    fn at(url: &str) -> Result<Box<dyn StorePlace>, String> {
        let kinds = [StoreKind::sqlite(SqliteOptions::default())];
        store_at(url, &kinds).map_err(|error| error.to_string())
    }

    fn refused(url: &str) -> String {
        at(url).unwrap_err()
    }

    #[test]
    fn a_url_names_a_directory() {
        for (url, path) in [
            ("sqlite:///var/lib/im", "/var/lib/im"),
            ("sqlite:/var/lib/im", "/var/lib/im"),
            ("sqlite:data", "data"),
            ("sqlite:///with%20sign and space", "/with%20sign and space"),
        ] {
            let place = at(url).unwrap();
            let expected = store_in(Path::new(path), &SqliteOptions::default());
            assert_eq!(format!("{place:?}"), format!("{expected:?}"), "{url}");
        }
    }

    #[test]
    fn a_kind_that_there_is_not_is_refused_with_those_that_there_are() {
        assert_eq!(
            refused("postgres://im:password@db/im"),
            "take a kind of store that there is instead of \"postgres\", one of: sqlite:///DIRECTORY"
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
            "write the store's URL as sqlite:///DIRECTORY: \"//host/im\" is no directory"
        );
        for url in ["sqlite:", "sqlite://"] {
            assert!(
                refused(url).starts_with("write the store's URL as"),
                "{url}"
            );
        }
    }
}
