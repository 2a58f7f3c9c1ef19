//! `imd all-in-one -f`: what an ImCluster describes, in one process.
//!
//! A manifest becomes defaults of the configuration: file, environment and flags win over it. What
//! only a cluster can do is named, one line each. Every field that cannot be used is named too, not
//! only the first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use im_config::units::Span;
use im_config::{LoadError, Sources};
use im_operator_api::server_config::{STOP_SLACK, STOP_TIMEOUT, Setting, settings};
use im_operator_api::{ImClusterSpec, Section, SpecError, manifest};
use im_role::{Role, TABLE};
use serde_json::Value;

/// Largest manifest, bytes; the API server takes no larger object either.
const MAX_BYTES: u64 = 3 << 19;

/// How one process differs from the pods of a cluster in what a specification says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Differs {
    /// Nobody from outside, unless told otherwise: the same port, on the loopback address.
    Loopback,
    /// Roles of one process call each other directly, and there is one of each.
    LeftOut,
    /// One filter serves all roles.
    OneFilter,
    /// One process stops role after role, and has the time of all of them.
    OneAfterAnother,
}

/// Every key that differs beside the addresses of roles. All others are what
/// [`server_config`](im_operator_api::server_config()) says.
const DIFFERENT: [(&str, Differs); 3] = [
    ("admin.listen", Differs::Loopback),
    ("log.filter", Differs::OneFilter),
    (STOP_TIMEOUT, Differs::OneAfterAnother),
];

fn differs(key: &str) -> Option<Differs> {
    for role in TABLE.roles {
        let mut listeners = role.listeners.iter();
        if let Some(listener) = listeners.find(|listener| role.key(listener) == key) {
            return Some(if listener.in_all {
                Differs::Loopback
            } else {
                Differs::LeftOut
            });
        }
    }
    let found = DIFFERENT.iter().find(|(other, _)| *other == key);
    found.map(|(_, how)| *how)
}

/// Fields that one process acts on beside those that are settings. A name stands for everything below
/// it, `*` for any name.
const USED: [&str; 12] = [
    "apiVersion",
    "kind",
    "metadata.name",
    "spec.version",
    "spec.database.type",
    // Parts of the URL that the host stands in.
    "spec.database.mysql.port",
    "spec.database.mysql.database",
    "spec.database.mysql.user",
    "spec.cache.type",
    "spec.storage.blobs.type",
    // Part of the URL that the bucket stands in.
    "spec.storage.blobs.s3.prefix",
    "spec.roles.*.config",
];

