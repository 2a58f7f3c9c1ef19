//! From a file, the environment and flags to a checked configuration.
//!
//! Precedence: flag, environment, file, default. Every value can be set each way: `msg.rate_limit`
//! in the file, `IMD_MSG__RATE_LIMIT=0` in the environment, `--set msg.rate_limit=0` as a flag. The
//! text of the last two is read as a TOML value; what is none is a string, or a list of strings
//! separated by commas where a list belongs.
//!
//! This module reads nothing itself: the caller brings the texts.

use std::path::PathBuf;

use self::layers::{Layer, Layers};
use crate::nearest::TomlError;
use crate::renamed::RenamedError;
use crate::{ImdConfig, Violations};

/// Prefix of environment variables.
pub const ENV_PREFIX: &str = "IMD_";

/// Sets `log.filter`, a shorter name for it.
pub const ENV_LOG: &str = "IMD_LOG";

/// Variables with the prefix that are no keys: other flags take them.
const RESERVED: [&str; 6] = [
    "IMD_ADMIN_SERVER",
    "IMD_BIN",
    "IMD_CONFIG",
    "IMD_PASSWORD_FILE",
    "IMD_READY_FILE",
    "IMD_SERVER",
];

/// Where the values of a configuration come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Below everything else but the built-in defaults, as `key.path` and value.
    pub presets: Vec<(String, String)>,
    /// Path (for messages) and text of the file.
    pub file: Option<(PathBuf, String)>,
    /// The environment; only names with the prefix matter.
    pub env: Vec<(String, String)>,
    /// Flags `--set KEY=VALUE`, later ones win.
    pub sets: Vec<String>,
}

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: ImdConfig,
    /// Old keys that it was said with, each with its origin: one line for whoever started the program.
    pub warnings: Vec<String>,
}

/// Why a configuration cannot be used. The message names the key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file is no TOML, has an unknown key, or a value of a wrong type.
    #[error("read configuration file {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<TomlError>,
    },
    /// A variable names no key, or its value has a wrong type.
    #[error("use {origin} for key {key}: {}", reason.trim())]
    Override {
        /// The variable or flag.
        origin: String,
        /// The key it means.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// An old key cannot be read, or stands beside its new name.
    #[error("use {origin}")]
    Renamed {
        /// The file, the environment or the flags.
        origin: String,
        /// Which key and why.
        #[source]
        source: RenamedError,
    },
    /// A flag is not `KEY=VALUE`.
    #[error("read flag --set {0:?} as KEY=VALUE")]
    Flag(String),
    /// Values are out of bounds.
    #[error("invalid configuration")]
    Bounds(#[from] Violations),
}

impl Sources {
    /// Reads and judges the configuration.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(&self) -> Result<Loaded, LoadError> {
        let mut all = Layers::default();
        let mut presets = Layer::new("presets");
        for (key, value) in &self.presets {
            presets.apply(&format!("preset {key}"), key, value)?;
        }
        all.add(presets)?;
        if let Some((path, text)) = &self.file {
            all.add(Layer::of_file(path, text)?)?;
        }
        let mut environment = Layer::new("environment");
        for (name, value) in &self.env {
            if let Some(key) = key_of_variable(name) {
                environment.apply(&format!("environment variable {name}"), &key, value)?;
            }
        }
        all.add(environment)?;
        let mut flags = Layer::new("flags --set");
        for set in &self.sets {
            let (key, value) = set
                .split_once('=')
                .ok_or_else(|| LoadError::Flag(set.clone()))?;
            flags.apply(&format!("flag --set {set}"), key.trim(), value.trim())?;
        }
        all.add(flags)?;
        all.finish()
    }
}

/// `IMD_MSG__RATE_LIMIT` means `msg.rate_limit`.
fn key_of_variable(name: &str) -> Option<String> {
    if name == ENV_LOG {
        return Some("log.filter".to_owned());
    }
    if RESERVED.contains(&name) {
        return None;
    }
    let rest = name.strip_prefix(ENV_PREFIX)?;
    Some(
        rest.split("__")
            .collect::<Vec<_>>()
            .join(".")
            .to_lowercase(),
    )
}

mod layers;

#[cfg(test)]
mod tests;
