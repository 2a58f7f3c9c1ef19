use super::*;
use crate::LogFormat;
use crate::units::Span;

fn sources(file: &str, env: &[(&str, &str)], sets: &[&str]) -> Sources {
    Sources {
        presets: vec![],
        file: (!file.is_empty()).then(|| ("imd.toml".into(), file.to_owned())),
        env: env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        sets: sets.iter().map(|set| (*set).to_owned()).collect(),
    }
}

fn load(file: &str, env: &[(&str, &str)], sets: &[&str]) -> ImdConfig {
    sources(file, env, sets).load().unwrap().config
}

fn error(file: &str, env: &[(&str, &str)], sets: &[&str]) -> String {
    let error = sources(file, env, sets).load().unwrap_err();
    let cause = std::error::Error::source(&error)
        .map(ToString::to_string)
        .unwrap_or_default();
    format!("{error}\n{cause}")
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_presets_over_defaults() {
    let file = "[msg]\nrate_limit = 1\nrate_burst = 1\npending_messages = 1";
    let env = [("IMD_MSG__RATE_LIMIT", "2"), ("IMD_MSG__RATE_BURST", "2")];
    let mut sources = sources(file, &env, &["msg.rate_limit=3"]);
    sources.presets = vec![
        ("msg.pending_messages".to_owned(), "9".to_owned()),
        ("msg.sweep_interval".to_owned(), "\"9ms\"".to_owned()),
    ];
    let msg = sources.load().unwrap().config.msg;
    assert_eq!(
        (
            msg.rate_limit,
            msg.rate_burst,
            msg.pending_messages,
            msg.sweep_interval
        ),
        (3, 2, 1, Span::millis(9))
    );
    assert_eq!(msg.pull_page, ImdConfig::default().msg.pull_page);
}

#[test]
fn values_of_every_type_are_read_from_text() {
    let env = [
        ("IMD_LOG", "info,im_msg=debug"),
        ("IMD_LOG__FORMAT", "json"),
        ("IMD_TRACE__RATIO", "0.5"),
        ("IMD_SECRET_FILE", "/run/secret"),
        ("IMD_PEERS__ROUTE", "r1=a:1, b:2"),
        ("IMD_PEERS__DB_PROXY", r#"["db:10600"]"#),
        ("IMD_MSG__NAME", "17"),
        ("IMD_MSG__PRESENCE__NOTIFY", "related"),
        ("PATH", "/bin"),
        ("IMD_CONFIG", "somewhere"),
    ];
    let config = load("", &env, &["login.http_listen=127.0.0.1:0"]);
    assert_eq!(config.log.filter, "info,im_msg=debug");
    assert_eq!(config.log.format, LogFormat::Json);
    assert!((config.trace.ratio - 0.5).abs() < f64::EPSILON);
    assert_eq!(config.secret_file, Some("/run/secret".into()));
    assert_eq!(config.peers.route, ["r1=a:1", "b:2"]);
    assert_eq!(config.peers.db_proxy, ["db:10600"]);
    assert_eq!(config.msg.name, "17");
    assert_eq!(config.login.http_listen, "127.0.0.1:0");
}

#[test]
fn an_unknown_key_is_named_wherever_it_stands() {
    let in_file = error("[msg]\nrate_limt = 1", &[], &[]);
    assert!(
        in_file.contains("imd.toml") && in_file.contains("rate_limt"),
        "{in_file}"
    );
    assert!(in_file.contains("line 2"), "{in_file}");
    let in_env = error("", &[("IMD_MSG__RATE_LIMT", "1")], &[]);
    assert!(
        in_env.contains("IMD_MSG__RATE_LIMT") && in_env.contains("msg.rate_limt"),
        "{in_env}"
    );
    assert!(in_env.contains("unknown field"), "{in_env}");
    let in_flag = error("", &[], &["mgs.rate_limit=1"]);
    assert!(in_flag.contains("--set mgs.rate_limit=1"), "{in_flag}");
}

#[test]
fn a_value_of_a_wrong_type_is_named() {
    let text = error("", &[("IMD_MSG__RATE_LIMIT", "many")], &[]);
    assert!(
        text.contains("IMD_MSG__RATE_LIMIT") && text.contains("invalid type"),
        "{text}"
    );
    let text = error("", &[], &["msg.rate_limit"]);
    assert!(
        text.contains("msg.rate_limit") && text.contains("KEY=VALUE"),
        "{text}"
    );
}

#[test]
fn values_out_of_bounds_are_all_named_with_their_bounds() {
    let file = "[trace]\nratio = 2.0\n[peers]\nroute = [\"nowhere\"]";
    let text = error(file, &[], &["admin.heartbeat=1ms"]);
    assert!(text.contains("trace.ratio: must be 0 to 1, is 2"), "{text}");
    assert!(text.contains("peers.route: must hold host:port"), "{text}");
    assert!(
        text.contains("admin.heartbeat: must be 100ms to 10m, is 1ms"),
        "{text}"
    );
}

#[test]
fn a_value_cannot_smuggle_in_another_key() {
    let config = load("", &[("IMD_MSG__NAME", "\"a\"\nb = 1")], &[]);
    assert_eq!(config.msg.name, "\"a\"\nb = 1");
}
