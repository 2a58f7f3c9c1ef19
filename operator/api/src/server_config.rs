//! What a specification says to the servers, wherever they run: the one way from an ImCluster to keys of
//! their configuration. The operator adds what a cluster has (paths, peers); a single process replaces
//! what it has otherwise.

use im_config::renamed::{self, RenamedError};
use im_config::table;
use im_config::units::Span;
use im_role::Told;
use toml::{Table, Value};

use crate::{ImClusterSpec, MySql, OptionalRole, Push, Role, S3, Section};

/// Seconds between the end of a drain and the forced end of the process that drains.
///
/// With the bounds of `msg` at their defaults a stop lasts 6.4 s beyond its drain: notice, pending requests,
/// closing, last words to route servers. Where all roles share a process the others stop behind msg, within
/// the same limit: login and route take 2 s at most, db-proxy stores for 5 s what it has and its positions
/// for 5 s more, the store copies its log. One process so needs at least what a msg server needs that runs
/// alone; both have room to raise bounds of their own.
pub const STOP_SLACK: i32 = 50;

/// Key of the time after which the end of a process that stops is forced.
pub const STOP_TIMEOUT: &str = "process.stop_timeout";

/// The first version of the servers that knows the keys which this program writes. One that is older is
/// told their old names, and the numbers that belong to those.
const KEYS_SINCE: [u64; 3] = [0, 1, 0];

/// Which names of keys a version of the servers knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Those of this program.
    Now,
    /// Those of the version before.
    Before,
}

impl Keys {
    /// Those that servers of a version know; with a version that is none, those of this program.
    pub fn of(version: &str) -> Self {
        match release(version) {
            Some(release) if release < KEYS_SINCE => Self::Before,
            _ => Self::Now,
        }
    }

    /// Gives a configuration in the keys of this program the names and values that are known.
    ///
    /// # Errors
    /// Each key whose value the old name cannot say.
    pub fn write(self, config: &mut Table) -> Result<(), Vec<RenamedError>> {
        match self {
            Self::Now => Ok(()),
            Self::Before => renamed::as_before(config),
        }
    }
}

/// Where servers of a version listen that everybody may reach: an address that stands for all of them. Those
/// before this program's cannot start with the addresses of both families where there is no IPv6.
pub fn everywhere(version: &str) -> &'static str {
    match Keys::of(version) {
        Keys::Now => "[::]",
        Keys::Before => "0.0.0.0",
    }
}

/// The numbers of a version, `MAJOR.MINOR.PATCH`; what may follow a dash is left out.
pub fn release(version: &str) -> Option<[u64; 3]> {
    let (release, _) = version.split_once('-').unwrap_or((version, ""));
    let mut parts = release.split('.').map(|part| part.parse().ok());
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

/// A key of the servers' configuration, and the field that says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Path of the field, such as `spec.roles.msg.drain.maxSeconds`.
    pub field: String,
    /// Dotted key, such as `msg.drain_time`.
    pub key: String,
    /// What it says.
    pub value: Value,
}

/// The configuration of a role as far as the specification says it, but for `config`, in the keys of this
/// program; [`Keys`] has those of another version.
pub fn server_config(spec: &ImClusterSpec, role: Role, section: &Section<'_>) -> Table {
    let mut all = Table::new();
    for setting in settings(spec, role, section) {
        table::merge(&mut all, table::nest(&setting.key, setting.value));
    }
    all
}

/// The same, each key with the field that says it. Ports are those of all addresses.
pub fn settings(spec: &ImClusterSpec, role: Role, section: &Section<'_>) -> Vec<Setting> {
    let mut settings = Settings {
        all: Vec::new(),
        host: everywhere(&spec.version),
    };
    settings.port(
        "observability.metrics.port",
        "admin.listen",
        spec.observability.metrics.port,
    );
    let level = section.common.log_level.as_str();
    let field = format!("roles.{}.logLevel", role.field);
    settings.put(&field, "log.filter", level);
    for listener in role.ports() {
        let field = format!("roles.{}.ports.{}", role.field, listener.field);
        settings.port(&field, &role.key(listener), section.port(listener));
    }
    if role == Role::MSG {
        msg(spec, &mut settings);
    }
    if role == Role::LOGIN {
        login(spec, &mut settings);
    }
    if let Some(said) = section.optional {
        optional(role, said, &mut settings);
    }
    if role.kubernetes.blobs
        && let Some(bucket) = spec.storage.blobs.bucket()
    {
        blobs(bucket, &mut settings);
    }
    if role == Role::DB_PROXY
        && let Some(mysql) = spec.database.mysql()
    {
        database(mysql, &mut settings);
    }
    settings.all
}

