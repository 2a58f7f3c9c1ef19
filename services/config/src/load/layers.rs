//! The sources of a configuration, one over the other.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Table;

use super::{LoadError, Loaded};
use crate::nearest::TomlError;
use crate::renamed::{self, Renamed, Renewed};
use crate::{Check as _, ImdConfig, Violations, table};

/// What one source says, as it is written there.
pub(super) struct Layer {
    name: String,
    table: Table,
    /// Where each key stands, if the source is no single text.
    origins: BTreeMap<String, String>,
}

impl Layer {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            table: Table::new(),
            origins: BTreeMap::new(),
        }
    }

    pub(super) fn of_file(path: &Path, text: &str) -> Result<Self, LoadError> {
        let failed = |error: toml::de::Error| LoadError::File {
            path: path.to_owned(),
            source: Box::new(TomlError::of(&error)),
        };
        let mut layer = Self::new(&format!("configuration file {}", path.display()));
        layer.table = toml::from_str(text).map_err(failed)?;
        let found = renamed::renew(&mut layer.table.clone()).map_err(|e| layer.refused(e))?;
        // Read as configuration: its errors show the line.
        let text = renamed::renew_text(text, &found);
        toml::from_str::<ImdConfig>(&text).map_err(failed)?;
        Ok(layer)
    }

    /// Puts one value in place, after reading it alone so that an error names its origin.
    pub(super) fn apply(&mut self, origin: &str, key: &str, text: &str) -> Result<(), LoadError> {
        let entry = table::entry(key, text).map_err(|reason| LoadError::Override {
            origin: origin.to_owned(),
            key: key.to_owned(),
            reason,
        })?;
        for leaf in table::leaves(&entry) {
            self.origins.insert(leaf, origin.to_owned());
        }
        table::merge(&mut self.table, entry);
        Ok(())
    }

    fn refused(&self, source: renamed::RenamedError) -> LoadError {
        let origin = self.name.clone();
        LoadError::Renamed { origin, source }
    }

    fn warning(&self, found: &Renewed) -> String {
        let origin = self.origins.get(&found.renamed.old).unwrap_or(&self.name);
        format!("{origin}: {found}")
    }
}

/// All sources so far.
#[derive(Default)]
pub(super) struct Layers {
    all: Table,
    /// By its new name, each key whose value comes from its old one.
    old: BTreeMap<String, Renamed>,
    warnings: Vec<String>,
}

impl Layers {
    /// Puts a source over those before it.
    pub(super) fn add(&mut self, layer: Layer) -> Result<(), LoadError> {
        let mut table = layer.table.clone();
        let found = renamed::renew(&mut table).map_err(|error| layer.refused(error))?;
        for key in table::leaves(&table) {
            self.old.remove(&key);
        }
        for key in found {
            self.warnings.push(layer.warning(&key));
            self.old.insert(key.renamed.new.clone(), key.renamed);
        }
        table::merge(&mut self.all, table);
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Loaded, LoadError> {
        let Self { all, old, warnings } = self;
        let config: ImdConfig = all.try_into().map_err(|error: toml::de::Error| {
            // Each part was read before, so only their combination can fail.
            let reason = error.to_string();
            LoadError::Override {
                origin: "all sources".to_owned(),
                key: String::new(),
                reason,
            }
        })?;
        config.validate().map_err(|Violations(all)| {
            let all = all.into_iter();
            Violations(all.map(|found| renamed::as_written(found, &old)).collect())
        })?;
        Ok(Loaded { config, warnings })
    }
}
