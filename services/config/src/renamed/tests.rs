use std::collections::BTreeSet;

use toml::Table;

use super::*;
use crate::{Bound, Check as _, ImdConfig, LoadError, Loaded, Sources, table};

/// The four ways in which a key can be written.
#[derive(Clone, Copy, Debug)]
enum Way {
    Preset,
    File,
    Environment,
    Flag,
}

const WAYS: [Way; 4] = [Way::Preset, Way::File, Way::Environment, Way::Flag];

/// A configuration of these keys and values, which are TOML.
fn load(way: Way, keys: &[(&str, &str)]) -> Result<Loaded, LoadError> {
    let mut sources = Sources::default();
    for (key, value) in keys {
        let plain = value.trim_matches('"');
        match way {
            Way::Preset => sources.presets.push(((*key).to_owned(), plain.to_owned())),
            Way::File => {
                let (_, text) = sources
                    .file
                    .get_or_insert_with(|| ("imd.toml".into(), String::new()));
                *text += &format!("{key} = {value}\n");
            }
            Way::Environment => {
                let name = format!("IMD_{}", key.replace('.', "__").to_uppercase());
                sources.env.push((name, plain.to_owned()));
            }
            Way::Flag => sources.sets.push(format!("{key}={plain}")),
        }
    }
    sources.load()
}

fn error(loaded: Result<Loaded, LoadError>) -> String {
    let error = loaded.unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    format!("{error}: {}", cause.unwrap_or_default())
}

fn defaults() -> Table {
    Table::try_from(ImdConfig::default()).unwrap()
}

/// The value of a dotted key.
fn value(all: &Table, key: &str) -> Value {
    let mut parts = key.split('.');
    let first = all[parts.next().unwrap()].clone();
    parts.fold(first, |inner, part| inner[part].clone())
}

/// A number for the old key, and the value of the new one that is the same: not the default.
fn example(renamed: &Renamed) -> (u64, String) {
    let default = value(&defaults(), &renamed.new);
    let count = u64::try_from(renamed.before(&default).unwrap()).unwrap();
    let near = [count + 1, count.saturating_sub(1)].map(|count| {
        let amount = renamed.counted.amount(count).unwrap();
        (count, amount.to_string())
    });
    let mut good = near.into_iter().filter(|(_, text)| {
        let mut all = defaults();
        table::merge(&mut all, table::nest(&renamed.new, text.clone().into()));
        let config: ImdConfig = all.try_into().unwrap();
        config.validate().is_ok()
    });
    good.next().unwrap()
}

#[test]
fn the_table_names_keys_of_today_and_none_of_them_twice() {
    let now: BTreeSet<String> = table::leaves(&defaults()).into_iter().collect();
    let all: Vec<Renamed> = all().collect();
    for renamed in &all {
        assert!(now.contains(&renamed.new), "{}", renamed.new);
        assert!(!now.contains(&renamed.old), "{}", renamed.old);
    }
    for name in [|r: &Renamed| r.old.clone(), |r: &Renamed| r.new.clone()] {
        let names: BTreeSet<String> = all.iter().map(name).collect();
        assert_eq!(names.len(), all.len());
    }
}

#[test]
fn each_old_key_says_the_same_as_the_new_one_with_one_warning() {
    for renamed in all() {
        let Renamed { old, new, .. } = &renamed;
        let (count, text) = example(&renamed);
        for way in WAYS {
            let now = load(way, &[(new, &format!("{text:?}"))]).unwrap();
            let before = load(way, &[(old, &count.to_string())]).unwrap();
            assert_eq!(before.config, now.config, "{old} {way:?}");
            assert_ne!(before.config, ImdConfig::default(), "{old} {way:?}");
            assert!(now.warnings.is_empty(), "{:?}", now.warnings);
            let [warning] = before.warnings.try_into().unwrap();
            let rest = format!(
                "{old} is the old name of {new}, which the next version reads no more: write {new} = {text:?}"
            );
            assert!(warning.ends_with(&rest), "{way:?}: {warning}");
            let origin = match way {
                Way::Preset => format!("preset {old}: "),
                Way::File => "configuration file imd.toml: ".to_owned(),
                Way::Environment => "environment variable IMD_".to_owned(),
                Way::Flag => format!("flag --set {old}={count}: "),
            };
            assert!(warning.starts_with(&origin), "{warning}");
        }
    }
}

#[test]
fn a_key_under_both_names_is_an_error_that_names_both() {
    for renamed in all() {
        let Renamed { old, new, .. } = &renamed;
        let (count, text) = example(&renamed);
        let both = [
            (old.as_str(), count.to_string()),
            (new.as_str(), format!("{text:?}")),
        ];
        let both = both.each_ref().map(|(key, value)| (*key, value.as_str()));
        for way in WAYS {
            let error = error(load(way, &both));
            let said = format!("{old} is the old name of {new}, and both are set: leave {old} out");
            assert!(error.contains(&said), "{way:?}: {error}");
        }
    }
}