/// The database on a server. Its password and certificates are in files, which only whoever runs the role can name.
fn database(mysql: &MySql, settings: &mut Settings) {
    settings.put("database.mysql.host", "store.url", mysql.url());
    let mode = mysql.tls.mode.as_config();
    settings.put("database.mysql.tls.mode", "mysql.tls", mode);
}

/// The bucket of what people send. Its key and certificates are in files, which only whoever runs the role
/// can name.
fn blobs(bucket: &S3, settings: &mut Settings) {
    let field = |name: &str| format!("storage.blobs.s3.{name}");
    let S3 { bucket: name, .. } = bucket;
    let url = match bucket.prefix.as_str() {
        "" => format!("s3://{name}"),
        prefix => format!("s3://{name}/{prefix}"),
    };
    settings.put(&field("bucket"), "blobs.url", url);
    let endpoint = bucket.endpoint.as_str();
    settings.put(&field("endpoint"), "blobs.endpoint", endpoint);
    let region = bucket.region.as_str();
    settings.put(&field("region"), "blobs.region", region);
    let is_in_host = !bucket.path_style;
    settings.put(&field("pathStyle"), "blobs.virtual_hosted", is_in_host);
}

/// What is said of a role that an installation can do without. What it leaves open of where the role is,
/// only whoever runs it knows.
fn optional(role: Role, said: &OptionalRole, settings: &mut Settings) {
    let field = |name: &str| format!("roles.{}.{name}", role.field);
    let key = |name: &str| format!("{}.{name}", role.section);
    if let Some(drain) = role.kubernetes.drain {
        let (field, longest) = (field("drain.maxSeconds"), said.drain_seconds(role));
        settings.put(&field, &key(drain.key), time(longest));
        let limit = time(longest.saturating_add(STOP_SLACK));
        settings.put(&field, STOP_TIMEOUT, limit);
    }
    if role == Role::PUSH {
        // Providers have credentials, whose files only whoever runs the role can name: so they come with those.
        let Push { when, preview, .. } = &said.push;
        settings.put(&field("when"), &key("when"), when.as_config());
        settings.put(&field("preview"), &key("preview"), preview.as_config());
    }
    let address = &said.external;
    match role.kubernetes.told {
        Told::Nothing => {}
        Told::Address => {
            if !address.host.is_empty() {
                let host = address.host.as_str();
                settings.put(&field("external.host"), &key("public_ip1"), host);
            }
            if address.advertised_port != 0 {
                let port = address.advertised_port;
                settings.put(&field("external.advertisedPort"), &key("public_port"), port);
            }
        }
        Told::Url => {
            if !said.public_url.is_empty() {
                let url = said.public_url.as_str();
                settings.put(&field("publicUrl"), &key("public_url"), url);
            }
        }
    }
}

fn msg(spec: &ImClusterSpec, settings: &mut Settings) {
    let msg = &spec.roles.msg;
    let most = i64::from(msg.capacity.max_connections);
    let soft = most * i64::from(msg.capacity.soft_limit_percent) / 100;
    let field = "roles.msg.capacity.maxConnections";
    settings.put(field, "msg.max_connections", most);
    settings.put(field, "msg.max_sessions", most);
    let field = "roles.msg.capacity.softLimitPercent";
    settings.put(field, "msg.soft_max_sessions", soft);
    let field = "roles.msg.capacity.acceptPerSecond";
    settings.put(field, "msg.accept_rate", msg.capacity.accept_per_second);
    let interval = time(spec.load.report_interval_seconds);
    settings.put(
        "load.reportIntervalSeconds",
        "msg.report_interval",
        interval,
    );
    let (field, longest) = ("roles.msg.drain.maxSeconds", msg.drain.max_seconds);
    settings.put(field, "msg.drain_time", time(longest));
    let limit = time(longest.saturating_add(STOP_SLACK));
    settings.put(field, STOP_TIMEOUT, limit);
}

fn login(spec: &ImClusterSpec, settings: &mut Settings) {
    let (login, load) = (&spec.roles.login, &spec.load);
    let reservation = time(login.assignment.reservation_seconds);
    let field = "roles.login.assignment.reservationSeconds";
    settings.put(field, "login.reservation", reservation);
    let stale = time(load.stale_after_seconds);
    settings.put("load.staleAfterSeconds", "login.stale_after", stale);
    // A stream that ends later after its last report was not closed by its msg server.
    let silence = time(load.report_interval_seconds.saturating_add(1));
    settings.put("load.reportIntervalSeconds", "login.silence", silence);
}

/// A time as the configuration writes it. The schema allows no negative one.
fn time(seconds: i32) -> String {
    Span::seconds(u64::try_from(seconds).unwrap_or(0)).to_string()
}

struct Settings {
    all: Vec<Setting>,
    /// Where ports are open.
    host: &'static str,
}

