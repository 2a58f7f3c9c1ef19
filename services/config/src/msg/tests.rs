use super::*;
use crate::Check as _;

#[test]
fn the_defaults_are_within_their_bounds() {
    MsgConfig::default().validate().unwrap();
}

#[test]
fn the_timeouts_are_those_of_the_original() {
    let config = MsgConfig::default();
    assert_eq!(config.login_timeout, Span::seconds(15));
    assert_eq!(config.idle_pc, Span::seconds(120));
    assert_eq!(config.idle_mobile, Span::seconds(300));
    assert_eq!(config.sweep_interval, Span::seconds(1));
    // "Closed within two seconds": the grace and the tick that notices its end.
    assert!(config.kick_grace.max(config.close_grace) <= Span::seconds(1));
}

#[test]
fn the_limits_are_the_stated_ones() {
    let config = MsgConfig::default();
    assert_eq!((config.rate_limit, config.rate_burst), (60, 64));
    assert_eq!(
        (config.pending_messages, config.pending_size),
        (64, ByteSize::kib(256))
    );
    assert_eq!((config.send_batch, config.send_batches_in_flight), (256, 2));
    assert_eq!(config.max_frame, ByteSize::mib(1));
    assert_eq!(config.push_budget, ByteSize::mib(1));
    assert_eq!(config.pull_interval, Span::millis(200));
    assert_eq!(
        (config.drain_time, config.drain_notice),
        (Span::seconds(20), Span::seconds(2))
    );
    assert_eq!(config.presence.notify, PresenceNotify::All);
    assert_eq!(config.listen, "0.0.0.0:8000");
    assert!(config.report_delay <= Span::millis(50) && config.report_interval <= Span::seconds(1));
}

#[test]
fn a_stop_with_the_defaults_ends_before_the_process_is_cut() {
    let longest = MsgConfig::default().longest_stop();
    let limit = crate::ProcessConfig::default().stop_timeout.duration();
    assert!(longest < limit && limit < Duration::from_secs(30));
}

#[test]
fn a_key_out_of_bounds_is_named() {
    let config = MsgConfig {
        pending_queries: 0,
        ..MsgConfig::default()
    };
    let error = config.validate().unwrap_err().to_string();
    assert_eq!(error, "pending_queries: must be 1 to 65535, is 0");
}

#[test]
fn presence_notices_are_set_by_one_word() {
    let config: MsgConfig = toml::from_str("[presence]\nnotify = \"related\"").unwrap();
    assert_eq!(config.presence.notify, PresenceNotify::Related);
    assert!(toml::from_str::<MsgConfig>("[presence]\nnotify = \"some\"").is_err());
    assert!(toml::from_str::<MsgConfig>("rate_limits = 3").is_err());
}

#[test]
fn public_addresses_are_those_of_one_machine_or_names() {
    let judge = |ip: &str| {
        let config = MsgConfig {
            public_ip1: ip.to_owned(),
            ..MsgConfig::default()
        };
        config.validate().map_err(|error| error.to_string())
    };
    for good in [
        "",
        "192.0.2.7",
        "2001:db8::7",
        "chat.example.com",
        "msg-0",
        "chat.example.com.",
    ] {
        assert_eq!(judge(good), Ok(()), "{good}");
    }
    for bad in [
        "10.0.0.300",
        "http://x",
        "chat.example:9000",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "a b",
        "a..b",
        "[::1]",
        "10.0.0",
    ] {
        let error = judge(bad).unwrap_err();
        assert!(
            error.starts_with("public_ip1: must be an IP address or the name of a host")
                && error.ends_with(&format!("is {bad:?}")),
            "{bad}: {error}"
        );
    }
}
