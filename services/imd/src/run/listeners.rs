//! The listeners of a process, which must be apart.

use im_config::{Checker, ImdConfig, LoadError};
use im_role::{Listener, Role, TABLE};

use super::Plan;
use crate::config::BadConfig;

/// Names both keys of each pair that wants one port.
pub(super) fn check(plan: Plan, config: &ImdConfig) -> Result<(), BadConfig> {
    let opened = of(plan, config);
    let mut config = config.clone();
    let admin = ("admin.listen", config.admin.listen.clone());
    let mut all = vec![(admin.0, admin.1.as_str())];
    for (key, address) in config.listeners() {
        if opened.iter().any(|(of, _)| of == key) {
            all.push((key, address));
        }
    }
    let mut checker = Checker::default();
    checker.apart(&all);
    Ok(checker.finish().map_err(LoadError::from)?)
}

/// Every listener of a process that runs all roles, by the key that says where it is.
pub(crate) fn of_all() -> Vec<(String, &'static Listener)> {
    of(Plan::All, &ImdConfig::default())
}

/// Every listener that the roles of a process open.
fn of(plan: Plan, config: &ImdConfig) -> Vec<(String, &'static Listener)> {
    let of_role = |role: Role| {
        let listeners = role.listeners.iter();
        listeners.map(move |listener| (role.key(listener), listener))
    };
    let all = plan.roles(&TABLE, config).into_iter().flat_map(of_role);
    all.filter(|(_, listener)| plan != Plan::All || listener.in_all)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_apart_in_every_process() {
        let config = ImdConfig::default();
        let roles = TABLE.roles.iter().copied();
        for plan in roles.map(Plan::One).chain([Plan::All]) {
            assert!(check(plan, &config).is_ok(), "{plan:?}");
        }
    }

    #[test]
    fn a_role_that_is_switched_off_opens_nothing() {
        let mut config = ImdConfig::default();
        config.file.client_listen.clone_from(&config.msg.listen);
        assert!(check(Plan::All, &config).is_err());
        config.file.enabled = false;
        assert!(check(Plan::All, &config).is_ok());
        assert!(!Plan::All.roles(&TABLE, &config).contains(&Role::FILE));
        assert_eq!(Plan::One(Role::FILE).roles(&TABLE, &config), [Role::FILE]);
    }

    #[test]
    fn only_what_the_process_listens_on_counts() {
        let mut config = ImdConfig::default();
        // The control port of login, which one process with everything does without.
        config.login.http_listen = "0.0.0.0:8100".to_owned();
        assert!(check(Plan::All, &config).is_ok());
        assert!(check(Plan::One(Role::LOGIN), &config).is_err());
        config.login.http_listen = "0.0.0.0:8700".to_owned();
        assert!(check(Plan::All, &config).is_err());
        config.msfs.enabled = false;
        assert!(
            check(Plan::All, &config).is_ok(),
            "a role that is off opens nothing"
        );
        assert!(check(Plan::One(Role::MSFS), &config).is_ok());
        config.admin.listen = "127.0.0.1:8000".to_owned();
        assert!(check(Plan::All, &config).is_err());
        assert!(check(Plan::One(Role::MSG), &config).is_err());
        assert!(check(Plan::One(Role::ROUTE), &config).is_ok());
    }
}
