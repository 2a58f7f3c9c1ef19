//! The listeners of a process, which must be apart.

use im_config::{Checker, ImdConfig, LoadError};

use super::{Plan, Role};
use crate::config::BadConfig;

/// Names both keys of each pair that wants one port.
pub(super) fn check(plan: Plan, config: &ImdConfig) -> Result<(), BadConfig> {
    let mut checker = Checker::default();
    checker.apart(&of(plan, config));
    Ok(checker.finish().map_err(LoadError::from)?)
}

/// Every key that says where this process listens.
fn of(plan: Plan, config: &ImdConfig) -> Vec<(&'static str, &str)> {
    let ImdConfig {
        admin,
        login,
        msg,
        route,
        db_proxy,
        ..
    } = config;
    let mut all = vec![("admin.listen", admin.listen.as_str())];
    let of_login = [
        ("login.http_listen", login.http_listen.as_str()),
        ("login.client_listen", login.client_listen.as_str()),
    ];
    let of_msg = [("msg.listen", msg.listen.as_str())];
    let of_db_proxy = [
        ("db_proxy.admin_listen", db_proxy.admin_listen.as_str()),
        ("db_proxy.listen", db_proxy.listen.as_str()),
    ];
    match plan {
        Plan::All => {
            all.extend(of_login);
            all.extend(of_msg);
            all.extend(of_db_proxy);
        }
        Plan::One(Role::Login) => {
            all.extend(of_login);
            all.push(("login.control_listen", login.control_listen.as_str()));
        }
        Plan::One(Role::Msg) => all.extend(of_msg),
        Plan::One(Role::Route) => all.push(("route.listen", route.listen.as_str())),
        Plan::One(Role::DbProxy) => all.extend(of_db_proxy),
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_apart_in_every_process() {
        let config = ImdConfig::default();
        let roles = [Role::Login, Role::Msg, Role::Route, Role::DbProxy];
        for plan in roles.map(Plan::One).into_iter().chain([Plan::All]) {
            assert!(check(plan, &config).is_ok(), "{plan:?}");
        }
    }

    #[test]
    fn only_what_the_process_listens_on_counts() {
        let mut config = ImdConfig::default();
        // The control port of login, which one process with everything does without.
        config.login.http_listen = "0.0.0.0:8100".to_owned();
        assert!(check(Plan::All, &config).is_ok());
        assert!(check(Plan::One(Role::Login), &config).is_err());
        config.admin.listen = "127.0.0.1:8000".to_owned();
        assert!(check(Plan::All, &config).is_err());
        assert!(check(Plan::One(Role::Msg), &config).is_err());
        assert!(check(Plan::One(Role::Route), &config).is_ok());
    }
}