impl Settings {
    fn put(&mut self, field: &str, key: &str, value: impl Into<Value>) {
        self.all.push(Setting {
            field: format!("spec.{field}"),
            key: key.to_owned(),
            value: value.into(),
        });
    }

    fn port(&mut self, field: &str, key: &str, port: i32) {
        self.put(field, key, format!("{}:{port}", self.host));
    }
}

#[cfg(test)]
mod tests {
    use im_config::{Check, ImdConfig, MysqlTls};

    use super::*;

    /// The bounds that the schema gives a number of seconds or connections.
    fn spec(fields: &str) -> ImClusterSpec {
        serde_json::from_str(fields).unwrap()
    }

    /// The roles that the smallest specification has.
    fn roles() -> impl Iterator<Item = Role> {
        let roles = im_role::TABLE.roles.iter().copied();
        roles.filter(|role| !role.optional)
    }

    fn table(spec: &ImClusterSpec, role: Role) -> Table {
        server_config(spec, role, &spec.section(role).unwrap())
    }

    fn config(spec: &ImClusterSpec, role: Role) -> ImdConfig {
        table(spec, role).try_into().unwrap()
    }

    #[test]
    fn every_role_starts_with_what_the_smallest_and_the_largest_specification_say() {
        let smallest = r#"{"version": "1.0.0"}"#;
        let largest = r#"{"version": "1.0.0",
            "load": {"reportIntervalSeconds": 30, "staleAfterSeconds": 300},
            "roles": {
                "login": {"replicas": 100, "assignment": {"reservationSeconds": 300}},
                "msg": {
                    "capacity": {"maxConnections": 2000000, "softLimitPercent": 100, "acceptPerSecond": 100000},
                    "drain": {"maxSeconds": 3540}
                }
            }}"#;
        for text in [smallest, largest] {
            for role in roles() {
                let config = config(&spec(text), role);
                config
                    .validate()
                    .unwrap_or_else(|error| panic!("{role}: {error}"));
            }
        }
    }

    #[test]
    fn an_optional_role_is_told_what_the_specification_says_of_it() {
        let spec = spec(
            r#"{"version": "1.0.0", "roles": {
                "file": {"drain": {"maxSeconds": 7}, "external": {"host": "f.example.com", "advertisedPort": 600}},
                "msfs": {"publicUrl": "https://pictures.example.com/p/", "ports": {"http": 8701}}}}"#,
        );
        let file = config(&spec, Role::FILE);
        assert_eq!(file.file.drain_time, Span::seconds(7));
        assert_eq!(file.process.stop_timeout, Span::seconds(57));
        assert_eq!(file.file.public_ip1, "f.example.com");
        assert_eq!(file.file.public_port, 600);
        assert_eq!(file.file.client_listen, "[::]:8600");
        let msfs = config(&spec, Role::MSFS);
        assert_eq!(msfs.msfs.public_url, "https://pictures.example.com/p/");
        assert_eq!(msfs.msfs.listen, "[::]:8701");
        assert_eq!(msfs.msfs.stop_grace, Span::seconds(20));
        assert_eq!(msfs.process.stop_timeout, Span::seconds(70));
    }

    #[test]
    fn words_of_push_are_those_of_its_configuration() {
        let push = |said: &str| {
            let text = format!(r#"{{"version": "1.0.0", "roles": {{"push": {said}}}}}"#);
            config(&spec(&text), Role::PUSH).push
        };
        let usual = push("{}");
        assert_eq!(usual, im_config::PushConfig::default());
        let other = push(r#"{"when": "Original", "preview": "Text"}"#);
        assert_eq!(other.when, im_config::When::Original);
        assert_eq!(other.preview, im_config::PreviewKind::Text);
    }

    #[test]
    fn those_who_keep_blobs_are_told_of_the_bucket_and_nobody_else() {
        let text = r#"{"version": "1.0.0", "roles": {"file": {}, "msfs": {}},
            "storage": {"blobs": {"type": "S3", "s3": {
                "bucket": "chat", "prefix": "a/b", "endpoint": "http://s3:9000", "pathStyle": false}}}}"#;
        let bucket = spec(text);
        for role in [Role::FILE, Role::MSFS] {
            let blobs = config(&bucket, role).blobs;
            assert_eq!(blobs.bucket(), Some(("chat", "a/b")), "{role}");
            assert_eq!(blobs.endpoint, "http://s3:9000");
            assert!(blobs.virtual_hosted);
            let volume = spec(&text.replace(r#""type": "S3", "#, ""));
            assert_eq!(config(&volume, role).blobs.bucket(), None, "{role}");
        }
        assert_eq!(config(&bucket, Role::MSG).blobs, ImdConfig::default().blobs);
    }

    #[test]
    fn db_proxy_is_told_of_the_database_on_a_server_in_the_words_of_its_configuration() {
        let of = |said: &str| {
            let text = r#"{"version": "1.0.0", "database": {"type": "MySQL", "mysql": SAID}}"#;
            spec(&text.replace("SAID", said))
        };
        let plain = of(r#"{"host": "db.example.com"}"#);
        let told = config(&plain, Role::DB_PROXY);
        let url = told.store.url.as_deref();
        assert_eq!(url, Some("mysql://im@db.example.com:3306/im"));
        assert_eq!(told.mysql, ImdConfig::default().mysql);
        assert_eq!(config(&plain, Role::MSG).store, ImdConfig::default().store);
        let text = r#"{"host": "2001:db8::1", "port": 3307, "database": "chat", "user": "a@b", "tls": MODE}"#;
        for (mode, expected) in [
            ("Disabled", MysqlTls::Disabled),
            ("Preferred", MysqlTls::Preferred),
            ("Required", MysqlTls::Required),
            ("VerifyCA", MysqlTls::VerifyCa),
            ("VerifyIdentity", MysqlTls::VerifyIdentity),
        ] {
            let said = of(&text.replace("MODE", &format!(r#"{{"mode": "{mode}"}}"#)));
            let told = config(&said, Role::DB_PROXY);
            assert_eq!(told.mysql.tls, expected);
            let url = told.store.url.as_deref();
            assert_eq!(url, Some("mysql://a@b@[2001:db8::1]:3307/chat"));
        }
        let other = plain.database;
        let embedded = crate::Database {
            kind: crate::DatabaseType::Embedded,
            ..other
        };
        assert_eq!(embedded.mysql(), None, "the type counts");
    }

    #[test]
    fn servers_are_told_the_keys_that_their_version_knows() {
        for (version, keys) in [
            ("0.0.1", Keys::Before),
            ("0.0.99", Keys::Before),
            ("0.0.99-rc.1", Keys::Before),
            ("0.1.0", Keys::Now),
            ("0.1.0-rc.1", Keys::Now),
            ("0.10.0", Keys::Now),
            ("1.0.0", Keys::Now),
            ("latest", Keys::Now),
        ] {
            assert_eq!(Keys::of(version), keys, "{version}");
        }
        let program = env!("CARGO_PKG_VERSION");
        assert_eq!(Keys::of(program), Keys::Now, "those of this program");
    }

    #[test]
    fn what_every_specification_says_has_a_number_in_the_old_keys() {
        let spec = spec(r#"{"version": "0.0.9"}"#);
        for role in roles() {
            let now = table(&spec, role);
            let mut told = now.clone();
            Keys::of(&spec.version).write(&mut told).unwrap();
            let has_times = [Role::MSG, Role::LOGIN].contains(&role);
            assert_eq!(told != now, has_times, "{role}");
            renamed::renew(&mut told).unwrap();
            assert_eq!(told, now, "{role}");
        }
        let mut msg = table(&spec, Role::MSG);
        Keys::Before.write(&mut msg).unwrap();
        assert_eq!(msg["msg"]["listen"].as_str(), Some("0.0.0.0:8000"));
        assert_eq!(msg["msg"]["drain_seconds"].as_integer(), Some(540));
        assert_eq!(msg["msg"]["report_interval_ms"].as_integer(), Some(2_000));
        assert_eq!(
            msg["process"]["stop_timeout_ms"].as_integer(),
            Some(590_000)
        );
    }

    #[test]
    fn a_stop_lasts_no_longer_than_the_process_may_live() {
        for seconds in [10, 540, 3_540] {
            let text = r#"{"version": "1.0.0", "roles": {"msg": {"drain": {"maxSeconds": N}}}}"#;
            let config = config(&spec(&text.replace('N', &seconds.to_string())), Role::MSG);
            let longest = config.msg.longest_stop();
            // What stops behind msg where all roles share a process.
            let others = std::time::Duration::from_secs(2 + 5 + 5 + 2);
            let limit = config.process.stop_timeout.duration();
            assert!(longest + others < limit, "{longest:?} {limit:?}");
        }
    }

    #[test]
    fn no_key_is_said_twice_and_each_field_is_one_of_the_specification() {
        let spec = spec(r#"{"version": "1.0.0"}"#);
        let fields = serde_json::json!({"spec": spec});
        for role in roles() {
            let settings = settings(&spec, role, &spec.section(role).unwrap());
            for (place, setting) in settings.iter().enumerate() {
                let mut earlier = settings.iter().take(place);
                assert!(
                    earlier.all(|other| other.key != setting.key),
                    "{}",
                    setting.key
                );
                let pointer = format!("/{}", setting.field.replace('.', "/"));
                assert!(fields.pointer(&pointer).is_some(), "{}", setting.field);
            }
        }
    }
}