#[test]
fn a_value_out_of_bounds_is_refused_in_the_words_of_the_old_key() {
    let declared = ImdConfig::declared();
    for renamed in all() {
        let old = &renamed.old;
        let mut bounds = declared.iter().filter(|found| found.key == renamed.new);
        let (least, most) = bounds
            .find_map(|found| match found.bound {
                Bound::Range { least, most } => Some((least, most)),
                _ => None,
            })
            .unwrap();
        let [least, most] = [least, most].map(|amount| renamed.counted.count(&amount).unwrap());
        let beyond = most + 1;
        for way in WAYS {
            let error = error(load(way, &[(old, &beyond.to_string())]));
            let said = format!("{old}: must be {least} to {most}, is {beyond}");
            assert!(error.contains(&said), "{way:?}: {error}");
        }
    }
}

#[test]
fn an_old_key_without_a_number_is_refused_with_what_it_counted() {
    for value in ["\"long\"", "1.5", "-1", "true"] {
        for way in WAYS {
            let error = error(load(way, &[("msg.idle_pc_ms", value)]));
            let said = "msg.idle_pc_ms must be a whole number of milliseconds, is ";
            assert!(error.contains(said), "{way:?} {value}: {error}");
            assert!(error.contains("msg.idle_pc takes a unit"), "{error}");
        }
    }
}

#[test]
fn old_and_new_names_keep_the_precedence_of_their_sources() {
    let load = |file: &str, flag: &str| {
        let sources = Sources {
            file: Some(("imd.toml".into(), file.to_owned())),
            sets: vec![flag.to_owned()],
            ..Sources::default()
        };
        sources.load().map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            cause.unwrap_or_default()
        })
    };
    let newer = load("msg.idle_pc_ms = 60000", "msg.idle_pc=90s").unwrap();
    assert_eq!(newer.config.msg.idle_pc, Span::seconds(90));
    assert_eq!(newer.warnings.len(), 1);
    let older = load("msg.idle_pc = \"90s\"", "msg.idle_pc_ms=60000").unwrap();
    assert_eq!(older.config.msg.idle_pc, Span::seconds(60));
    assert_eq!(older.warnings.len(), 1);
    // An error is told in the words of whoever had the last one.
    let error = load("msg.idle_pc_ms = 60000", "msg.idle_pc=1ms").unwrap_err();
    assert_eq!(error, "msg.idle_pc: must be 10ms to 1d, is 1ms");
    let error = load("msg.idle_pc = \"90s\"", "msg.idle_pc_ms=1").unwrap_err();
    assert_eq!(error, "msg.idle_pc_ms: must be 10 to 86400000, is 1");
}

#[test]
fn errors_beside_old_keys_show_their_own_lines() {
    let file = "# é\n[msg]\n\"idle_pc_ms\" = 60_000 # old\nsweep_ms=7\n\n[sqlite]\nreader = 1\n";
    let sources = Sources {
        file: Some(("imd.toml".into(), file.to_owned())),
        ..Sources::default()
    };
    let error = error(sources.load());
    assert!(
        error.contains("line 7") && error.contains("unknown field `reader`"),
        "{error}"
    );
    let sources = Sources {
        file: Some(("imd.toml".into(), file.replace("reader", "readers"))),
        ..Sources::default()
    };
    let loaded = sources.load().unwrap();
    assert_eq!(loaded.config.msg.idle_pc, Span::seconds(60));
    assert_eq!(loaded.config.msg.sweep_interval, Span::millis(7));
    assert_eq!(loaded.warnings.len(), 2);
}

#[test]
fn an_inline_table_may_hold_old_keys_too() {
    let loaded = load(
        Way::Flag,
        &[("msg.link", "{keepalive_ms = 70, max_batch = \"32MiB\"}")],
    );
    let loaded = loaded.unwrap();
    assert_eq!(loaded.config.msg.link.keepalive, Span::millis(70));
    assert_eq!(loaded.config.msg.link.max_batch, ByteSize::mib(32));
    assert_eq!(loaded.warnings.len(), 1);
}

#[test]
fn the_version_before_is_told_the_same_in_its_own_keys() {
    let mut told = defaults();
    as_before(&mut told).unwrap();
    for renamed in all() {
        assert!(value(&told, &renamed.old).is_integer(), "{}", renamed.old);
    }
    let found = renew(&mut told).unwrap();
    assert_eq!(found.len(), all().count());
    assert_eq!(told, defaults());
}

#[test]
fn what_the_version_before_cannot_count_is_named() {
    let mut told = toml::from_str("[msg]\ndrain_time = \"1500ms\"\nidle_pc = \"1500ms\"").unwrap();
    let errors = as_before(&mut told).unwrap_err();
    let [error] = errors.try_into().unwrap();
    assert_eq!(error.key(), "msg.drain_time");
    assert_eq!(
        error.to_string(),
        "must be a whole number of seconds for a version that knows it as msg.drain_seconds, is 1500ms"
    );
}
