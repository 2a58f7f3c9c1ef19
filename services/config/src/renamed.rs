//! Keys that got another name, and the numbers that became amounts with a unit.
//!
//! A version reads the keys of the version before it, each with a warning. This is the one table of
//! them; files, environment, flags and an ImCluster's `config` all go through it.

use std::collections::BTreeMap;
use std::fmt;

use toml::{Table, Value};

use crate::units::{ByteSize, Span};
use crate::{Amount, Rule, Violation};

mod keys;
mod text;

pub use keys::all;
pub(crate) use text::renew_text;

/// What an old key counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// KiB, 1,024 bytes.
    Kib,
}

impl Counted {
    const fn name(self) -> &'static str {
        match self {
            Self::Millis => "milliseconds",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Kib => "KiB",
        }
    }

    const fn size(self) -> u64 {
        match self {
            Self::Millis | Self::Bytes => 1,
            Self::Seconds => 1_000,
            Self::Kib => 1_024,
        }
    }

    /// So many of it, as the new key writes that. `None` is more than any amount can be.
    fn amount(self, count: u64) -> Option<Amount> {
        let count = count.checked_mul(self.size())?;
        Some(match self {
            Self::Millis | Self::Seconds => Amount::Span(Span::millis(count)),
            Self::Bytes | Self::Kib => Amount::Size(ByteSize::bytes(count)),
        })
    }

    /// How many of it an amount is, rounded down; `None` where it is something else.
    fn count(self, amount: &Amount) -> Option<u64> {
        match (self, amount) {
            (Self::Millis | Self::Seconds, Amount::Span(span)) => {
                Some(span.as_millis() / self.size())
            }
            (Self::Bytes | Self::Kib, Amount::Size(size)) => Some(size.as_u64() / self.size()),
            _ => None,
        }
    }

    /// An amount as the old key writes it.
    pub fn shown(self, amount: &Amount) -> String {
        let count = self.count(amount).map(|count| count.to_string());
        count.unwrap_or_else(|| amount.to_string())
    }
}

/// A key that got another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// Dotted path of the key that is read for one version more.
    pub old: String,
    /// Dotted path of the key now, in the same table.
    pub new: String,
    /// What numbers of the old key counted.
    pub counted: Counted,
}

/// An old key that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// The key.
    pub renamed: Renamed,
    /// What the new key says instead, such as `2m`.
    pub value: String,
}

impl fmt::Display for Renewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Renamed { old, new, .. } = &self.renamed;
        let value = &self.value;
        write!(
            f,
            "{old} is the old name of {new}, which the next version reads no more: write {new} = {value:?}"
        )
    }
}

/// An old key that cannot be read, or a key that no old name can say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenamedError {
    /// It is there under both names.
    #[error("{old} is the old name of {new}, and both are set: leave {old} out")]
    Both {
        /// Its old name.
        old: String,
        /// Its name now.
        new: String,
    },
    /// Its value is no number.
    #[error(
        "{old} must be a whole number of {counted}, is {found}; its new name {new} takes a unit"
    )]
    Value {
        /// Its old name.
        old: String,
        /// Its name now.
        new: String,
        /// What it counted.
        counted: &'static str,
        /// The value as written.
        found: String,
    },
    /// A version that counts in a larger unit cannot be told the value.
    #[error("must be a whole number of {counted} for a version that knows it as {old}, is {found}")]
    Inexact {
        /// Its old name.
        old: String,
        /// Its name now.
        new: String,
        /// What the old name counts.
        counted: &'static str,
        /// The value as written.
        found: String,
    },
}

impl RenamedError {
    /// The key as it was written.
    pub fn key(&self) -> &str {
        match self {
            Self::Both { old, .. } | Self::Value { old, .. } => old,
            Self::Inexact { new, .. } => new,
        }
    }
}

impl Renamed {
    /// The last part of the old name and of the new one.
    fn names(&self) -> (&str, &str) {
        (last(&self.old), last(&self.new))
    }

    /// The table in which the key stands.
    fn table<'a>(&self, all: &'a mut Table) -> Option<&'a mut Table> {
        let (path, _) = self.old.rsplit_once('.')?;
        path.split('.')
            .try_fold(all, |table, name| table.get_mut(name)?.as_table_mut())
    }

    /// What the new key says for a value of the old one.
    fn value(&self, found: &Value) -> Result<String, RenamedError> {
        let count = found.as_integer().and_then(|count| count.try_into().ok());
        let amount = count.and_then(|count| self.counted.amount(count));
        amount
            .map(|amount| amount.to_string())
            .ok_or_else(|| RenamedError::Value {
                old: self.old.clone(),
                new: self.new.clone(),
                counted: self.counted.name(),
                found: found.to_string(),
            })
    }

    fn both(&self) -> RenamedError {
        RenamedError::Both {
            old: self.old.clone(),
            new: self.new.clone(),
        }
    }
}

fn last(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, name)| name)
}

/// Gives every old key of a configuration its name and value of today, and says which there were.
///
/// # Errors
/// When a key is there under both names, or the value of an old one is no number.
pub fn renew(all: &mut Table) -> Result<Vec<Renewed>, RenamedError> {
    let mut found = Vec::new();
    for renamed in keys::all() {
        let (old, new) = renamed.names();
        let Some(table) = renamed.table(all) else {
            continue;
        };
        let Some(value) = table.get(old) else {
            continue;
        };
        if table.contains_key(new) {
            return Err(renamed.both());
        }
        let value = renamed.value(value)?;
        table.remove(old);
        table.insert(new.to_owned(), value.clone().into());
        found.push(Renewed { renamed, value });
    }
    Ok(found)
}

/// Gives every key that has an old name that name and its number, for a program of the version before.
///
/// # Errors
/// Each key whose value the old unit cannot say.
pub fn as_before(all: &mut Table) -> Result<(), Vec<RenamedError>> {
    let mut errors = Vec::new();
    for renamed in keys::all() {
        let (old, new) = renamed.names();
        let Some(table) = renamed.table(all) else {
            continue;
        };
        let Some(value) = table.remove(new) else {
            continue;
        };
        match renamed.before(&value) {
            Ok(count) => drop(table.insert(old.to_owned(), count.into())),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

impl Renamed {
    /// What the old key says for a value of the new one.
    fn before(&self, value: &Value) -> Result<i64, RenamedError> {
        let text = value.as_str().unwrap_or_default();
        let amount = match self.counted {
            Counted::Millis | Counted::Seconds => text.parse().map(Amount::Span).ok(),
            Counted::Bytes | Counted::Kib => text.parse().map(Amount::Size).ok(),
        };
        amount
            .and_then(|amount| {
                let count = self.counted.count(&amount)?;
                let is_exact = self.counted.amount(count) == Some(amount);
                is_exact.then(|| i64::try_from(count).ok())?
            })
            .ok_or_else(|| RenamedError::Inexact {
                old: self.old.clone(),
                new: self.new.clone(),
                counted: self.counted.name(),
                found: text.to_owned(),
            })
    }
}

/// A violation in terms of the key and the unit that were written: `old` has, by its new name, each key
/// whose value comes from its old one.
pub fn as_written(found: Violation, old: &BTreeMap<String, Renamed>) -> Violation {
    let Some(renamed) = old.get(&found.key) else {
        return found;
    };
    let rule = found
        .rule
        .with_amounts(|amount| renamed.counted.shown(amount));
    Violation {
        key: renamed.old.clone(),
        rule: Rule::Other(rule),
    }
}

#[cfg(test)]
mod tests;
