//! Old keys in the text of a file: everything keeps its place, so that errors show the right lines.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Renamed, Renewed};

/// The text with the names and values of today for the keys that [`renew`](super::renew) has found in it.
pub(crate) fn renew_text(text: &str, found: &[Renewed]) -> String {
    let mut renewed = text.to_owned();
    let Ok(all) = DeTable::parse(text) else {
        return renewed;
    };
    let places = |key: &Renewed| find(&key.renamed, all.get_ref());
    let mut changes: Vec<(Range<usize>, String)> = found
        .iter()
        .filter_map(|key| Some((key, places(key)?)))
        .flat_map(|(key, (name, value))| {
            let (_, new) = key.renamed.names();
            [(name, new.to_owned()), (value, format!("{:?}", key.value))]
        })
        .collect();
    changes.sort_by_key(|(place, _)| place.start);
    for (place, new) in changes.into_iter().rev() {
        renewed.replace_range(place, &new);
    }
    renewed
}

/// Places of the key and of its value.
fn find(renamed: &Renamed, all: &DeTable<'_>) -> Option<(Range<usize>, Range<usize>)> {
    let (table, _) = renamed.old.rsplit_once('.')?;
    let table = table.split('.').try_fold(all, |table, name| {
        entry(table, name)?.1.get_ref().as_table()
    })?;
    let (key, value) = entry(table, renamed.names().0)?;
    Some((key.span(), value.span()))
}

type Entry<'a, 'i> = (&'a Spanned<Cow<'i, str>>, &'a Spanned<DeValue<'i>>);

fn entry<'a, 'i>(table: &'a DeTable<'i>, name: &str) -> Option<Entry<'a, 'i>> {
    table.iter().find(|(key, _)| key.get_ref() == name)
}
