//! Every kind of store that there is, as it is configured.

use im_config::{ImdConfig, MysqlConfig, MysqlTls, SqliteConfig};
use im_store::{SqliteOptions, StoreKind};
use im_store_mysql::{MysqlOptions, TlsMode};

/// The kinds, for [`im_store::store_at`].
pub(crate) fn kinds(config: &ImdConfig) -> [StoreKind; 2] {
    [
        StoreKind::sqlite(sqlite(&config.sqlite)),
        im_store_mysql::kind(mysql(&config.mysql)),
    ]
}

/// Options of the embedded store.
pub(crate) fn sqlite(config: &SqliteConfig) -> SqliteOptions {
    SqliteOptions {
        readers: config.readers,
        busy_timeout: config.busy_timeout.duration(),
        acquire_timeout: config.acquire_timeout.duration(),
        gathered_changes: config.gathered_changes,
        writer_cache_kib: config.writer_cache.as_kib(),
        reader_cache_kib: config.reader_cache.as_kib(),
        checkpoint_bytes: config.checkpoint_at.as_u64(),
        restart_bytes: config.restart_at.as_u64(),
        wal_limit_bytes: config.wal_limit.as_u64(),
        maintenance_interval: config.maintenance_interval.duration(),
        ..SqliteOptions::default()
    }
}

fn mysql(config: &MysqlConfig) -> MysqlOptions {
    let certificate = config.certificate_file.clone();
    MysqlOptions {
        password_file: config.password_file.clone(),
        tls: match config.tls {
            MysqlTls::Disabled => TlsMode::Disabled,
            MysqlTls::Preferred => TlsMode::Preferred,
            MysqlTls::Required => TlsMode::Required,
            MysqlTls::VerifyCa => TlsMode::VerifyCa,
            MysqlTls::VerifyIdentity => TlsMode::VerifyIdentity,
        },
        ca_file: config.ca_file.clone(),
        certificate: certificate.zip(config.key_file.clone()),
        start_wait: config.start_wait.duration(),
        readers: config.readers,
        changers: config.changers,
        acquire_timeout: config.acquire_timeout.duration(),
        read_timeout: config.read_timeout.duration(),
        commit_timeout: config.commit_timeout.duration(),
        change_timeout: config.change_timeout.duration(),
        doubt_timeout: config.doubt_timeout.duration(),
        lock_timeout: config.lock_timeout.duration(),
        receipts_kept: config.receipts_kept.duration(),
        maintenance_interval: config.maintenance_interval.duration(),
        text_bytes: config.statement_size.as_usize(),
        known_conversations: config.known_conversations,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_a_store_are_those_of_its_options() {
        let config = ImdConfig::default();
        let same = |one: &dyn std::fmt::Debug, other: &dyn std::fmt::Debug| {
            assert_eq!(format!("{one:?}"), format!("{other:?}"));
        };
        same(&mysql(&config.mysql), &MysqlOptions::default());
        same(&sqlite(&config.sqlite), &SqliteOptions::default());
    }
}