/// What a manifest says for one process.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    /// Keys of the configuration and their values, later ones win.
    pub(crate) presets: Vec<(String, String)>,
    /// What has no effect here, in words.
    pub(crate) notes: Vec<String>,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadManifest {
    /// It cannot be read.
    #[error("read it")]
    Read(#[from] std::io::Error),
    /// It is no YAML.
    #[error("{}", .0.trim())]
    Yaml(String),
    /// Fields cannot be used.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Fields(Vec<SpecError>),
}

/// Reads a manifest from a file, or from standard input when its name is `-`.
pub(crate) fn read(path: &Path) -> Result<Manifest, BadManifest> {
    use std::io::Read as _;
    let mut text = String::new();
    if path == Path::new("-") {
        let input = std::io::stdin().lock();
        input.take(MAX_BYTES).read_to_string(&mut text)?;
    } else {
        let file = std::fs::File::open(path)?;
        file.take(MAX_BYTES).read_to_string(&mut text)?;
    }
    parse(&text)
}

fn parse(text: &str) -> Result<Manifest, BadManifest> {
    let value: Value =
        serde_saphyr::from_str(text).map_err(|error| BadManifest::Yaml(error.to_string()))?;
    let cluster = manifest::read(&value).map_err(BadManifest::Fields)?;
    let presets = presets(&cluster.spec);
    let bad = refused(&presets);
    if !bad.is_empty() {
        return Err(BadManifest::Fields(bad));
    }
    Ok(Manifest {
        notes: notes(&value, &cluster.spec),
        presets: presets
            .into_iter()
            .map(|preset| (preset.key, preset.value))
            .collect(),
    })
}

/// A key of the configuration and the field that says it.
struct Preset {
    field: String,
    key: String,
    value: String,
}

fn presets(spec: &ImClusterSpec) -> Vec<Preset> {
    let mut presets = Vec::new();
    for said in all_settings(spec) {
        presets.extend(preset(spec, said));
    }
    for role in TABLE.roles.iter().filter(|role| role.optional) {
        // A manifest that does not name it describes an installation without it.
        presets.push(Preset {
            field: format!("spec.roles.{}", role.field),
            key: format!("{}.enabled", role.section),
            value: spec.section(*role).is_some().to_string(),
        });
    }
    for (role, section) in sections(spec) {
        presets.extend(section.common.config.iter().map(|(key, value)| Preset {
            field: format!("spec.roles.{}.config.{key:?}", role.field),
            key: key.clone(),
            value: value.clone(),
        }));
    }
    presets
}

/// What one process makes of a setting.
fn preset(spec: &ImClusterSpec, said: Setting) -> Option<Preset> {
    let value = match (differs(&said.key), &said.value) {
        (None, value) => value.to_string(),
        (Some(Differs::LeftOut), _) => return None,
        (Some(Differs::OneFilter), _) => log_filter(spec),
        (Some(Differs::OneAfterAnother), _) => Value::from(stop_timeout(spec)).to_string(),
        (Some(Differs::Loopback), value) => {
            let port = value.as_str()?.rsplit_once(':')?.1;
            format!("127.0.0.1:{port}")
        }
    };
    Some(Preset {
        field: said.field,
        key: said.key,
        value,
    })
}

/// What the specification says of each role, in the order in which it is read; later ones win.
fn sections(spec: &ImClusterSpec) -> Vec<(Role, Section<'_>)> {
    let roles = TABLE.in_order_of_rollout().into_iter().rev();
    roles
        .filter_map(|role| Some((role, spec.section(role)?)))
        .collect()
}

fn all_settings(spec: &ImClusterSpec) -> Vec<Setting> {
    let sections = sections(spec).into_iter();
    sections
        .flat_map(|(role, section)| settings(spec, role, &section))
        .collect()
}

/// One level for the process, or the levels of the roles' parts of it.
fn log_filter(spec: &ImClusterSpec) -> String {
    let sections = sections(spec);
    let levels = sections.iter();
    let levels = levels.map(|(role, section)| (role.section, section.common.log_level.as_str()));
    let mut others = levels.clone().map(|(_, level)| level);
    if let Some(first) = others.next()
        && others.all(|level| level == first)
    {
        return first.to_owned();
    }
    // The library of a role is named as its section is.
    let parts = levels.map(|(section, level)| format!(",im_{section}={level}"));
    format!("info{}", parts.collect::<String>())
}

/// The longest stop of all roles, one after another.
fn stop_timeout(spec: &ImClusterSpec) -> String {
    let optional = sections(spec).into_iter();
    let optional =
        optional.filter_map(|(role, section)| Some(section.optional?.drain_seconds(role)));
    let drains = optional.chain([spec.roles.msg.drain.max_seconds]);
    let seconds = drains.fold(STOP_SLACK, i32::saturating_add);
    Span::seconds(u64::try_from(seconds).unwrap_or(0)).to_string()
}

/// What the configuration says to these keys.
fn refused(presets: &[Preset]) -> Vec<SpecError> {
    let load = |presets: &[Preset]| {
        let pairs = presets.iter();
        let sources = Sources {
            presets: pairs.map(|p| (p.key.clone(), p.value.clone())).collect(),
            ..Sources::default()
        };
        sources.load().err()
    };
    // Unknown keys and wrong types, each alone; then bounds, which may depend on other keys.
    let mut bad = Vec::new();
    for preset in presets {
        if let Some(LoadError::Override { reason, .. }) = load(std::slice::from_ref(preset)) {
            bad.push(SpecError::new(&preset.field, reason));
        }
    }
    if !bad.is_empty() {
        return bad;
    }
    let of_key = |key: &str, message: String| {
        let preset = presets.iter().rfind(|preset| preset.key == key);
        SpecError::new(preset.map_or(key, |preset| &preset.field), message)
    };
    match load(presets) {
        Some(LoadError::Bounds(violations)) => {
            let all = violations.0.into_iter();
            all.map(|found| of_key(&found.key, found.rule.to_string()))
                .collect()
        }
        Some(LoadError::Renamed { source, .. }) => vec![of_key(source.key(), source.to_string())],
        _ => bad,
    }
}

fn notes(value: &Value, spec: &ImClusterSpec) -> Vec<String> {
    let fields: Vec<String> = all_settings(spec)
        .into_iter()
        .filter_map(|said| Some(preset(spec, said)?.field))
        .collect();
    let used: Vec<&str> = fields.iter().map(String::as_str).chain(USED).collect();
    let is_used =
        |path: &[String]| names_a_role(path) || used.iter().any(|used| covers(used, path));
    let unused: BTreeSet<String> = manifest::leaves(value)
        .iter()
        .filter(|leaf| !is_used(&leaf.path))
        .map(manifest::Leaf::brief)
        .collect();
    let mut notes: Vec<String> = unused
        .into_iter()
        .map(|name| format!("{name} means nothing to a single process"))
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    if spec.version != version {
        notes.push(format!(
            "spec.version is {}, and this program is {version}",
            spec.version
        ));
    }
    let mut known: BTreeMap<&String, (Role, &String)> = BTreeMap::new();
    for (role, section) in sections(spec) {
        for (key, value) in &section.common.config {
            if let Some((other, former)) = known.insert(key, (role, value))
                && former != value
            {
                notes.push(format!(
                    "spec.roles.{}.config.{key:?} gives way to that of {}: one process has one value",
                    other.field,
                    role.field
                ));
            }
        }
    }
    notes
}

/// Whether a field does no more than to name a role that an installation can do without.
fn names_a_role(path: &[String]) -> bool {
    let is_optional = |field: &str| {
        let mut roles = TABLE.roles.iter();
        roles.any(|role| role.optional && role.field == field)
    };
    matches!(path, [spec, roles, field] if spec == "spec" && roles == "roles" && is_optional(field))
}

fn covers(used: &str, path: &[String]) -> bool {
    let mut path = path.iter();
    used.split('.')
        .all(|part| path.next().is_some_and(|name| part == "*" || part == name))
}

#[cfg(test)]
mod tests;
